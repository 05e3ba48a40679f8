// Package v1 is slowburn's own API, version 1: flows and their objectives as
// they are now, error budgets over time, alerts, and silences.
//
// It is mounted at [Prefix]. /api/v1 belongs to the API of Prometheus, which
// its clients look for under that very path and which grows with every release;
// a name of our own cannot collide with it, and a version 2 fits beside. Within
// version 1, fields and paths are added and never change their meaning.
//
// openapi.json describes it, and is served with it. Tests hold the two together.
package v1

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/slo"
)

// Prefix is the path under which the API is mounted.
const Prefix = "/api/slowburn/v1"

// maxBody is the longest body of a request; the reason in it is a paragraph.
const maxBody = 64 << 10

//go:embed openapi.json
var openAPI []byte

// Alert is a firing alert.
type Alert = read.Alert

// Culprit is what sets the bad requests of a flow apart.
type Culprit = read.Culprit

// Judgement is what keeps an SLO from being judged by its burn rates alone.
type Judgement = read.Judgement

// NewSilence is a silence to be made. It has been checked: the flow exists, and
// so does the SLO where there is one.
type NewSilence struct {
	Service, Flow string
	SLO           string // slo.SLO.ID; empty: all of the flow's
	By, Why       string
	Until         time.Time
}

// ErrNoSilence is what Options.Unsilence returns when there is no silence with
// the ID.
var ErrNoSilence = errors.New("there is no such silence")

// Options say what the API shows. Its functions may be called from several
// goroutines; those without arguments at most about once a second, but for
// Silences.
type Options struct {
	// Flows returns the current configuration, which nobody changes
	// afterwards. Required.
	Flows func() []slo.Flow

	// Engine and Queryable answer the queries. Required.
	Engine    promql.QueryEngine
	Queryable storage.Queryable

	// Alerts returns the alerts that fire now. Nil means none ever.
	Alerts func() []Alert

	// DataAt returns the time of the data last written to Queryable, once it
	// can be read there; all figures are as of then. Nil means now; the zero
	// time means never.
	DataAt func() time.Time

	// Notices returns sentences about slowburn itself that readers have to
	// know, such as why a configuration was refused. Nil means none ever.
	Notices func() []string

	// Where returns what sets the bad requests of a flow apart, the most telling
	// first, nil when nothing does. Nil: nobody looks for it.
	Where func(service, flow string) []Culprit

	// Judgement returns what keeps an SLO from being judged by its burn rates
	// alone. Nil: nothing does.
	Judgement func(slo string) Judgement

	// Silences returns the silences in force and to come, those that end first
	// before the others; Silence makes one that begins now, and Unsilence ends
	// one. Without all three there are no silences here.
	Silences  func() ([]Silence, error)
	Silence   func(context.Context, NewSilence) (id string, err error)
	Unsilence func(ctx context.Context, id string) error

	// ExternalURL is the address people reach slowburn under: pages from there
	// may change silences. Empty: only those from the host that was asked.
	ExternalURL string

	Logger *slog.Logger // nil means slog.Default()
}

// New returns the API, which serves the paths below Prefix. It is safe for
// concurrent use.
func New(o Options) (http.Handler, error) {
	if o.Flows == nil || o.Engine == nil || o.Queryable == nil {
		return nil, errors.New("api: Flows, Engine and Queryable are required")
	}
	if some := o.Silences != nil; (o.Silence != nil) != some || (o.Unsilence != nil) != some {
		return nil, errors.New("api: Silences, Silence and Unsilence go together; want all or none")
	}
	if o.Alerts == nil {
		o.Alerts = func() []Alert { return nil }
	}
	if o.DataAt == nil {
		o.DataAt = time.Now
	}
	if o.Notices == nil {
		o.Notices = func() []string { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &api{
		opt: o, store: read.Store{Engine: o.Engine, Queryable: o.Queryable},
		history: read.History{Source: o.Queryable}, failing: map[read.Part]bool{},
	}
	protect, err := sameOrigin(o.ExternalURL)
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, r := range a.routes() {
		h := checked(r)
		if r.method != http.MethodGet {
			h = protect(h)
		}
		mux.Handle(r.method+" "+Prefix+r.path, h)
		allowed[r.path] = append(allowed[r.path], r.method)
		if r.method == http.MethodGet {
			allowed[r.path] = append(allowed[r.path], http.MethodHead)
		}
	}
	for path, methods := range allowed {
		mux.Handle(Prefix+path, a.handler(func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return &fault{status: http.StatusMethodNotAllowed, message: fmt.Sprintf("%s is not for this; want %s", r.Method, strings.Join(methods, " or "))}
		}))
	}
	mux.Handle("/", a.handler(func(http.ResponseWriter, *http.Request) error {
		return &fault{status: http.StatusNotFound, message: "there is no such path; " + Prefix + "/openapi.json lists them all"}
	}))
	return gzhttp.GzipHandler(mux), nil
}

// api serves the API.
type api struct {
	opt     Options
	store   read.Store
	history read.History

	mu      sync.Mutex // held while the store is read: the others wait for that reading
	last    *reading
	until   time.Time          // last serves everybody until then
	failing map[read.Part]bool // what could not be read last time
}

// route is one thing that can be asked.
type route struct {
	method, path string
	params       []string // those it takes in its query
	handler      http.Handler
}

func (a *api) routes() []route {
	return []route{
		{http.MethodGet, "/flows", []string{"service", "state"}, a.handler(a.flows)},
		{http.MethodGet, "/flows/{service}/{flow}", nil, a.handler(a.flow)},
		{http.MethodGet, "/flows/{service}/{flow}/budget", []string{"range", "step"}, a.handler(a.budget)},
		{http.MethodGet, "/alerts", []string{"history"}, a.handler(a.alerts)},
		{http.MethodGet, "/silences", nil, a.handler(a.silences)},
		{http.MethodPost, "/silences", nil, a.handler(a.silence)},
		{http.MethodDelete, "/silences/{id}", nil, a.handler(a.unsilence)},
		{http.MethodGet, "/openapi.json", nil, a.handler(a.describe)},
	}
}

// fault is why something cannot be done, as it is told.
type fault struct {
	status         int
	message, field string
}

func (f *fault) Error() string { return f.message }

// handler turns the error of a handler into an answer.
func (a *api) handler(handle func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store") // an old answer is worse than none
		h.Set("X-Content-Type-Options", "nosniff")
		err := handle(w, r)
		if err == nil {
			return
		}
		f, ok := errors.AsType[*fault](err)
		if !ok {
			a.opt.Logger.Error("request cannot be answered", "method", r.Method, "path", r.URL.Path, "err", err)
			f = &fault{status: http.StatusInternalServerError, message: err.Error()}
		}
		refuse(w, f)
	})
}

// refuse answers with a fault.
func refuse(w http.ResponseWriter, f *fault) {
	var e Error
	e.Error.Message, e.Error.Field = f.message, f.field
	_ = answer(w, f.status, e) // two strings can be written as JSON
}

// answer writes a body, or returns why it cannot be.
func answer(w http.ResponseWriter, status int, body any) error {
	b, err := encode(body)
	if err == nil {
		send(w, status, b)
	}
	return err
}

func encode(body any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(body)
	return b.Bytes(), err
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever asked has left
}

// checked refuses parameters that a route does not take: a filter with a typo
// would let everything through.
func checked(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		params, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			refuse(w, &fault{status: http.StatusBadRequest, message: err.Error()})
			return
		}
		for name := range params {
			if !slices.Contains(rt.params, name) {
				want := "none"
				if len(rt.params) > 0 {
					want = strings.Join(rt.params, " or ")
				}
				refuse(w, &fault{http.StatusBadRequest, fmt.Sprintf("%q is not a parameter of this; want %s", name, want), name})
				return
			}
		}
		rt.handler.ServeHTTP(w, r)
	})
}

// sameOrigin keeps pages of other sites from changing anything.
func sameOrigin(external string) (func(http.Handler) http.Handler, error) {
	cross := http.NewCrossOriginProtection()
	u, err := url.Parse(external)
	if err != nil {
		return nil, fmt.Errorf("api: external URL: %w", err)
	}
	if u.Host != "" {
		// A proxy may have changed the host on the way.
		if err := cross.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fmt.Errorf("api: external URL: %w", err)
		}
	}
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, &fault{status: http.StatusForbidden, message: "the request comes from a page of another site; that may not change anything here"})
	}))
	return cross.Handler, nil
}

// duration reads a parameter such as 7d.
func duration(r *http.Request, name string, otherwise, least, most time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	d, err := model.ParseDuration(text)
	if err != nil || time.Duration(d) < least || time.Duration(d) > most {
		return 0, &fault{http.StatusBadRequest, fmt.Sprintf("%s: %q is not a duration from %s to %s; want one such as %s",
			name, text, slo.Duration(least), slo.Duration(most), slo.Duration(max(least, min(most, 7*24*time.Hour)))), name}
	}
	return time.Duration(d), nil
}

// decode reads the JSON of a request.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &fault{status: http.StatusUnsupportedMediaType, message: fmt.Sprintf("Content-Type: %q is not JSON; want application/json", r.Header.Get("Content-Type"))}
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("there is more after the object; want one")
	}
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &fault{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("the body is longer than %d bytes", maxBody)}
	}
	f := &fault{status: http.StatusBadRequest, message: "body: " + strings.TrimPrefix(err.Error(), "json: ")}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		f.message, f.field = fmt.Sprintf("%s: a %s; want a %s", e.Field, e.Value, e.Type), e.Field
	}
	return f
}

// describe serves the description of the API.
func (a *api) describe(w http.ResponseWriter, _ *http.Request) error {
	send(w, http.StatusOK, openAPI)
	return nil
}
