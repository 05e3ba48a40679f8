package probe

import (
	"context"

	"go.opentelemetry.io/otel/metric"
)

// telemetry is what the prober tells of itself.
type telemetry struct {
	minutes, failures, lost metric.Int64Counter
}

func newTelemetry(m metric.Meter, p *Prober) (*telemetry, error) {
	t := &telemetry{}
	for _, c := range []struct {
		to         *metric.Int64Counter
		name, help string
	}{
		{&t.minutes, "slowburn.promql.minutes", "Minutes of PromQL objectives that were counted."},
		{&t.failures, "slowburn.promql.failures", "Times a PromQL objective could not be counted; it is tried again."},
		{&t.lost, "slowburn.promql.lost_minutes", "Minutes of PromQL objectives that were given up: they could not be counted for too long."},
	} {
		var err error
		if *c.to, err = m.Int64Counter(c.name, metric.WithDescription(c.help)); err != nil {
			return nil, err
		}
		(*c.to).Add(context.Background(), 0) // shown from the start
	}
	_, err := m.Int64ObservableGauge("slowburn.promql.failing",
		metric.WithDescription("PromQL objectives that could not be counted the last time."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(int64(p.Failing().SLOs))
			return nil
		}))
	return t, err
}
