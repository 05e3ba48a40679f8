package alertmanager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/notifier"
	"github.com/prometheus/prometheus/rules"
)

const (
	// queueCapacity is how many alerts wait for each Alertmanager: Prometheus'
	// default, and every alert of 2,000 flows at once. When it is full the
	// oldest go; the rule manager hands over anew within a minute.
	queueCapacity = 10_000

	// sendFor is how long an Alertmanager may take to answer: Prometheus'
	// default.
	sendFor = 10 * time.Second

	// retryEvery is how often alerts are sent again while an Alertmanager fails:
	// the minute that the rule manager takes is long for a page.
	retryEvery = 5 * time.Second

	// forget is how long after its end an alert may be sent again: as long as the
	// rule manager repeats it.
	forget = 15 * time.Minute

	// drainFor is how long what waits may take when slowburn stops.
	drainFor = 5 * time.Second
)

// ExternalOptions are what sending alerts to other Alertmanagers needs. URLs is
// required.
type ExternalOptions struct {
	// URLs are the addresses of all Alertmanagers of a cluster, such as
	// http://alertmanager:9093, with the path that they are served under. Each
	// gets every alert; together they tell people once.
	URLs []string

	// HTTPConfig is the path of a file with the settings of a client as
	// Prometheus' http_config writes them: basic_auth, authorization,
	// tls_config. It may be empty.
	HTTPConfig string

	ExternalURL *url.URL // the generator URL of alerts
	Logger      *slog.Logger
	Registerer  prometheus.Registerer
}

// External sends alerts to Alertmanagers that run elsewhere, with the notifier
// of Prometheus. Its methods may be called from several goroutines.
//
// An alert that fires is sent again every minute by the rule manager, and one
// that ended for 15 minutes; while an Alertmanager fails, every five seconds. So
// nothing is lost while it is away, but for an alert that both fired and ended
// more than 15 minutes before it is back. One that hears nothing for four
// minutes takes an alert as ended.
type External struct {
	manager   *notifier.Manager
	targets   map[string][]*targetgroup.Group
	urls      []string
	generator string
	logger    *slog.Logger

	running chan struct{} // closed once every Alertmanager has its queue
	life    context.Context
	end     context.CancelFunc // of life: requests under way are cut

	mu      sync.Mutex
	alerts  map[uint64]*notifier.Alert // by their labels
	tries   int
	sent    int                  // alerts handed to the notifier so far
	asked   map[string]int       // how many of them each Alertmanager was asked to take, by address
	failing map[string]time.Time // since when, by address
	clients map[*http.Client]bool
}

// NewExternal checks the options and returns an External. It sends nothing
// until Run.
func NewExternal(o ExternalOptions) (*External, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("alertmanager: no address; want one at least")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	client := promconfig.DefaultHTTPClientConfig
	if o.HTTPConfig != "" {
		c, text, err := promconfig.LoadHTTPConfigFile(o.HTTPConfig)
		if err != nil {
			return nil, placed(o.HTTPConfig, text, err)
		}
		if err := errors.Join(missing(reflect.ValueOf(c))...); err != nil {
			return nil, placed(o.HTTPConfig, text, err)
		}
		client = *c
	}
	e := &External{
		targets: map[string][]*targetgroup.Group{}, logger: o.Logger, running: make(chan struct{}),
		alerts: map[uint64]*notifier.Alert{}, failing: map[string]time.Time{}, clients: map[*http.Client]bool{}, asked: map[string]int{},
	}
	e.life, e.end = context.WithCancel(context.Background())
	if o.ExternalURL != nil {
		e.generator = o.ExternalURL.String()
	}
	var all config.AlertmanagerConfigs
	for i, text := range o.URLs {
		u, err := url.Parse(text)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			// Without the address: it may hold a password.
			return nil, fmt.Errorf("address %d of an Alertmanager is none; want one such as http://alertmanager:9093, with names and passwords in a file", i+1)
		}
		if slices.Contains(e.urls, u.String()) {
			return nil, fmt.Errorf("%s is there twice; want each Alertmanager once", u)
		}
		cfg := config.DefaultAlertmanagerConfig
		cfg.Scheme, cfg.PathPrefix, cfg.Timeout, cfg.HTTPClientConfig = u.Scheme, u.Path, model.Duration(sendFor), client
		e.targets[fmt.Sprintf("config-%d", len(all))] = []*targetgroup.Group{{Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(u.Host)}}}}
		all = append(all, &cfg)
		e.urls = append(e.urls, u.String())
	}
	e.manager = notifier.NewManager(&notifier.Options{
		QueueCapacity: queueCapacity, DrainOnShutdown: true, Do: e.do, Registerer: o.Registerer,
	}, model.UTF8Validation, o.Logger)
	if err := e.manager.ApplyConfig(&config.Config{AlertingConfig: config.AlertingConfig{AlertmanagerConfigs: all}}); err != nil {
		return nil, fmt.Errorf("%s: %w", cmp.Or(o.HTTPConfig, "alertmanager"), err)
	}
	return e, nil
}

// URLs returns the addresses of the Alertmanagers.
func (e *External) URLs() []string { return e.urls }

// Notify takes alerts from the rule manager; it is a rules.NotifyFunc. It does
// not wait until they are sent.
func (e *External) Notify(ctx context.Context, _ string, alerts ...*rules.Alert) {
	if len(alerts) == 0 {
		return
	}
	select {
	case <-e.running:
	case <-ctx.Done():
		return
	}
	out := make([]*notifier.Alert, len(alerts))
	for i, r := range alerts {
		out[i] = &notifier.Alert{
			Labels: r.Labels, Annotations: r.Annotations,
			StartsAt: r.FiredAt, EndsAt: r.ValidUntil, GeneratorURL: e.generator,
		}
		if !r.ResolvedAt.IsZero() {
			out[i].EndsAt = r.ResolvedAt
		}
	}
	e.mu.Lock()
	for _, a := range out {
		e.alerts[a.Hash()] = a
	}
	e.mu.Unlock()
	e.send(out)
}

// send hands alerts to the notifier.
func (e *External) send(alerts []*notifier.Alert) {
	e.mu.Lock()
	e.sent += len(alerts)
	e.mu.Unlock()
	e.manager.Send(alerts...)
}

// retry sends again what an Alertmanager may have missed, until ctx ends.
func (e *External) retry(ctx context.Context) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	before := 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		e.mu.Lock()
		var again []*notifier.Alert
		for key, a := range e.alerts {
			if time.Since(a.EndsAt) > forget {
				delete(e.alerts, key)
				continue
			}
			again = append(again, a)
		}
		// Without a try since the last time, all of it waits still.
		due := len(e.failing) > 0 && e.tries != before
		before = e.tries
		e.mu.Unlock()
		if due {
			e.send(again)
		}
	}
}

// Run sends alerts until ctx ends; then those that wait, for five seconds at
// most, and returns nil. It can be called once.
func (e *External) Run(ctx context.Context) error {
	defer e.end()
	done := make(chan struct{})
	targets := make(chan map[string][]*targetgroup.Group)
	go func() {
		defer close(done)
		e.manager.Run(targets)
	}()
	targets <- e.targets
	targets <- e.targets // is taken when the first has taken effect
	close(e.running)

	e.retry(ctx)
	cut := time.AfterFunc(drainFor, e.end)
	defer cut.Stop()
	e.drain()
	e.manager.Stop()
	<-done
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.clients {
		c.CloseIdleConnections()
	}
	return nil
}

// drain waits until all alerts were tried, or the life of requests has ended. The
// notifier does not wait for those that are under way when it is stopped.
func (e *External) drain() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !e.drained() {
		select {
		case <-tick.C:
		case <-e.life.Done():
			return
		}
	}
}

// drained reports whether each Alertmanager was asked to take all alerts.
func (e *External) drained() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	asked := 0
	for _, n := range e.asked {
		if n >= e.sent {
			asked++
		}
	}
	return e.sent == 0 || asked == len(e.urls)
}

// FailingSince returns since when no Alertmanager has taken alerts, or the zero
// time when one took the last.
func (e *External) FailingSince() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.failing) < len(e.urls) {
		return time.Time{}
	}
	var last time.Time
	for _, since := range e.failing {
		if since.After(last) {
			last = since
		}
	}
	return last
}

// do sends a request of the notifier and remembers what became of it.
//
// It is called by the notifier, for each Alertmanager in a goroutine of its own.
func (e *External) do(ctx context.Context, client *http.Client, r *http.Request) (*http.Response, error) {
	var alerts []json.RawMessage
	if body, err := r.GetBody(); err == nil {
		_ = json.NewDecoder(body).Decode(&alerts) // the notifier has written it
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	resp, err := client.Do(r.WithContext(ctx))
	if err == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, 1<<20) // for the connection to be used again
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clients[client] = true
	e.tries++
	where := r.URL.String()
	e.asked[where] += len(alerts)
	_, known := e.failing[where]
	switch failed := err != nil || resp.StatusCode/100 != 2; {
	case !failed:
		delete(e.failing, where)
	case !known:
		e.failing[where] = time.Now()
	}
	return resp, err
}
