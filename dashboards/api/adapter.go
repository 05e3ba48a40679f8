package api

import (
	"context"
	"net/http"
	"runtime"

	"github.com/grafana/regexp"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	promapi "github.com/prometheus/prometheus/web/api/v1"
)

// apiVersion is the version of Prometheus whose API this is, that of the module
// in use. Clients conclude from it what they may ask, as Grafana does when it
// lists label values; slowburn's own would tell them that they may ask little.
const apiVersion = "3.15.0"

// prometheus returns Prometheus' own handlers by their paths. The arguments
// for what New does not serve are as good as none.
func prometheus(o Options) map[string]http.HandlerFunc {
	api := promapi.NewAPI(
		o.Engine,
		o.Queryable,
		nil, nil, // appendables, for remote write and OTLP
		o.Exemplars,
		func(context.Context) promapi.ScrapePoolsRetriever { return nil },
		func(context.Context) promapi.TargetRetriever { return nil },
		func(context.Context) promapi.AlertmanagerRetriever { return nil },
		func() config.Config { return config.DefaultConfig },
		nil,                        // flags
		promapi.GlobalURLOptions{}, // of targets
		func(h http.HandlerFunc) http.HandlerFunc { return h }, // New asks Ready for all handlers
		nil, "", false, // database, its directory, administration
		false, 0, // search
		o.Logger,
		func(context.Context) promapi.RulesRetriever { return o.Rules },
		0, 0, 0, // limits of remote read
		false,                    // not an agent
		regexp.MustCompile(`$^`), // allowed origins: none
		func() (promapi.RuntimeInfo, error) { return promapi.RuntimeInfo{}, nil },
		&promapi.PrometheusVersion{Version: apiVersion, Branch: "slowburn", Revision: o.Version, GoVersion: runtime.Version()},
		nil, nil, // notifications
		nil, nil, // gatherer and registerer
		nil,        // statistics of queries as Prometheus renders them
		false, nil, // remote write
		false, false, false, // OTLP
		false,        // start times as zero samples
		0,            // lookback of OTLP deltas
		false, false, // type and unit labels, metadata of remote write
		nil, // status codes as Prometheus chooses them
		nil, // features
		promapi.OpenAPIOptions{IncludePaths: []string{"none"}},
		nil, // PromQL parser with default options
	)

	handlers := map[string]http.HandlerFunc{}
	api.Register(route.New().WithInstrumentation(func(path string, h http.HandlerFunc) http.HandlerFunc {
		handlers[path] = h // of the last method; those of one path share a handler
		return h
	}))
	return handlers
}
