package collector

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/slowburn-slo/slowburn/collector/span"
)

// telemetry is what the pipeline tells of itself. No label has a value that a
// sender controls.
type telemetry struct {
	spans, entries, events metric.Int64Counter
	rejected               [reasons]metric.MeasurementOption
	rejects                metric.Int64Counter
	flushes, failures      metric.Int64Counter
	duration               metric.Float64Histogram

	gap atomic.Int64 // ns
}

func newTelemetry(m metric.Meter, p *Pipeline) (*telemetry, error) {
	t := &telemetry{}
	for i, reason := range [reasons]string{tooOld: "too_old", inFuture: "in_future", backwards: "ends_before_start"} {
		t.rejected[i] = metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", reason)))
	}
	var err error
	counter := func(name, unit, help string) metric.Int64Counter {
		if err != nil {
			return nil
		}
		var c metric.Int64Counter
		if c, err = m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(help)); err == nil {
			c.Add(context.Background(), 0) // shown from the start
		}
		return c
	}
	t.spans = counter("slowburn.spans", "{span}", "Spans that arrived in requests that were accepted.")
	t.entries = counter("slowburn.entry_spans", "{span}", "Of these, spans where a request enters a service.")
	t.events = counter("slowburn.events", "{event}", "Requests counted for a flow.")
	t.rejects = counter("slowburn.rejected_spans", "{span}", "Spans of a flow that were refused, by reason.")
	t.flushes = counter("slowburn.flushes", "{flush}", "Times counts were moved to the ledger and the store.")
	t.failures = counter("slowburn.flush_failures", "{flush}", "Of these, those that could not write all.")
	if err != nil {
		return nil, err
	}
	t.duration, err = m.Float64Histogram("slowburn.flush.duration", metric.WithUnit("s"),
		metric.WithDescription("How long a flush took."),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5))
	if err != nil {
		return nil, err
	}
	_, err = m.Float64ObservableGauge("slowburn.last_flush.age", metric.WithUnit("s"),
		metric.WithDescription("Time since counts last reached the store."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			at, _ := p.LastFlush()
			o.Observe(time.Since(at).Seconds())
			return nil
		}))
	if err != nil {
		return nil, err
	}
	_, err = m.Float64ObservableGauge("slowburn.downtime", metric.WithUnit("s"),
		metric.WithDescription("Time before this start in which nothing was counted."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			o.Observe(time.Duration(t.gap.Load()).Seconds())
			return nil
		}))
	return t, err
}

func (t *telemetry) count(s span.Stats, events int, rejected *[reasons]int64) {
	ctx := context.Background()
	t.spans.Add(ctx, int64(s.Spans))
	t.entries.Add(ctx, int64(s.Entry))
	t.events.Add(ctx, int64(events))
	for i, n := range rejected {
		if n > 0 {
			t.rejects.Add(ctx, n, t.rejected[i])
		}
	}
}

func (t *telemetry) flushed(d time.Duration, err error) {
	ctx := context.Background()
	t.flushes.Add(ctx, 1)
	t.duration.Record(ctx, d.Seconds())
	if err != nil {
		t.failures.Add(ctx, 1)
	}
}
