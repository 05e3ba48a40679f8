// Package api serves the Prometheus query API, so that a Grafana data source of
// type Prometheus, promtool, or anything else that speaks it, reads flows,
// budgets and alerts.
//
// It reads only: Prometheus' endpoints that write, administer or show a
// configuration do not exist here.
package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	promapi "github.com/prometheus/prometheus/web/api/v1"
)

// Options are what the API shows. Engine, Queryable and Exemplars are needed.
type Options struct {
	Engine    promql.QueryEngine
	Queryable storage.SampleAndChunkQueryable
	Exemplars storage.ExemplarQueryable

	// Rules evaluates the rules: a *rules.Manager. Default: there are none.
	Rules promapi.RulesRetriever

	// Version is slowburn's own. It is shown as the build's revision, for the
	// version that clients look at is that of the API; see apiVersion.
	Version string

	// Ready returns why requests cannot be answered yet; they get a 503 then.
	// Default: always ready.
	Ready func() error

	Logger *slog.Logger // default: nobody hears of answers that could not be sent
}

type noRules struct{}

func (noRules) RuleGroups() []*rules.Group           { return nil }
func (noRules) AlertingRules() []*rules.AlertingRule { return nil }

// maxForm is the longest body of a request. A query is text that people and
// dashboards write; a selector of 10,000 names is a quarter of this.
const maxForm = 1 << 20

// New returns the API as a chi router to be mounted at /api/v1. Paths that are
// not listed in it do not exist. It is safe for concurrent use.
func New(o Options) (http.Handler, error) {
	if o.Engine == nil || o.Queryable == nil || o.Exemplars == nil {
		return nil, errors.New("api: no engine, queryable or exemplars; want all three")
	}
	if o.Rules == nil {
		o.Rules = noRules{}
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}

	// Prometheus renders a description of its whole API when it makes the
	// handlers, 0.1 s and 40 MB of garbage that nobody shall pay at every start:
	// the first request does.
	handlers := sync.OnceValue(func() map[string]http.HandlerFunc { return prometheus(o) })
	handler := func(path string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { handlers()[path](w, r) }
	}

	r := chi.NewRouter()
	r.Use(ready(o.Ready), form)
	for _, path := range []string{
		"/query", "/query_range", "/query_exemplars", "/format_query", "/parse_query", "/labels", "/series",
	} {
		r.Get(path, handler(path))
		r.Post(path, handler(path))
	}
	for _, path := range []string{"/rules", "/alerts", "/status/buildinfo"} {
		r.Get(path, handler(path))
	}
	r.Get("/metadata", describeHandler(describe()))
	r.Get("/label/{name}/values", labelName(handler("/label/:name/values")))
	return r, nil
}

// ready answers 503 while check returns an error.
func ready(check func() error) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := check(); err != nil {
				refuse(w, http.StatusServiceUnavailable, "unavailable", err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// form reads the parameters, which a body may hold as well as the URL, and
// hides the request's origin: Prometheus' handlers answer one with CORS headers,
// and no other site's scripts shall read here.
func form(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(r.Context()) // a copy, as handlers shall not change what they are given
		r.Header = r.Header.Clone()
		r.Header.Del("Origin")
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			status := http.StatusBadRequest
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				status = http.StatusRequestEntityTooLarge
			}
			refuse(w, status, "bad_data", fmt.Errorf("parameters: %w", err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// labelName hands the name in the path on the way Prometheus' handlers want it.
func labelName(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := chi.URLParam(r, "name")
		if r.URL.RawPath != "" { // then chi routes by it, and the name is escaped
			var err error
			if name, err = url.PathUnescape(name); err != nil {
				refuse(w, http.StatusBadRequest, "bad_data", fmt.Errorf("label name: %w", err))
				return
			}
		}
		next(w, r.WithContext(route.WithParam(r.Context(), "name", name)))
	}
}

// refuse answers with an error in the API's own shape.
func refuse(w http.ResponseWriter, status int, kind string, err error) {
	answer(w, status, promapi.Response{Status: "error", ErrorType: kind, Error: err.Error()})
}

func answer(w http.ResponseWriter, status int, body promapi.Response) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails when the client is gone: nobody is left to be told
}
