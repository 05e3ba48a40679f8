// Package web serves the built-in pages: all flows with their objectives,
// budgets and firing alerts at /, one flow with its charts at
// /flows/{service}/{flow}, and the alerts, what arrives and the configuration.
//
// All figures come through Prometheus' own seams, so the pages work over any
// Prometheus storage that holds the series of package series. They need no
// build step, load nothing from elsewhere, and can be read without scripts.
package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

// keepView is for how long one reading of the store serves everybody who
// looks, so that many viewers cost little.
const keepView = time.Second

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets/*.css assets/*.js assets/*.svg
var assetFiles embed.FS

// Alert is a firing alert.
type Alert = read.Alert

// Culprit is what sets the bad requests of a flow apart.
type Culprit = read.Culprit

// Judgement is what keeps an SLO from being judged by its burn rates alone.
type Judgement = read.Judgement

// Sample is a request of a flow whose trace can be looked at.
type Sample struct {
	TraceID  string // in hexadecimal
	At       time.Time
	Duration time.Duration
	Bad      bool
}

// Options say what the pages show and where it comes from. The functions may
// be called from several goroutines, at most about once a second.
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
	// can be read there; all figures are as of then, and are read again only
	// when it changes. Nil means now; the zero time means never.
	DataAt func() time.Time

	// ConfigFault returns why the last configuration was refused, or "". Nil
	// means it never is.
	ConfigFault func() string

	// Notices returns what else readers have to know. Nil means nothing ever.
	Notices func() []Notice

	// Silences keeps alerts from being told for a while. Nil means that this
	// is done elsewhere.
	Silences *Silencing

	// Setup returns what arrives. Nil means nothing ever.
	Setup func() Setup

	// Config returns how slowburn was told to run. Nil means nothing is known.
	Config func() Config

	// Samples returns traces of a flow that are worth a look, the newest first.
	// Nil: none are shown.
	Samples func(service, flow string) []Sample

	// Where returns what sets the bad requests of a flow apart, the most telling
	// first, nil when nothing does. Nil: nobody looks for it.
	Where func(service, flow string) []Culprit

	// Judgement returns what keeps an SLO from being judged by its burn rates
	// alone. Nil: nothing does.
	Judgement func(slo string) Judgement

	// TraceURL is the address of a trace, with {trace_id} in its place. Empty:
	// traces are no links.
	TraceURL string

	// Version of slowburn, shown at the foot of each page.
	Version string

	// ExternalURL is the address people reach slowburn under. Its path, if
	// any, is put before all links; requests come without it. Empty means /.
	ExternalURL string

	// Logger takes queries that go wrong. Nil means slog.Default().
	Logger *slog.Logger
}

// New returns the handler of the pages. It serves GET and HEAD of /,
// /flows/{service}/{flow} with the data of its charts, /alerts, /setup, /config
// and /assets/; only the forms of /alerts have side effects. It may be used from
// several goroutines.
func New(opt Options) (http.Handler, error) {
	if opt.Flows == nil || opt.Engine == nil || opt.Queryable == nil {
		return nil, errors.New("web: Flows, Engine and Queryable are required")
	}
	external, err := url.Parse(opt.ExternalURL)
	if err != nil {
		return nil, fmt.Errorf("web: external URL: %w", err)
	}
	if opt.Alerts == nil {
		opt.Alerts = func() []Alert { return nil }
	}
	if opt.DataAt == nil {
		opt.DataAt = time.Now
	}
	if opt.ConfigFault == nil {
		opt.ConfigFault = func() string { return "" }
	}
	if opt.Notices == nil {
		opt.Notices = func() []Notice { return nil }
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	templates, err := template.ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	sum, err := sumAssets()
	if err != nil {
		return nil, err
	}
	s := &site{
		opt:       opt,
		store:     read.Store{Engine: opt.Engine, Queryable: opt.Queryable},
		templates: templates,
		assets:    sum,
		base:      strings.TrimSuffix(external.EscapedPath(), "/"),
		looks:     map[read.Key]*looked{},
		charts:    map[chartKey]*keptCharts{},
		past:      read.History{Source: opt.Queryable},
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /flows/{service}/{flow}", s.flow)
	mux.HandleFunc("GET /flows/{service}/{flow}/data", s.data)
	mux.HandleFunc("GET /assets/{name}", s.asset)
	s.alertsPages(mux)
	s.setupPages(mux)
	s.configPages(mux)
	return secure(gzhttp.GzipHandler(mux)), nil
}

// site serves the pages.
type site struct {
	opt       Options
	templates *template.Template
	assets    string // sum of all assets: part of their address
	base      string // path prefix of all links

	store read.Store
	past  read.History

	mu     sync.Mutex
	looks  map[read.Key]*looked // by flow; that of all flows is without a key
	charts map[chartKey]*keptCharts
}

// looked is what was last seen of a flow, or of all.
type looked struct {
	mu      sync.Mutex // held while the store is read: the others wait for that reading
	last    *reading
	failing map[read.Part]time.Time // since when a part cannot be read
}

// keepLooks is how many flows are kept that somebody looked at.
const keepLooks = 100

// reading is what one look at the store gave, and the pages made of it.
type reading struct {
	picture
	first page // the overview of all flows

	mu   sync.Mutex
	html map[string][]byte // of overviews, by selection
}

// keepPages is how many selections are kept of a reading.
const keepPages = 50

// secure sets the headers every answer has, errors included.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; "+
			"frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// overview serves the first page.
func (s *site) overview(w http.ResponseWriter, r *http.Request) {
	now, err := s.look(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	html, err := now.overview(s, newSelection(r.URL.Query()))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, html)
}

// overview returns the first page with the flows of a selection.
func (now *reading) overview(s *site, sel selection) ([]byte, error) {
	key := sel.query()
	now.mu.Lock()
	defer now.mu.Unlock()
	if html, ok := now.html[key]; ok {
		return html, nil
	}
	shown := now.first.narrow(sel)
	html, err := s.render("overview.html", &shown)
	if err == nil && len(now.html) < keepPages {
		now.html[key] = html
	}
	return html, err
}

// flow serves the page of one flow.
func (s *site) flow(w http.ResponseWriter, r *http.Request) {
	key := read.Key{Service: r.PathValue("service"), Flow: r.PathValue("flow")}
	now, err := s.lookAt(r.Context(), key)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	status, shown := http.StatusNotFound, flowPage{page: page{frame: frame{Page: "flow", Title: "No such flow"}}}
	if f := read.Find(now.flows, key); f != nil {
		status, shown = http.StatusOK, s.detail(r.Context(), now.picture, f, r.URL.Query())
	}
	html, err := s.render("flow.html", &shown)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, status, html)
}

// asset serves one embedded file. Its address changes with its content, so
// browsers may keep it.
func (s *site) asset(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery == "v="+s.assets {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeFileFS(w, r, assetFiles, "assets/"+r.PathValue("name"))
}

// look returns the current reading of all flows, made now unless one is fresh
// enough.
func (s *site) look(ctx context.Context) (*reading, error) { return s.lookAt(ctx, read.Key{}) }

// lookAt returns the current reading of one flow, which has what its page
// shows; of all flows without a key.
func (s *site) lookAt(ctx context.Context, key read.Key) (*reading, error) {
	p := picture{now: time.Now(), flows: s.opt.Flows(), base: s.base}
	var only *slo.Flow
	if key != (read.Key{}) {
		if only = read.Find(p.flows, key); only == nil {
			return &reading{picture: p}, nil
		}
	}
	l := s.looked(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	p.now = time.Now()
	if l.last != nil && p.now.Sub(l.last.now) < keepView {
		return l.last, nil
	}
	p.dataAt, p.alerts = s.opt.DataAt(), s.opt.Alerts()
	p.reload, p.notices = s.opt.ConfigFault(), s.opt.Notices()
	if p.at = p.dataAt; p.at.IsZero() {
		p.at = p.now
	}
	if l.last != nil && l.last.at.Equal(p.at) && len(l.last.numbers.Faults) == 0 {
		p.numbers = l.last.numbers // nothing was written since
	} else {
		// Others may wait for this: it goes on when its first viewer leaves.
		p.numbers = s.store.Numbers(context.WithoutCancel(ctx), p.flows, only, p.at)
	}
	p.faults = l.faults(s.opt.Logger, p.numbers.Faults, p.now)
	l.last = &reading{picture: p, html: map[string][]byte{}}
	if only == nil {
		l.last.first = overview(p)
	}
	return l.last, nil
}

// looked returns what is kept of a flow.
func (s *site) looked(key read.Key) *looked {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.looks[key]
	if l == nil {
		if len(s.looks) > keepLooks {
			maps.DeleteFunc(s.looks, func(k read.Key, _ *looked) bool { return k != read.Key{} })
		}
		l = &looked{failing: map[read.Part]time.Time{}}
		s.looks[key] = l
	}
	return l
}

// faults tells what cannot be read and since when, and logs what is new. The
// caller holds l.mu.
func (l *looked) faults(logger *slog.Logger, now map[read.Part]error, at time.Time) []Notice {
	var out []Notice
	for _, p := range read.Parts {
		err := now[p]
		if err == nil {
			delete(l.failing, p)
			continue
		}
		since, old := l.failing[p]
		if !old {
			since = at
			l.failing[p] = at
			logger.Warn("page cannot be completed", "missing", string(p), "err", err)
		}
		out = append(out, Notice{
			What:   fmt.Sprintf("%s cannot be read since %s (%s). The rest of the page is current.", p, words.Clock(since, at), words.Span(at.Sub(since))),
			Detail: err.Error(),
		})
	}
	return out
}

// render executes a template over the view of a page, whose frame it completes.
func (s *site) render(name string, view interface{ around() *frame }) ([]byte, error) {
	f := view.around()
	f.Base, f.Assets, f.Version = s.base, s.assets, s.opt.Version
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, name, view); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// write sends a page. Pages are never kept: an old one is worse than none.
func write(w http.ResponseWriter, status int, html []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(html) // the viewer left
}

func (s *site) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.opt.Logger.Error("page cannot be made", "path", r.URL.Path, "err", err)
	http.Error(w, "slowburn cannot make this page; its log says why.", http.StatusInternalServerError)
}

// sumAssets returns a short sum over the content of all assets.
func sumAssets() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(assetFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := assetFiles.ReadFile(path)
		h.Write(b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:12], err
}
