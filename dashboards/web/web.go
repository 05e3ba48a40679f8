// Package web serves the built-in pages: all flows with their objectives,
// budgets and firing alerts at /, one flow at /flows/{service}/{flow}.
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
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

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
type Alert struct {
	SLO      string // slo.SLO.ID
	Severity slo.Severity
	Since    time.Time // when it began to fire
	Summary  string    // one line for people; empty means the objective in words
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

	// Version of slowburn, shown at the foot of each page.
	Version string

	// ExternalURL is the address people reach slowburn under. Its path, if
	// any, is put before all links; requests come without it. Empty means /.
	ExternalURL string

	// Logger takes queries that go wrong. Nil means slog.Default().
	Logger *slog.Logger
}

// New returns the handler of the pages. It serves GET and HEAD of /,
// /flows/{service}/{flow} and /assets/; nothing it serves has side effects. It
// may be used from several goroutines.
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
		templates: templates,
		assets:    sum,
		base:      strings.TrimSuffix(external.EscapedPath(), "/"),
		failing:   map[part]time.Time{},
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /flows/{service}/{flow}", s.flow)
	mux.HandleFunc("GET /assets/{name}", s.asset)
	return secure(gzhttp.GzipHandler(mux)), nil
}

// site serves the pages.
type site struct {
	opt       Options
	templates *template.Template
	assets    string // sum of all assets: part of their address
	base      string // path prefix of all links

	mu      sync.Mutex // held while the store is read: the others wait for that reading
	last    *reading
	failing map[part]time.Time // since when a part cannot be read
}

// reading is what one look at the store gave, and the first page made of it.
type reading struct {
	picture
	html []byte
}

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
	write(w, http.StatusOK, now.html)
}

// flow serves the page of one flow.
func (s *site) flow(w http.ResponseWriter, r *http.Request) {
	now, err := s.look(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	status, shown := http.StatusNotFound, page{Base: s.base, Title: "No such flow"}
	for i := range now.flows {
		if f := &now.flows[i]; f.Service == r.PathValue("service") && f.Name == r.PathValue("flow") {
			status, shown = http.StatusOK, detail(now.picture, f)
		}
	}
	html, err := s.render("flow.html", shown)
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

// look returns the current reading, made now unless one is fresh enough.
func (s *site) look(ctx context.Context) (*reading, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.last != nil && now.Sub(s.last.now) < keepView {
		return s.last, nil
	}
	p := picture{
		now:    now,
		dataAt: s.opt.DataAt(),
		flows:  s.opt.Flows(),
		alerts: s.opt.Alerts(),
		reload: s.opt.ConfigFault(),
		base:   s.base,

		notices: s.opt.Notices(),
	}
	if p.at = p.dataAt; p.at.IsZero() {
		p.at = now
	}
	if s.last != nil && s.last.at.Equal(p.at) && len(s.last.numbers.faults) == 0 {
		p.numbers = s.last.numbers // nothing was written since
	} else {
		// Others may wait for this: it goes on when its first viewer leaves.
		p.numbers = s.read(context.WithoutCancel(ctx), p.flows, p.at)
	}
	p.faults = s.faults(p.numbers.faults, now)
	html, err := s.render("overview.html", overview(p))
	if err != nil {
		return nil, err
	}
	s.last = &reading{picture: p, html: html}
	return s.last, nil
}

// faults tells what cannot be read and since when, and logs what is new. The
// caller holds s.mu.
func (s *site) faults(now map[part]error, at time.Time) []Notice {
	var out []Notice
	for _, p := range parts {
		err := now[p]
		if err == nil {
			delete(s.failing, p)
			continue
		}
		since, old := s.failing[p]
		if !old {
			since = at
			s.failing[p] = at
			s.opt.Logger.Warn("page cannot be completed", "missing", string(p), "err", err)
		}
		out = append(out, Notice{
			What:   fmt.Sprintf("%s cannot be read since %s (%s). The rest of the page is current.", p, clock(since, at), words.Span(at.Sub(since))),
			Detail: err.Error(),
		})
	}
	return out
}

// render executes a template.
func (s *site) render(name string, p page) ([]byte, error) {
	p.Assets, p.Version = s.assets, s.opt.Version
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, name, p); err != nil {
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
