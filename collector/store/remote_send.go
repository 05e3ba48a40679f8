package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// remoteBatch is how many samples one request holds at most: 100 KiB
	// compressed. Prometheus sends 2,000; more makes fewer round trips, of which one is
	// under way at a time. Native histograms, of 80 buckets each, are a tenth of
	// that.
	remoteBatch = 5000

	// remoteAnswer is how much of an answer is read.
	remoteAnswer = 64 << 10

	// remoteRetryAfter is how long an endpoint may tell us to wait.
	remoteRetryAfter = 5 * time.Minute

	// remoteRefusals is how often refused samples are logged at most.
	remoteRefusals = time.Minute
)

// request returns how many of samples the next request holds: either histograms
// or not.
func (r *Remote) request(samples []remoteSample) int {
	limit := r.batch
	if samples[0].isHistogram() {
		limit = max(1, limit/10)
	}
	n := 1
	for n < min(len(samples), limit) && samples[n].isHistogram() == samples[0].isHistogram() {
		n++
	}
	return n
}

// answer is what an endpoint said other than yes.
type answer struct {
	status     int
	text       string
	retryAfter time.Duration // 0: not said
}

func (a *answer) Error() string {
	if a.text == "" {
		return fmt.Sprintf("HTTP status %d %s", a.status, http.StatusText(a.status))
	}
	return fmt.Sprintf("HTTP status %d %s: %s", a.status, http.StatusText(a.status), a.text)
}

// deliver sends a batch until the endpoint has taken or refused it. The error is
// that of ctx.
func (r *Remote) deliver(ctx context.Context, batch []remoteSample) error {
	body, err := r.encoder.encode(batch)
	if err != nil { // nothing that Prometheus stores
		r.refuse(batch, err)
		return nil
	}
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := r.post(ctx, body, attempt)
		var a *answer
		errors.As(err, &a)
		switch {
		case err == nil:
			r.metrics.sent(batch, len(body), time.Since(began))
			r.recovered()
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case a == nil: // no answer
		case a.status == http.StatusRequestEntityTooLarge && len(batch) > 1:
			half := len(batch) / 2
			if err := r.deliver(ctx, batch[:half]); err != nil {
				return err
			}
			return r.deliver(ctx, batch[half:])
		case batch[0].isHistogram() && strings.Contains(a.text, storage.ErrNativeHistogramsDisabled.Error()):
			// Prometheus says so with a 500, which would be tried again forever.
			r.logger.Warn("the endpoint takes no native histograms: they are left out until the next start; Prometheus before 3.9 wants --enable-feature=native-histograms")
			r.noHistograms = true
			r.metrics.failed(batch)
			r.recovered()
			return nil
		case refuses(a.status):
			r.refuse(batch, err)
			r.recovered()
			return nil
		}
		r.fails(err)
		r.metrics.retried(batch)
		if err := r.wait(ctx, attempt, a); err != nil {
			return err
		}
	}
}

// refuses reports whether a status says that the samples are at fault: they are
// too old, out of order, or against a limit. Every other one, such as a wrong
// token, can be mended while they wait.
func refuses(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// wait waits before the next attempt: as long as the endpoint says, else twice
// as long each time, give or take a fifth, so that collectors which lost the
// same endpoint do not come back as one.
func (r *Remote) wait(ctx context.Context, attempt int, a *answer) error {
	d := min(r.maxBackoff, r.minBackoff<<min(attempt, 16))
	if a != nil {
		d = max(d, a.retryAfter)
	}
	d += time.Duration(rand.Int64N(int64(d)/5 + 1))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post sends one request. The error is an *answer when there was one, and never
// holds a secret.
func (r *Remote) post(ctx context.Context, body []byte, attempt int) error {
	ctx, cancel := context.WithTimeout(ctx, r.budget)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.opts.URL.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "slowburn")
	req.Header.Set(remote.RemoteWriteVersionHeader, remote.RemoteWriteVersion1HeaderValue)
	if attempt > 0 {
		req.Header.Set("Retry-Attempt", strconv.Itoa(attempt))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the address around it may hold a token
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no answer within %s", r.budget)
		}
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, remoteAnswer))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	a := &answer{status: resp.StatusCode, retryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		// It may repeat what it did not like.
	default:
		line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		a.text = strings.ToValidUTF8(line[:min(len(line), 300)], "")
	}
	return a
}

// retryAfter reads a Retry-After header: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if s, err := strconv.Atoi(text); err == nil {
		d = time.Duration(min(s, math.MaxInt32)) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return max(0, min(d, remoteRetryAfter))
}

// fails notes that the endpoint takes nothing, and says so once.
func (r *Remote) fails(err error) {
	if r.failing.IsZero() {
		r.failing = time.Now()
		r.logger.Warn("the endpoint does not take series: they wait in the store until it does", "err", err)
	}
}

// recovered notes that the endpoint has answered for what was sent.
func (r *Remote) recovered() {
	if !r.failing.IsZero() {
		r.logger.Info("the endpoint takes series again", "after", time.Since(r.failing).Round(time.Millisecond))
		r.failing = time.Time{}
	}
}

// refuse notes that a batch will never be taken.
func (r *Remote) refuse(batch []remoteSample, err error) {
	r.metrics.failed(batch)
	r.refusals += len(batch)
	if now := time.Now(); now.Sub(r.refusalAt) >= remoteRefusals {
		r.logger.Error("the endpoint refused samples, which are left out", "samples", r.refusals,
			"at", time.UnixMilli(batch[0].t), "err", err)
		r.refusals, r.refusalAt = 0, now
	}
}

// encoder makes requests, in memory that it uses again.
type encoder struct {
	raw, value, body []byte
}

// The fields of prometheus.WriteRequest and what is in it.
const (
	fieldTimeSeries = 1 // of WriteRequest
	fieldLabels     = 1 // of TimeSeries
	fieldSamples    = 2
	fieldHistograms = 4
	fieldName       = 1 // of Label
	fieldValue      = 2
	fieldSample     = 1 // of Sample
	fieldTimestamp  = 2
)

// appendLabels appends the labels of a prometheus.TimeSeries.
func appendLabels(dst []byte, l labels.Labels) []byte {
	l.Range(func(l labels.Label) {
		size := protowire.SizeTag(fieldName) + protowire.SizeBytes(len(l.Name)) + protowire.SizeTag(fieldValue) + protowire.SizeBytes(len(l.Value))
		dst = protowire.AppendTag(dst, fieldLabels, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(size))
		dst = protowire.AppendTag(dst, fieldName, protowire.BytesType)
		dst = protowire.AppendString(dst, l.Name)
		dst = protowire.AppendTag(dst, fieldValue, protowire.BytesType)
		dst = protowire.AppendString(dst, l.Value)
	})
	return dst
}

// encode returns a compressed prometheus.WriteRequest, which is valid until the
// next call.
func (e *encoder) encode(batch []remoteSample) ([]byte, error) {
	e.raw = e.raw[:0]
	for i := range batch {
		s := &batch[i]
		field, err := protowire.Number(fieldHistograms), error(nil)
		switch {
		case s.histogram != nil:
			h := prompb.FromIntHistogram(s.t, s.histogram)
			e.value, err = h.Marshal()
		case s.float != nil:
			h := prompb.FromFloatHistogram(s.t, s.float)
			e.value, err = h.Marshal()
		default:
			field = fieldSamples
			e.value = protowire.AppendTag(e.value[:0], fieldSample, protowire.Fixed64Type)
			e.value = protowire.AppendFixed64(e.value, math.Float64bits(s.value))
			e.value = protowire.AppendTag(e.value, fieldTimestamp, protowire.VarintType)
			e.value = protowire.AppendVarint(e.value, uint64(s.t))
		}
		if err != nil {
			return nil, err
		}
		e.raw = protowire.AppendTag(e.raw, fieldTimeSeries, protowire.BytesType)
		e.raw = protowire.AppendVarint(e.raw, uint64(len(s.series.labels)+protowire.SizeTag(field)+protowire.SizeBytes(len(e.value))))
		e.raw = append(e.raw, s.series.labels...)
		e.raw = protowire.AppendTag(e.raw, field, protowire.BytesType)
		e.raw = protowire.AppendBytes(e.raw, e.value)
	}
	e.body = snappy.Encode(e.body[:cap(e.body)], e.raw)
	return e.body, nil
}
