package main

import (
	"context"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// telemetry is what slowburn tells of itself: metrics on /metrics, and traces
// of its alerting to another collector where OTEL_EXPORTER_OTLP_ENDPOINT names
// one.
type telemetry struct {
	registry *prometheus.Registry
	meters   *sdkmetric.MeterProvider
	traces   *sdktrace.TracerProvider // nil without an endpoint
	reload   prometheus.Gauge
}

func newTelemetry(ctx context.Context) (*telemetry, error) {
	t := &telemetry{
		registry: prometheus.NewRegistry(),
		reload: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "slowburn_config_last_reload_successful",
			Help: "1 while the newest configuration is in force, 0 while it was refused.",
		}),
	}
	t.reload.Set(1)
	t.registry.MustRegister(
		t.reload,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	// Names already begin with slowburn; the scope would only repeat it.
	exporter, err := otelprom.New(otelprom.WithRegisterer(t.registry), otelprom.WithoutScopeInfo())
	if err != nil {
		return nil, err
	}
	res := resource.NewSchemaless(
		attribute.String("service.name", "slowburn"),
		attribute.String("service.version", version),
	)
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(res))
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return t, nil
	}
	spans, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, err
	}
	t.traces = sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(res))
	// Alertmanager's and Prometheus' own spans go to the global provider.
	otel.SetTracerProvider(t.traces)
	return t, nil
}

// reloaded notes whether the newest configuration is in force.
func (t *telemetry) reloaded(ok bool) {
	t.reload.Set(0)
	if ok {
		t.reload.Set(1)
	}
}

// shutdown sends what is left. Errors are of no consequence any more.
func (t *telemetry) shutdown(ctx context.Context) {
	_ = t.meters.Shutdown(ctx)
	if t.traces != nil {
		_ = t.traces.Shutdown(ctx)
	}
}
