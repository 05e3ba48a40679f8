package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/slowburn-slo/slowburn/collector/synth"
)

const (
	// shopOutage is how long a bad version of the shop is live: long enough for
	// a page over one hour and five minutes, which comes within a quarter of it.
	shopOutage = 10 * time.Minute

	// shopCalm is the time before the first one, so that there is something to
	// compare with.
	shopCalm = 5 * time.Minute
)

func newShop() *cobra.Command {
	var endpoint string
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "shop",
		Short: "Send the traffic of a synthetic shop to an OTLP endpoint",
		Long: `Send the requests of a small synthetic shop as traces, with the OpenTelemetry SDK
over OTLP/gRPC, until it is told to stop: something to look at before your own
services send, and a way to try objectives. Its service is called shop, and its
flows are POST /api/checkout, GET /api/search, GET /api/products/{id} and POST
/api/login.

With --outage-every a bad version goes live now and then, for ten minutes, the
first after five: 40 % of its checkouts fail.`,
		Example: "  slowburn serve --slos deploy/example/slos.yaml &\n  slowburn shop --outage-every 1h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, _, err := net.SplitHostPort(endpoint); err != nil {
				return fmt.Errorf("--endpoint: %q is not host:port; want one such as localhost:4317", endpoint)
			}
			if every != 0 && every < shopOutage+shopCalm {
				return fmt.Errorf("--outage-every: %s is too often; want %s or more", every, shopOutage+shopCalm)
			}
			ctx := cmd.Context()
			changes := make(chan func(*synth.Model))
			if every > 0 {
				go outages(ctx, every, changes, func(format string, args ...any) {
					fmt.Fprintf(cmd.OutOrStdout(), time.Now().Format("15:04:05 ")+format+"\n", args...)
				})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "sending the shop's traffic to %s; Ctrl-C ends it\n", endpoint)
			return sendShop(ctx, synth.Shop(time.Now()), endpoint, changes)
		},
	}
	cmd.Flags().StringVar(&endpoint, "endpoint", "localhost:4317", "host and port of OTLP/gRPC, without TLS")
	cmd.Flags().DurationVar(&every, "outage-every", 0, "how often a bad version goes live, e.g. 1h; 0 is never")
	return cmd
}

// outages deploys a bad version of the shop and rolls it back, again and again
// until ctx ends.
func outages(ctx context.Context, every time.Duration, changes chan<- func(*synth.Model), say func(string, ...any)) {
	sleep := func(d time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(d):
			return true
		}
	}
	change := func(f func(*synth.Model)) {
		select {
		case <-ctx.Done():
		case changes <- f:
		}
	}
	for pause := shopCalm; sleep(pause); pause = every - shopOutage {
		say("DEPLOY   shop %s goes live; %.0f%% of the checkouts fail", synth.BadVersion, 100*demoErrors)
		change(func(m *synth.Model) {
			m.Add(synth.Incident{Flow: "checkout", From: time.Now(), ErrorRatio: demoErrors, Version: synth.BadVersion})
		})
		if !sleep(shopOutage) {
			return
		}
		say("ROLLBACK shop %s is back", synth.GoodVersion)
		change(func(m *synth.Model) { m.End("checkout", time.Now()) })
	}
}

// sendShop makes a shop's requests as spans and sends them with the OpenTelemetry
// SDK to an OTLP/gRPC endpoint, until ctx ends. Changes to the shop are made
// between two requests.
func sendShop(ctx context.Context, shop *synth.Model, endpoint string, changes <-chan func(*synth.Model)) error {
	exporter, err := otlptracegrpc.New(ctx,
		otlptracegrpc.WithEndpoint(endpoint),
		otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithCompressor("gzip"))
	if err != nil {
		return err
	}
	// One provider a version: service.version belongs to the resource. All of
	// them share the exporter.
	providers := map[string]*sdktrace.TracerProvider{}
	defer func() {
		flush, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		for _, p := range providers {
			_ = p.ForceFlush(flush)
		}
		for _, p := range providers {
			_ = p.Shutdown(flush) // the first one ends the exporter for all
		}
	}()
	tracer := func(version string) trace.Tracer {
		if p, ok := providers[version]; ok {
			return p.Tracer("shop")
		}
		p := sdktrace.NewTracerProvider(
			sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(time.Second)),
			sdktrace.WithResource(resource.NewSchemaless(
				attribute.String("service.name", shop.Service),
				attribute.String("service.version", version))))
		providers[version] = p
		return p.Tracer("shop")
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	next := shop.Next(rng, time.Now())
	for {
		wait := time.NewTimer(time.Until(next.Start))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case change := <-changes:
			change(shop)
			wait.Stop()
			next = shop.Next(rng, time.Now())
			continue
		case <-wait.C:
		}
		end := next.End()
		_, sp := tracer(next.Version).Start(context.Background(), next.Method+" "+next.Route,
			trace.WithTimestamp(next.Start), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
				attribute.String("http.request.method", next.Method),
				attribute.String("http.route", next.Route),
				attribute.String("url.path", next.Path),
				attribute.Int("http.response.status_code", next.Status)))
		if next.Failed {
			sp.SetStatus(codes.Error, "")
		}
		// The span ends when the request does: up to a second from now.
		time.AfterFunc(time.Until(end), func() { sp.End(trace.WithTimestamp(end)) })
		next = shop.Next(rng, next.Start)
	}
}
