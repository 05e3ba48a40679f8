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
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
)

const (
	// remoteFloats is how many samples one request holds at most: 100 KiB
	// compressed. Prometheus sends 2,000; more makes fewer round trips of the
	// single request under way.
	remoteFloats = 5000

	// remoteHistograms is the same for native histograms, of 80 buckets each.
	remoteHistograms = 500

	// remoteAnswer is how much of an answer is read.
	remoteAnswer = 64 << 10

	// remoteRetryAfter is how long an endpoint may tell us to wait.
	remoteRetryAfter = 5 * time.Minute

	// remoteRefusals is how often refused samples are logged at most.
	remoteRefusals = time.Minute
)

// request returns how many of samples the next request holds: those of one
// instant, and either histograms or not, so that an endpoint that knows none
// takes the others.
func request(samples []remoteSample) int {
	first := &samples[0]
	limit := remoteFloats
	if first.isHistogram() {
		limit = remoteHistograms
	}
	n := 1
	for n < len(samples) && n < limit && samples[n].t == first.t && samples[n].isHistogram() == first.isHistogram() {
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
			r.logger.Warn("the endpoint takes no native histograms: they are left out until the next start; Prometheus before 3.0 wants --enable-feature=native-histograms")
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
	series     []prompb.TimeSeries
	values     []prompb.Sample
	histograms []prompb.Histogram
	raw, body  []byte
}

// encode returns a compressed request, which is valid until the next call.
func (e *encoder) encode(batch []remoteSample) ([]byte, error) {
	clear(e.series)
	e.series, e.values, e.histograms = e.series[:0], e.values[:0], e.histograms[:0]
	for i := range batch {
		switch s := &batch[i]; {
		case s.histogram != nil:
			e.histograms = append(e.histograms, prompb.FromIntHistogram(s.t, s.histogram))
		case s.float != nil:
			e.histograms = append(e.histograms, prompb.FromFloatHistogram(s.t, s.float))
		default:
			e.values = append(e.values, prompb.Sample{Value: s.value, Timestamp: s.t})
		}
	}
	values, histograms := e.values, e.histograms
	for i := range batch {
		ts := prompb.TimeSeries{Labels: batch[i].series.labels}
		if batch[i].isHistogram() {
			ts.Histograms, histograms = histograms[:1], histograms[1:]
		} else {
			ts.Samples, values = values[:1], values[1:]
		}
		e.series = append(e.series, ts)
	}
	req := prompb.WriteRequest{Timeseries: e.series}
	size := req.Size()
	if size > cap(e.raw) {
		e.raw = make([]byte, size+size/4)
	}
	if _, err := req.MarshalToSizedBuffer(e.raw[:size]); err != nil {
		return nil, err
	}
	e.body = snappy.Encode(e.body[:cap(e.body)], e.raw[:size])
	return e.body, nil
}
