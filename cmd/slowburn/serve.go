package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/rules"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/metric"

	"github.com/slowburn-slo/slowburn/alerts/alertmanager"
	"github.com/slowburn-slo/slowburn/alerts/eval"
	"github.com/slowburn-slo/slowburn/alerts/heartbeat"
	"github.com/slowburn-slo/slowburn/alerts/rulegen"
	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/collector"
	"github.com/slowburn-slo/slowburn/collector/otlp"
	"github.com/slowburn-slo/slowburn/collector/probe"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/dashboards/api"
	v1 "github.com/slowburn-slo/slowburn/dashboards/api/v1"
	"github.com/slowburn-slo/slowburn/dashboards/push"
	"github.com/slowburn-slo/slowburn/dashboards/web"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/series"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// config is what serve is told by flags and the environment.
type config struct {
	slos        []string // files and directories
	dataDir     string
	listen      string
	otlpGRPC    string
	otlpHTTP    string
	externalURL string
	slackFile   string
	slackURL    slack.Secret // from the file or SLACK_WEBHOOK_URL
	slack       slackConfig
	delivery    deliveryConfig
	receivers   receiversConfig
	grafana     grafanaConfig
	retention   time.Duration
	flush       time.Duration
	maxBytes    int64
	maxSpans    int
	maxSeries   int
	logLevel    string
	logFormat   string
	remote      remoteConfig

	// Of the Prometheus that PromQL objectives are asked of; without a URL that
	// is the embedded store.
	prometheusURL   string
	prometheusToken string // a file
	prometheusEvery time.Duration
}

// written is how far apart the samples of the embedded store are that count
// requests: what PromQL objectives read where no other Prometheus is given.
const written = 10 * time.Second

func newServe() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "serve --slos PATH",
		Short: "Take traces, keep budgets, alert",
		Long: `Take OpenTelemetry traces on 4317 (gRPC) and 4318 (HTTP), keep the error budgets
of the flows in PATH, show them on http://localhost:9595, and alert.

Send traces from a Node.js service:

  OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 \
    node --require @opentelemetry/auto-instrumentations-node/register app.js

PATH is a file or a directory with .yaml files; --slos may be given several times,
and everything below forms one configuration. It is read again when a file
changes and on SIGHUP; a file with faults changes nothing.
SIGTERM answers what is under way, writes everything down and ends; a second one
ends at once.

Objectives written in PromQL are asked of --prometheus-url once a minute, 20 s
after it ended; without it, of slowburn's own series. Say how often your Prometheus
scrapes (--prometheus-scrape-interval) if that is not every 30 s.

The Slack webhook's address is a secret: give it in a file or in SLACK_WEBHOOK_URL.
A Grafana data source of type Prometheus at http://localhost:9595 reads all series.`,
		Example: "  slowburn serve --slos slos.yaml --slack-webhook-url-file /run/secrets/slack",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(c.logLevel, c.logFormat)
			if err != nil {
				return err
			}
			if c.slackURL, err = slackSecret(c.slackFile); err != nil {
				return err
			}
			if err := c.slack.read(!c.slackURL.Empty()); err != nil {
				return err
			}
			if err := c.delivery.read(!c.slackURL.Empty() || !c.slack.token.Empty()); err != nil {
				return err
			}
			s, err := newServer(cmd.Context(), c, logger)
			if err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.slos, "slos", nil, "file or directory of flows and objectives; may be given several times (required)")
	f.StringVar(&c.dataDir, "data-dir", "data", "directory of everything that is kept; made where missing")
	f.StringVar(&c.listen, "listen", "127.0.0.1:9595", "address of pages and API")
	f.StringVar(&c.otlpGRPC, "otlp-grpc-listen", "127.0.0.1:4317", "address of OTLP/gRPC")
	f.StringVar(&c.otlpHTTP, "otlp-http-listen", "127.0.0.1:4318", "address of OTLP/HTTP")
	f.StringVar(&c.externalURL, "external-url", "", "where people reach the pages, for links in messages (default http://<listen>)")
	f.StringVar(&c.slackFile, "slack-webhook-url-file", "", "file with the address of a Slack incoming webhook (or set SLACK_WEBHOOK_URL)")
	c.slack.flags(f)
	c.delivery.flags(f)
	c.receivers.flags(f)
	c.grafana.flags(f, "grafana-", "also keep the dashboards of a Grafana in step with the flows, e.g. https://grafana.example")
	f.DurationVar(&c.retention, "retention", store.DefaultRetention, "how long series are kept")
	f.DurationVar(&c.flush, "flush-interval", collector.DefaultFlush, "how often counts reach the disk: what a kill -9 can lose")
	f.Int64Var(&c.maxBytes, "otlp-max-bytes", 64<<20, "largest OTLP request, in bytes after decompression")
	f.IntVar(&c.maxSpans, "otlp-max-spans", 100_000, "most spans in one OTLP request")
	f.IntVar(&c.maxSeries, "max-series", 10_000, "most flows and values of 'by' kept apart; the rest is counted together")
	f.StringVar(&c.prometheusURL, "prometheus-url", "", "Prometheus that PromQL objectives are asked of (default slowburn's own series)")
	f.StringVar(&c.prometheusToken, "prometheus-bearer-token-file", "", "file with the token it wants")
	f.DurationVar(&c.prometheusEvery, "prometheus-scrape-interval", query.DefaultScrape, "how far apart the samples are that PromQL objectives read there")
	c.remote.flags(f)
	f.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
	return cmd
}

func newLogger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is not a level; want debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is not a format; want text or json", format)
}

// server is everything that serve runs, in the order of a span's way.
type server struct {
	config   config
	logger   *slog.Logger
	flows    atomic.Pointer[[]slo.Flow]
	reloaded atomic.Pointer[reloaded] // replaced as a whole
	loaded   [32]byte                 // fingerprint of the files at the start
	renames  atomic.Pointer[[]rename]
	stopping atomic.Bool

	telemetry *telemetry
	store     *store.Store
	remote    *store.Remote // nil: series stay here
	pipeline  *collector.Pipeline
	otlp      *otlp.Server
	probe     *probe.Prober
	evaluator *eval.Evaluator
	alerts    *alertmanager.Alertmanager // nil: others tell of alerts
	elsewhere *alertmanager.External     // those; nil where there are none
	buttons   *slack.Socket              // nil: messages have none
	messages  *messages
	heart     *heartbeat.Heart // nil: nobody waits for it

	dashboards *push.Client  // nil: nobody's Grafana is kept in step
	changed    chan struct{} // a reload changed the flows; holds one

	size size // of the data directory

	external *url.URL
	listener net.Listener
	http     *http.Server

	cleanup []func() error // of what was opened, last first
}

// newServer opens and checks everything and starts nothing: after an error all
// is closed again.
func newServer(ctx context.Context, c config, logger *slog.Logger) (_ *server, err error) {
	s := &server{config: c, logger: logger, changed: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if len(c.slos) == 0 {
		return nil, errors.New("--slos is missing; want the file or directory of your flows (slowburn serve --help shows one)")
	}
	remote, err := c.remote.options(c.dataDir)
	if err != nil {
		return nil, err
	}
	if c.grafana.url != "" {
		if s.dashboards, err = c.grafana.client("grafana-"); err != nil {
			return nil, err
		}
	}
	// Before the files are read, so that a change meanwhile is noticed. Without
	// a fingerprint the first look reads them again.
	s.loaded, _ = fingerprint(c.files())
	loaded, groups, err := load(c.slos)
	if err != nil {
		return nil, err
	}
	flows := loaded.Flows
	s.warn(loaded.Warnings)
	s.flows.Store(&flows)
	s.reloaded.Store(&reloaded{at: time.Now(), cause: "start", warnings: loaded.Warnings})
	s.renames.Store(&[]rename{})

	if s.listener, err = net.Listen("tcp", c.listen); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	s.cleanup = append(s.cleanup, func() error { s.listener.Close(); return nil })
	if s.external, err = externalURL(c.externalURL, s.listener.Addr()); err != nil {
		return nil, err
	}
	if s.telemetry, err = newTelemetry(ctx); err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.telemetry.shutdown(ctx)
		return nil
	})
	meter := s.telemetry.meters.Meter("github.com/slowburn-slo/slowburn")

	s.store, err = store.Open(store.Options{
		Dir: filepath.Join(c.dataDir, "tsdb"), Retention: c.retention,
		Logger: quiet(logger, "store"), Registerer: s.telemetry.registry,
	})
	if err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, s.store.Close)
	if err := s.newRemote(remote); err != nil { // before anything is appended
		return nil, err
	}

	s.pipeline, err = collector.New(collector.Options{
		Flows: flows, Dir: filepath.Join(c.dataDir, "ledger"), Store: s.store, Version: version,
		Flush: c.flush, MaxSpans: c.maxSpans, MaxSeries: c.maxSeries,
		Logger: logger.With("component", "collector"), Meter: meter,
	})
	if err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, s.pipeline.Close)

	s.otlp, err = otlp.New(otlp.Options{
		GRPCListen: c.otlpGRPC, HTTPListen: c.otlpHTTP, MaxBytes: c.maxBytes, MaxInFlight: max(128<<20, 2*c.maxBytes),
		Sink: s.pipeline.Traces, Logger: logger.With("component", "otlp"), Meter: meter,
	})
	if err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, s.otlp.Close)

	if s.probe, err = s.newProbe(meter); err != nil {
		return nil, err
	}

	if s.messages, err = s.newMessages(); err != nil {
		return nil, err
	}
	if s.heart, err = s.newHeart(); err != nil {
		return nil, err
	}
	if err := s.newAlerts(flows); err != nil {
		return nil, err
	}

	s.evaluator, err = eval.New(eval.Options{
		Engine: s.store.RulesEngine(), Queryable: s.store, Appendable: s.store, Notify: s.notify(),
		ExternalURL: s.external, Logger: quiet(logger, "rules"), Registerer: s.telemetry.registry,
	})
	if err != nil {
		return nil, err
	}
	if err := s.evaluator.Apply(groups); err != nil {
		return nil, err
	}
	return s, s.routes()
}

// quiet is the logger of a library: its warnings, and its routine only when
// debugging.
func quiet(logger *slog.Logger, component string) *slog.Logger {
	return slog.New(atLeast{logger.Handler()}).With("component", component)
}

// atLeast hides what is below a warning unless debugging is on.
type atLeast struct{ slog.Handler }

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, l) && (l >= slog.LevelWarn || h.Handler.Enabled(ctx, slog.LevelDebug))
}

func (h atLeast) WithAttrs(a []slog.Attr) slog.Handler { return atLeast{h.Handler.WithAttrs(a)} }
func (h atLeast) WithGroup(name string) slog.Handler   { return atLeast{h.Handler.WithGroup(name)} }

func externalURL(text string, addr net.Addr) (*url.URL, error) {
	if text == "" {
		return &url.URL{Scheme: "http", Host: addr.String()}, nil
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("--external-url: %q is not an address; want one such as https://slowburn.example", text)
	}
	return u, nil
}

// routes puts pages, API and health on one router.
func (s *server) routes() error {
	queries, err := api.New(api.Options{
		Engine: s.store.Engine(), Queryable: s.store, Exemplars: s.store, Rules: s.evaluator.Manager(),
		Version: version, Logger: quiet(s.logger, "api"),
	})
	if err != nil {
		return err
	}
	pages, err := web.New(web.Options{
		Flows:  func() []slo.Flow { return *s.flows.Load() },
		Engine: s.store.Engine(), Queryable: s.store,
		Alerts: s.firing,
		DataAt: func() time.Time { at, _ := s.pipeline.LastFlush(); return at },
		ConfigFault: func() string {
			if err := s.reloaded.Load().fault; err != nil {
				return err.Error()
			}
			return ""
		},
		Notices:  func() []web.Notice { return s.notices(time.Now()) },
		TraceURL: s.config.slack.traceURL,
		Silences: s.silencing(), Setup: s.setup, Config: s.configuration, Samples: s.samples,
		Where: s.where, Judgement: s.judgement,
		Version: version, ExternalURL: s.external.String(), Logger: s.logger.With("component", "web"),
	})
	if err != nil {
		return err
	}
	own, err := s.api()
	if err != nil {
		return err
	}
	r := chi.NewRouter()
	r.Mount("/api/v1", queries)
	r.Mount(v1.Prefix, own)
	if s.alerts != nil {
		r.Mount("/api/v2", s.alertmanagerAPI())
	}
	r.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(s.telemetry.registry, promhttp.HandlerOpts{}))
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	r.Get("/readyz", s.readyz)
	r.Mount("/", pages)
	s.http = &http.Server{
		Handler:           r,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      150 * time.Second, // a query may take two minutes
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(quiet(s.logger, "http").Handler(), slog.LevelWarn),
	}
	return nil
}

// readyz says ready only while counts reach the store, rules are evaluated and
// messages go out.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if faults := s.unready(time.Now()); len(faults) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, strings.Join(faults, "\n"))
		return
	}
	fmt.Fprintln(w, "ready")
}

func (s *server) unready(now time.Time) []string {
	var faults []string
	if s.stopping.Load() {
		faults = append(faults, "stopping")
	}
	at, err := s.pipeline.LastFlush()
	if age := now.Sub(at); age > 3*s.config.flush+time.Second {
		faults = append(faults, fmt.Sprintf("counts last reached the disk %s ago; they should every %s", age.Round(time.Second), s.config.flush))
	}
	if err != nil {
		faults = append(faults, fmt.Sprintf("the last flush went wrong: %v", err))
	}
	if judged := s.evaluator.LastEvaluation(); judged.IsZero() {
		faults = append(faults, "alert rules have not been evaluated yet")
	} else if age := now.Sub(judged); age > 3*rulegen.DefaultInterval {
		faults = append(faults, fmt.Sprintf("alert rules were last evaluated %s ago; they should be every %s", age.Round(time.Second), rulegen.DefaultInterval))
	}
	return slices.Concat(faults, s.messages.stuck(now, slackStuck), s.unheard(now))
}

// firing returns the alerts that fire now, for the pages.
func (s *server) firing() []web.Alert {
	var silences []alertmanager.Silence
	if s.alerts != nil {
		var err error
		if silences, err = s.alerts.Silences(); err != nil {
			s.logger.Error("silences cannot be read; alerts are shown as if there were none", "err", err)
		}
	}
	now := time.Now()
	var out []web.Alert
	for _, rule := range s.evaluator.Manager().AlertingRules() {
		for _, a := range rule.ActiveAlerts() {
			if a.State != rules.StateFiring {
				continue
			}
			out = append(out, web.Alert{
				SLO:      a.Labels.Get(series.ID),
				Severity: slo.Severity(a.Labels.Get(series.Severity)),
				Since:    a.FiredAt,
				Summary:  a.Annotations.Get("summary"),
				Silences: silenced(silences, a.Labels.Map(), now),
			})
		}
	}
	return out
}

// run serves until ctx ends or a part fails, then stops in the order of the
// line: nothing more comes in, what came in is counted and judged, what is to
// be told is told or kept, and last the pages go.
func (s *server) run(ctx context.Context) error {
	defer s.close()
	s.logger.Info("slowburn is up", "version", version,
		"pages", "http://"+s.listener.Addr().String(),
		"otlp_grpc", s.otlp.GRPCAddr().String(), "otlp_http", s.otlp.HTTPAddr().String(),
		"flows", len(*s.flows.Load()), "slos", len(slo.All(*s.flows.Load())), "tells", s.tells())
	if !s.listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		s.logger.Warn("pages and API are open to the network without a password", "listen", s.listener.Addr().String())
	}
	if s.messages.slack == nil && s.elsewhere == nil && s.config.receivers.file == "" {
		s.logger.Warn("no Slack webhook and no bot token: alerts are shown on the pages only; set SLACK_WEBHOOK_URL or SLACK_BOT_TOKEN")
	}

	var g rungroup.Group
	stage(&g, func(stop context.Context) error {
		select {
		case <-ctx.Done():
			s.logger.Info("stopping: answering what is under way and writing everything down")
		case <-stop.Done():
		}
		s.stopping.Store(true)
		return nil
	})
	stage(&g, s.watch)
	if s.heart != nil {
		stage(&g, s.heart.Run)
	}
	stage(&g, s.otlp.Run)
	stage(&g, s.probe.Run)
	stage(&g, s.pipeline.Run)
	stage(&g, s.evaluator.Run)
	if s.remote != nil {
		stage(&g, s.remote.Run)
	}
	if s.dashboards != nil {
		stage(&g, func(ctx context.Context) error {
			return keepDashboards(ctx, s.dashboards, func() []slo.Flow { return *s.flows.Load() }, s.changed, s.logger.With("component", "grafana"))
		})
	}
	if s.buttons != nil {
		stage(&g, s.buttons.Run)
	}
	if s.elsewhere != nil {
		stage(&g, s.elsewhere.Run)
	} else {
		stage(&g, s.alerts.Run)
	}
	stage(&g, s.serveHTTP)
	err := g.Run()
	s.logger.Info("stopped")
	return err
}

// stage adds a part to the group. Parts stop one after the other, in the order
// they were added, each when the one before has ended.
func stage(g *rungroup.Group, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	g.Add(func() error {
		defer close(done)
		if err := part(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}, func(error) {
		cancel()
		<-done
	})
}

func (s *server) serveHTTP(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		s.http.Close()
	}
	return nil
}

// close closes what was opened, last first; parts that Run has closed already
// do not mind.
func (s *server) close() {
	for i := len(s.cleanup) - 1; i >= 0; i-- {
		if err := s.cleanup[i](); err != nil {
			s.logger.Error("close", "err", err)
		}
	}
	s.cleanup = nil
}

// newProbe prepares the counting of PromQL objectives.
func (s *server) newProbe(meter metric.Meter) (*probe.Prober, error) {
	o := probe.Options{
		Flows: *s.flows.Load(), Count: s.pipeline.Count, File: filepath.Join(s.config.dataDir, "probe", "minutes.json"),
		Query: rules.EngineQueryFunc(s.store.RulesEngine(), s.store), Scrape: written,
		Logger: s.logger.With("component", "probe"), Meter: meter,
	}
	if s.config.prometheusURL != "" {
		asked, err := probe.NewServer(probe.ServerOptions{
			URL: s.config.prometheusURL, TokenFile: s.config.prometheusToken, Logger: o.Logger,
		})
		if err != nil {
			return nil, fmt.Errorf("--prometheus-url: %w", err)
		}
		s.cleanup = append(s.cleanup, asked.Close)
		o.Query, o.Scrape = asked.Query, s.config.prometheusEvery
	}
	return probe.New(o)
}

// load reads flows and everything that is made of them and can be wrong.
func load(paths []string) (spec.Config, []rulefmt.RuleGroup, error) {
	c, err := loadConfig(paths...)
	if err != nil {
		return c, nil, err
	}
	groups, err := rulegen.Groups(c.Flows, rulegen.Options{})
	return c, groups, errors.Join(err, probe.Check(c.Flows))
}
