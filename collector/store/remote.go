package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/index"

	"github.com/slowburn-slo/slowburn/slo/series"
)

// CollectorLabel tells on every series sent which collector counted it, so that
// the counters of several stay apart and can be summed.
const CollectorLabel = "collector"

// RemoteOptions say where series are sent, and as whose.
type RemoteOptions struct {
	// URL is the endpoint, e.g. http://prometheus:9090/api/v1/write. It may be
	// logged: what authenticates belongs into HTTP.
	URL *url.URL

	// Dir keeps how far was sent, and the name that was made for this
	// collector. It is made where it is missing.
	Dir string

	// Collector is the value of CollectorLabel. No two collectors of one
	// endpoint may share it. Empty means the host's name and a random id, made
	// once and kept in Dir: an empty disk is a new collector, whose counters
	// begin at 0 beside the old ones.
	Collector string

	// CountersOnly sends only what rules over counters need: the counters of
	// SLOs and flows, latencies, and sloth_slo_info.
	CountersOnly bool

	// NoHistograms leaves native histograms out.
	NoHistograms bool

	// HTTP is how requests authenticate and whom they trust. Files it names are
	// read again when they change. Redirects are never followed.
	HTTP config.HTTPClientConfig

	// Logger hears when the endpoint stops taking series and when it takes them
	// again. Default: nobody.
	Logger *slog.Logger

	// Registerer takes the metrics prometheus_remote_storage_*, named as
	// Prometheus names those of its own remote write, and
	// slowburn_remote_write_delay_seconds. Default: none.
	Registerer prometheus.Registerer
}

const (
	// remoteEvery is how often the store is read. It adds to the delay of an
	// alert that the receiver judges; each reading of 18,000 series takes tens
	// of milliseconds.
	remoteEvery = 5 * time.Second

	// remoteLate is how far behind the store's newest sample another may be
	// committed: a rule writes at the time its evaluation began, and its query
	// may take two minutes.
	remoteLate = 2 * time.Minute

	// A backlog is read a stretch at a time. Stretches grow while they hold few
	// samples, so that a gap of years is crossed at once, and shrink when they
	// hold more than are to be in memory, at 40 bytes each. 1,000 SLOs write
	// 300,000 samples a minute.
	remoteShort, remoteLong = 10 * time.Second, 31 * 24 * time.Hour
	remoteSamples           = 300_000

	// remoteDrain is how long a stop waits for the endpoint. What it does not
	// take in that time is sent after the next start.
	remoteDrain = 5 * time.Second
)

// Remote sends what a Store takes to another Prometheus, Mimir, Thanos or
// VictoriaMetrics, in protocol version 1 of remote write.
//
// The store itself is the queue: what is sent is read from it, each series in
// the order of its times, and how far the endpoint has answered is kept on disk.
// Whatever is in the store is sent, after an outage or a kill as well; it waits
// as long as the store's retention.
//
// No series comes twice before the endpoint has answered and that is written
// down. What is sent again because an answer was lost therefore repeats the newest
// sample of each series, which every receiver takes as the same.
type Remote struct {
	opts    RemoteOptions
	store   *Store
	client  *http.Client
	logger  *slog.Logger
	metrics *remoteMetrics
	match   *labels.Matcher

	every, late, budget, drain time.Duration // budget is that of one request
	minBackoff, maxBackoff     time.Duration

	position *position
	spans    uint64 // so far
	begin    int64  // ms; what is at or before it was sent by a process before
	from     int64  // ms; all before it is sent, and nothing comes there any more
	had      int64  // ms; since when the store had samples when it was read last
	stretch  time.Duration
	series   map[string]*remoteSeries
	samples  []remoteSample
	most     int // of samples in memory
	batch    int // of samples in a request
	encoder  encoder

	noHistograms bool
	failing      time.Time // since when the endpoint takes nothing; zero while it does
	refusals     int       // samples refused that are not logged yet
	refusalAt    time.Time // when a refusal was logged last
	fault        string    // of the store or the position, logged last

	oldest atomic.Int64 // ms; of what waits for an answer; 0: nothing does
}

// remoteSeries is a series as it is sent.
type remoteSeries struct {
	labels []byte // as they stand in a request
	sent   int64  // ms; of the newest sample that was answered
	span   uint64 // that it was in last
}

type remoteSample struct {
	series *remoteSeries
	t      int64 // ms
	value  float64
	// One of them is set for a native histogram.
	histogram *histogram.Histogram
	float     *histogram.FloatHistogram
}

func (s *remoteSample) isHistogram() bool { return s.histogram != nil || s.float != nil }

// kind orders samples before histograms.
func (s *remoteSample) kind() int {
	if s.isHistogram() {
		return 1
	}
	return 0
}

// NewRemote prepares to send the series of s and starts nothing. It comes before
// anything is appended: the first time, with nothing in o.Dir, it begins with
// what comes after the newest sample in the store.
func NewRemote(s *Store, o RemoteOptions) (*Remote, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.URL == nil || (o.URL.Scheme != "http" && o.URL.Scheme != "https") || o.URL.Host == "" {
		return nil, errors.New("remote write: no endpoint; want an address such as http://prometheus:9090/api/v1/write")
	}
	if o.URL.User != nil {
		return nil, errors.New("remote write: the endpoint's address holds a password; want it apart from the address")
	}
	o.HTTP.FollowRedirects = false
	client, err := config.NewClientFromConfig(o.HTTP, "remote_write")
	if err != nil {
		return nil, fmt.Errorf("remote write: %w", err)
	}
	if o.Collector == "" {
		if o.Collector, err = collectorName(o.Dir); err != nil {
			return nil, err
		}
	}
	r := &Remote{
		opts: o, store: s, client: client, logger: o.Logger.With("endpoint", endpoint(o.URL)),
		every: remoteEvery, late: remoteLate, minBackoff: 500 * time.Millisecond, maxBackoff: 10 * time.Second, budget: 30 * time.Second, drain: remoteDrain,
		stretch: remoteShort, most: remoteSamples, batch: remoteBatch, series: map[string]*remoteSeries{}, noHistograms: o.NoHistograms,
	}
	name, value := index.AllPostingsKey()
	r.match = labels.MustNewMatcher(labels.MatchEqual, name, value)
	if o.CountersOnly {
		r.match = labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel,
			strings.Join([]string{series.Events, series.Errors, series.FlowRequests, series.FlowDuration, series.Info}, "|"))
	}
	if r.position, err = openPosition(filepath.Join(o.Dir, "sent")); err != nil {
		return nil, err
	}
	if r.position.at < 0 {
		if err := r.position.set(s.newest()); err != nil {
			return nil, errors.Join(err, r.position.close())
		}
	}
	r.begin = r.position.at
	r.from = r.begin + 1
	r.metrics = newRemoteMetrics(o.Registerer, endpoint(o.URL), r.delay,
		func() float64 { return float64(s.newest()) / 1000 })
	return r, nil
}

// endpoint is u as it may be shown: a query may hold a token.
func endpoint(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return shown.String()
}

// newest returns the time of the newest sample in ms, or 0 without any.
func (s *Store) newest() int64 {
	newest := max(0, s.db.Head().MaxTime())
	for _, b := range s.db.Blocks() {
		newest = max(newest, b.MaxTime()-1)
	}
	return newest
}

// oldest returns the time of the oldest sample in ms, or math.MaxInt64 without
// any.
func (s *Store) oldest() int64 {
	oldest := s.db.Head().MinTime()
	for _, b := range s.db.Blocks() {
		oldest = min(oldest, b.MinTime())
	}
	return oldest
}

// Collector returns the value of CollectorLabel on all that is sent.
func (r *Remote) Collector() string { return r.opts.Collector }

// delay is how long the oldest sample that waits for an answer has waited, in
// seconds.
func (r *Remote) delay() float64 {
	if at := r.oldest.Load(); at > 0 {
		return max(0, time.Since(time.UnixMilli(at)).Seconds())
	}
	return 0
}

// Run sends until ctx ends, then what is left, for five seconds at most. The
// endpoint's faults are logged and tried again, never returned. Run is called
// once, and ends before the store is closed.
func (r *Remote) Run(ctx context.Context) error {
	defer r.client.CloseIdleConnections()
	r.logger.Info("sending series", CollectorLabel, r.opts.Collector, "counters_only", r.opts.CountersOnly)
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.note(ctx, r.pass(ctx))
		case <-ctx.Done():
			drain, cancel := context.WithTimeout(context.Background(), r.drain)
			defer cancel()
			if err := r.pass(drain); err != nil {
				r.logger.Warn("series wait in the store and are sent after the next start", "delay_seconds", math.Round(r.delay()), "err", err)
			}
			return r.Close()
		}
	}
}

// Close lets go of the files where Run was not called. After Run it does
// nothing.
func (r *Remote) Close() error { return r.position.close() }

// note logs a fault of the store or the position, once.
func (r *Remote) note(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err == nil:
		r.fault = ""
	case err.Error() != r.fault:
		r.fault = err.Error()
		r.logger.Error("series cannot be sent for now", "err", err)
	}
}

// pass sends what is in the store and was not sent. It returns when the endpoint
// has answered for all of it, or the error of ctx.
func (r *Remote) pass(ctx context.Context) error {
	for at := r.from; ; {
		oldest := r.store.oldest()
		if oldest == math.MaxInt64 {
			return nil // the store is empty
		}
		if 0 < r.had && r.had <= at && at < oldest {
			r.logger.Error("series were never sent: the endpoint was away for longer than the store keeps them",
				"from", time.UnixMilli(at), "to", time.UnixMilli(oldest))
		}
		r.had = oldest
		// By the store's own time, so that a clock that is set back hides nothing.
		newest := r.store.newest()
		settled := newest - r.late.Milliseconds() // nothing is committed at or before it any more
		at = max(at, min(oldest, settled))
		to := at + r.stretch.Milliseconds() - 1
		last := to >= newest
		if last {
			to = math.MaxInt64
		}
		switch err := r.read(ctx, at, to); {
		case errors.Is(err, errMany):
			r.stretch = max(remoteShort, r.stretch/4)
			continue
		case err != nil:
			return err
		case len(r.samples) < r.most/4:
			r.stretch = min(remoteLong, 2*r.stretch)
		}
		if err := r.send(ctx, r.samples); err != nil {
			return err
		}
		at = to + 1
		if last {
			at = settled
		}
		r.from = max(r.from, min(at, settled))
		if last {
			maps.DeleteFunc(r.series, func(_ string, rs *remoteSeries) bool { return rs.sent < r.from })
			return nil
		}
	}
}

// errMany says that a stretch could be shorter.
var errMany = errors.New("more samples than are to be in memory")

// read gathers into r.samples what was not sent of the time between from and to,
// both in ms and included, by time.
func (r *Remote) read(ctx context.Context, from, to int64) error {
	clear(r.samples) // histograms
	r.samples = r.samples[:0]
	q, err := r.store.Querier(from, to)
	if err != nil {
		return err
	}
	defer q.Close()
	var key []byte
	var it chunkenc.Iterator
	set := q.Select(ctx, false, nil, r.match)
	for set.Next() {
		s := set.At()
		l := s.Labels()
		key = l.Bytes(key)
		rs, sent := r.series[string(key)], r.begin
		if rs != nil {
			sent = rs.sent
		}
		it = s.Iterator(it)
		for v := it.Seek(max(from, sent+1)); v != chunkenc.ValNone; v = it.Next() {
			var sample remoteSample
			switch v {
			case chunkenc.ValFloat:
				sample.t, sample.value = it.At()
			case chunkenc.ValHistogram:
				sample.t, sample.histogram = it.AtHistogram(nil)
			case chunkenc.ValFloatHistogram:
				sample.t, sample.float = it.AtFloatHistogram(nil)
			}
			if sample.isHistogram() && r.noHistograms {
				continue
			}
			if rs == nil {
				rs = &remoteSeries{labels: r.labels(l), sent: sent}
				r.series[string(key)] = rs
			}
			sample.series = rs
			r.samples = append(r.samples, sample)
		}
		if err := it.Err(); err != nil {
			return err
		}
		if len(r.samples) > r.most && r.stretch > remoteShort {
			return errMany
		}
	}
	if err := set.Err(); err != nil {
		return err
	}
	slices.SortFunc(r.samples, func(a, b remoteSample) int { return cmp.Compare(a.t, b.t) })
	return nil
}

// labels returns a series' labels as they are sent.
func (r *Remote) labels(l labels.Labels) []byte {
	if !l.Has(CollectorLabel) {
		l = labels.NewBuilder(l).Set(CollectorLabel, r.opts.Collector).Labels()
	}
	return appendLabels(nil, l)
}

// send delivers samples, which are in the order of their times, span by span,
// and remembers each span when it is answered.
func (r *Remote) send(ctx context.Context, samples []remoteSample) error {
	r.metrics.waiting(samples)
	for len(samples) > 0 {
		span := samples[:r.span(samples)]
		samples = samples[len(span):]
		r.oldest.Store(span[0].t)
		t := span[len(span)-1].t
		// An endpoint that knows no histograms takes the others.
		slices.SortFunc(span, func(a, b remoteSample) int { return cmp.Compare(a.kind(), b.kind()) })
		for len(span) > 0 {
			batch := span[:r.request(span)]
			span = span[len(batch):]
			if batch[0].isHistogram() && r.noHistograms {
				r.metrics.failed(batch)
			} else if err := r.deliver(ctx, batch); err != nil {
				return err
			}
			for i := range batch {
				batch[i].series.sent = batch[i].t
			}
			r.metrics.answered(batch)
		}
		if err := r.position.set(t); err != nil {
			return err
		}
		r.metrics.newestSent.Set(float64(r.position.at) / 1000)
	}
	r.oldest.Store(0)
	return nil
}

// span returns how many of samples, which are in the order of their times, are
// sent before the position moves on: whole instants, as many as fit in a request, in
// which no series comes twice.
func (r *Remote) span(samples []remoteSample) int {
	r.spans++
	n := 0
	for n < len(samples) {
		next := n
		for ; next < len(samples) && samples[next].t == samples[n].t; next++ {
			s := samples[next].series
			if s.span == r.spans {
				return n
			}
			s.span = r.spans
		}
		if n > 0 && next > r.batch {
			return n
		}
		n = next
	}
	return n
}
