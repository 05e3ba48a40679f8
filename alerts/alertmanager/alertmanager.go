// Package alertmanager is Prometheus' Alertmanager inside this process: it
// groups alerts, lets a page inhibit its ticket, honours silences, and tells
// every change once, for as long as telling takes.
//
// What was told, what is silenced and what fires is on disk at every moment, so
// that a process killed at any time neither repeats a message nor forgets one.
package alertmanager

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/api"
	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/slo"
)

const (
	// retention is how long a silence can still be seen after its end:
	// Alertmanager's default.
	retention = 120 * time.Hour

	// remembered is how long it is remembered what was told: as long as a
	// receiver may be away and still be told the end of it. An entry is a few
	// hundred bytes.
	remembered = 30 * 24 * time.Hour

	// snapshotEvery bounds the journals; they are compacted that often.
	snapshotEvery = 15 * time.Minute

	// gcEvery is how often alerts resolved by now leave the store, and
	// emptied groups the dispatcher: Alertmanager's defaults.
	gcEvery         = 30 * time.Minute
	maintenanceTick = 30 * time.Second

	// tellFor is how long at least one attempt to tell a group goes on before
	// it starts again with what is true by then. Waiting is the notifier's;
	// starting anew too often would fill the log while Slack is away.
	tellFor = time.Minute
)

// Options are what an Alertmanager needs. Dir and Notifier are required.
type Options struct {
	// Dir is the folder of the state; it is made if it is missing. Nobody
	// else may write there.
	Dir string

	// Notifier returns what tells a Slack channel; "" is the webhook's own. It
	// is called for each channel of the flows, also again after Apply.
	Notifier func(channel string) notify.Notifier

	// Fallback is told what a Slack channel cannot be told for five minutes, and
	// the end of that. There need be none.
	Fallback notify.Notifier

	// Flows make the routes, unless there is a native configuration.
	Flows  []slo.Flow
	Native *Native

	ExternalURL *url.URL // the generator URL of alerts
	Logger      *slog.Logger
	Registerer  prometheus.Registerer
}

// Alertmanager routes alerts to people. Its methods may be called from several
// goroutines.
type Alertmanager struct {
	notifier  func(channel string) notify.Notifier
	fallback  notify.Notifier // nil without one
	generator string
	logger    *slog.Logger

	alerts   *openAlerts
	told     *nflog.Log
	silences *silence.Silences
	disk     []*durable // of told and silences
	silencer *silence.Silencer
	groups   marker.GroupMarker
	notified *notify.Metrics
	metrics  *dispatch.DispatcherMetrics
	api      *api.API
	handler  http.Handler

	now atomic.Pointer[generation] // nil while not running

	mu      sync.Mutex
	routing routing // in force
	closed  bool
}

// routing says who is told of which alerts.
type routing struct {
	config    *config.Config
	slack     map[string]string // channels that slowburn itself tells, by receiver
	receivers map[string][]notify.Integration
	times     map[string][]timeinterval.TimeInterval
	template  *template.Template
	sum       [sha256.Size]byte // of a native configuration
}

// routesOf returns the routing of flows.
func routesOf(flows []slo.Flow) routing {
	cfg, channels := configure(flows)
	r := routing{config: cfg, slack: make(map[string]string, len(channels))}
	for _, c := range channels {
		r.slack[receiverName(c)] = c
	}
	return r
}

// generation is what is replaced when the routes change.
type generation struct {
	inhibitor  *inhibit.Inhibitor
	dispatcher *dispatch.Dispatcher

	mu      sync.Mutex
	ended   bool           // no group is told any more
	telling sync.WaitGroup // groups being told; only added to before ended
}

// enter begins to tell a group; ok is false when this generation has ended.
func (g *generation) enter() (ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		g.telling.Add(1)
	}
	return !g.ended
}

// stop ends the telling. A message under way is finished first, or the next
// generation would send it again.
func (g *generation) stop() {
	g.dispatcher.Stop()
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	g.telling.Wait()
	g.inhibitor.Stop()
}

// New reads the state in Dir and returns an Alertmanager that tells nobody
// until Run. The alerts that fired when the last process ended fire again, for
// two minutes unless they are confirmed.
//
// An error names the file or folder and what is wrong with it. Files that are
// damaged are no error: they are moved to Dir/quarantine and the log says so.
func New(o Options) (_ *Alertmanager, err error) {
	if o.Dir == "" || o.Notifier == nil {
		return nil, errors.New("alertmanager: Options.Dir or Options.Notifier is missing; want both")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("alerting state: %w", err)
	}
	unwritten := promauto.With(o.Registerer).NewCounter(prometheus.CounterOpts{
		Name: "slowburn_alert_state_write_failures_total",
		Help: "Changes of the alerting state that could not be written to disk.",
	})
	a := &Alertmanager{
		notifier: o.Notifier,
		fallback: o.Fallback,
		logger:   o.Logger,
		groups:   marker.NewGroupMarker(),
		notified: notify.NewMetrics(o.Registerer, featurecontrol.NoopFlags{}),
		metrics:  dispatch.NewDispatcherMetrics(false, o.Registerer, featurecontrol.NoopFlags{}),
	}
	if o.ExternalURL != nil {
		a.generator = o.ExternalURL.String()
	}
	a.routing = routesOf(o.Flows)
	if o.Native != nil {
		a.routing = o.Native.routing
	}

	if a.told, err = nflog.New(nflog.Options{
		Retention: remembered,
		Logger:    o.Logger.With("component", "nflog"),
		Metrics:   o.Registerer,
	}); err != nil {
		return nil, err
	}
	if a.silences, err = silence.New(silence.Options{
		Retention: retention,
		Limits: silence.Limits{
			MaxSilences:         func() int { return maxSilences },
			MaxSilenceSizeBytes: func() int { return maxSilenceBytes },
		},
		Logger:  o.Logger.With("component", "silences"),
		Metrics: o.Registerer,
	}); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		name string
		mesh mesh
	}{{"nflog", a.told}, {"silences", a.silences}} {
		d, err := openDurable(o.Dir, s.name, s.mesh, o.Logger, unwritten.Inc)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("alerting state: %w", err), a.close())
		}
		a.disk = append(a.disk, d)
	}

	a.silencer = silence.NewSilencer(a.silences, o.Logger, eventrecorder.Recorder{})
	store, err := mem.NewAlerts(context.Background(), gcEvery, 0, a.silencer, o.Logger,
		eventrecorder.Recorder{}, o.Registerer, featurecontrol.NoopFlags{})
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.alerts = &openAlerts{
		Alerts: store,
		path:   filepath.Join(o.Dir, "alerts.json"),
		logger: o.Logger,
		failed: unwritten.Inc,
		open:   map[model.Fingerprint]*openAlert{},
	}
	if err := a.load(o.Dir); err != nil {
		return nil, errors.Join(fmt.Errorf("alerting state: %w", err), a.close())
	}
	if a.api, err = api.New(api.Options{
		Alerts:         a.alerts,
		Silences:       a.silences,
		GroupMutedFunc: a.groups.Muted,
		GroupFunc:      a.alertGroups,
		Timeout:        time.Minute,
		Logger:         o.Logger.With("component", "api"),
		Registry:       o.Registerer,
		RequestDuration: promauto.With(o.Registerer).NewHistogramVec(prometheus.HistogramOpts{
			Name:    "alertmanager_http_request_duration_seconds",
			Help:    "Latency of requests to Alertmanager's API.",
			Buckets: prometheus.DefBuckets,
		}, []string{"handler", "method", "code"}),
	}); err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.api.Update(a.routing.config, a.mark)
	a.handler = a.api.Register(route.New(), "/")
	return a, nil
}

// load takes up the alerts that were open when the last process ended.
func (a *Alertmanager) load(dir string) error {
	err := a.alerts.load(time.Now())
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &syntax) && !errors.As(err, &kind) {
		return err
	}
	to, moved := quarantine(dir, a.alerts.path)
	if moved != nil {
		return moved
	}
	a.logger.Error("alerts on disk are damaged; a resolved message may be missing", "moved_to", to, "err", err)
	return nil
}

// close gives back what New took.
func (a *Alertmanager) close() error {
	if a.alerts != nil {
		a.alerts.Close()
	}
	var faults []error
	for _, d := range a.disk {
		faults = append(faults, d.close())
	}
	return errors.Join(faults...)
}

// Handler serves Alertmanager's API under /api/v2/. Requests that change
// something are not protected here, and are refused once what they change is no
// longer written to disk.
func (a *Alertmanager) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			a.handler.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body) // a slow sender keeps nobody waiting
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.closed {
			http.Error(w, "slowburn is stopping", http.StatusServiceUnavailable)
			return
		}
		a.handler.ServeHTTP(w, r)
	})
}

// Notify takes alerts from the rule manager; it is a rules.NotifyFunc. It
// returns when they are on disk where they have changed.
func (a *Alertmanager) Notify(ctx context.Context, _ string, alerts ...*rules.Alert) {
	if len(alerts) == 0 {
		return
	}
	now := time.Now()
	out := make([]*alert.Alert, len(alerts))
	for i, r := range alerts {
		out[i] = &alert.Alert{
			Alert: model.Alert{
				Labels:       toLabelSet(r.Labels),
				Annotations:  toLabelSet(r.Annotations),
				StartsAt:     r.FiredAt,
				EndsAt:       r.ValidUntil,
				GeneratorURL: a.generator,
			},
			UpdatedAt: now,
		}
		if !r.ResolvedAt.IsZero() {
			out[i].EndsAt = r.ResolvedAt
		}
	}
	if err := a.alerts.Put(ctx, out...); err != nil {
		a.logger.Error("alerts were not taken", "alerts", len(out), "err", err)
	}
}

func toLabelSet(ls labels.Labels) model.LabelSet {
	out := make(model.LabelSet, ls.Len())
	ls.Range(func(l labels.Label) { out[model.LabelName(l.Name)] = model.LabelValue(l.Value) })
	return out
}

// Apply replaces the routes by those of flows. Alerts keep their state, and
// nobody hears of them again unless their channel changed. It waits for
// messages that are under way, 10 s at most with a notifier that cuts its tries
// there.
func (a *Alertmanager) Apply(flows []slo.Flow) error { return a.apply(routesOf(flows)) }

// ApplyNative replaces the routes by those of a native configuration, as Apply
// does.
func (a *Alertmanager) ApplyNative(n *Native) error { return a.apply(n.routing) }

func (a *Alertmanager) apply(r routing) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errors.New("alertmanager: it has been stopped")
	}
	if r.sum == a.routing.sum && reflect.DeepEqual(r.config.Route, a.routing.config.Route) {
		return nil
	}
	a.routing = r
	a.api.Update(r.config, a.mark)
	if old := a.now.Load(); old != nil {
		old.stop()
		return a.start()
	}
	return nil
}

// Run tells people of alerts until ctx ends. Then it lets a message that is
// under way finish, writes its state and returns nil. It can be called once.
func (a *Alertmanager) Run(ctx context.Context) error {
	a.mu.Lock()
	err := a.start()
	a.mu.Unlock()
	if err != nil {
		return errors.Join(err, a.close())
	}
	var maintenance sync.WaitGroup
	stop := make(chan struct{})
	maintenance.Go(func() { a.told.Maintenance(snapshotEvery, a.disk[0].path(""), stop, a.disk[0].compact) })
	maintenance.Go(func() { a.silences.Maintenance(snapshotEvery, a.disk[1].path(""), stop, a.disk[1].compact) })

	<-ctx.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.now.Load().stop()
	close(stop)
	maintenance.Wait() // it ends with a last snapshot
	return a.close()
}

// start begins to tell by the routes in force. Callers hold mu.
func (a *Alertmanager) start() error {
	r := a.routing
	receivers := make(map[string][]notify.Integration, len(r.slack)+len(r.receivers))
	maps.Copy(receivers, r.receivers)
	for name, channel := range r.slack {
		receivers[name] = []notify.Integration{
			notify.NewIntegration(a.notifier(channel), sendResolved{}, integration, 0, name),
		}
		if a.fallback != nil {
			receivers[name] = append(receivers[name], notify.NewIntegration(a.fallback, sendResolved{}, fallbackName, 1, name))
		}
	}
	if err := a.alerts.resubmit(context.Background()); err != nil {
		return err
	}
	g := &generation{
		inhibitor: inhibit.NewInhibitor(a.alerts, r.config.InhibitRules, a.logger, eventrecorder.Recorder{}),
	}
	pipeline := a.deliveries(receivers, g.inhibitor, timeinterval.NewIntervener(r.times))
	g.dispatcher = dispatch.NewDispatcher(a.alerts, dispatch.NewRoute(r.config.Route, nil), a.tell(g, pipeline), a.groups,
		func(d time.Duration) time.Duration { return max(d, tellFor) },
		maintenanceTick, nil, a.logger, eventrecorder.Recorder{}, a.metrics, r.template)

	// The inhibitor first: until it knows the firing pages, their tickets
	// would go out.
	go g.inhibitor.Run()
	g.inhibitor.WaitForLoading()
	go g.dispatcher.Run(time.Now())
	g.dispatcher.WaitForLoading()
	a.now.Store(g)
	return nil
}

// tell wraps the pipeline that inhibits, silences, deduplicates, sends and
// remembers, keeping the list of open alerts in step with it.
func (a *Alertmanager) tell(g *generation, pipeline notify.Stage) notify.Stage {
	return notify.StageFunc(func(ctx context.Context, l *slog.Logger, alerts ...*alert.Alert) (context.Context, []*alert.Alert, error) {
		if !g.enter() {
			return ctx, nil, context.Canceled
		}
		defer g.telling.Done()
		a.alerts.telling(alerts)
		ctx, rest, err := pipeline.Exec(ctx, l, alerts...)
		if err == nil {
			a.alerts.told(alerts)
		}
		return ctx, rest, err
	})
}

// alertGroups is what the API shows as groups.
func (a *Alertmanager) alertGroups(ctx context.Context, routes func(*dispatch.Route) bool, alerts func(*alert.Alert, time.Time) bool) (dispatch.AlertGroups, map[model.Fingerprint][]string, error) {
	g := a.now.Load()
	if g == nil {
		return nil, nil, nil
	}
	return g.dispatcher.Groups(ctx, routes, alerts)
}

// mark tells the API what mutes an alert.
func (a *Alertmanager) mark(ctx context.Context, ls model.LabelSet) {
	if g := a.now.Load(); g != nil {
		g.inhibitor.Mutes(ctx, ls)
	}
	a.silencer.Mutes(ctx, ls)
}

// sendResolved makes every receiver hear of resolved alerts.
type sendResolved struct{}

func (sendResolved) SendResolved() bool { return true }
