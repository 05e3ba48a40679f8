package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slowburn-slo/slowburn/alerts/alertmanager"
	v1 "github.com/slowburn-slo/slowburn/dashboards/api/v1"
	"github.com/slowburn-slo/slowburn/dashboards/web"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// api returns slowburn's own API.
func (s *server) api() (http.Handler, error) {
	o := v1.Options{
		Flows:  func() []slo.Flow { return *s.flows.Load() },
		Engine: s.store.Engine(), Queryable: s.store,
		Alerts: func() []v1.Alert {
			var out []v1.Alert
			for _, a := range s.firing() {
				out = append(out, v1.Alert(a))
			}
			return out
		},
		DataAt: func() time.Time { at, _ := s.pipeline.LastFlush(); return at },
		Notices: func() []string {
			var out []string
			for _, n := range s.notices(time.Now()) {
				out = append(out, n.What)
			}
			return out
		},
		Silences: func() ([]v1.Silence, error) {
			list, err := s.silences()
			out := make([]v1.Silence, len(list))
			for i, x := range list {
				out[i] = v1.Silence{
					ID: x.ID, Service: x.Service, Flow: x.Flow, SLO: x.SLO, Matchers: x.Matchers,
					By: x.By, Why: x.Why, StartsAt: x.From, EndsAt: x.Until,
				}
			}
			return out, err
		},
		Silence: func(ctx context.Context, x v1.NewSilence) (string, error) {
			return s.silence(ctx, x.Service, x.Flow, x.SLO, alertmanager.Silence{By: x.By, Why: x.Why, From: time.Now(), Until: x.Until})
		},
		Unsilence: func(ctx context.Context, id string) error {
			err := s.alerts.Unsilence(ctx, id)
			if errors.Is(err, alertmanager.ErrNoSilence) {
				return v1.ErrNoSilence
			}
			return err
		},
		Where: s.where, Judgement: s.judgement,
		ExternalURL: s.external.String(), Logger: s.logger.With("component", "api"),
	}
	if s.alerts == nil { // they are silenced where they are told
		o.Silences, o.Silence, o.Unsilence = nil, nil, nil
	}
	return v1.New(o)
}

// silence makes a silence of a flow, or of one of its SLOs where id names it.
func (s *server) silence(ctx context.Context, service, flow, id string, x alertmanager.Silence) (string, error) {
	x.Labels = map[string]string{series.SLOServ: service, series.SLOFlow: flow}
	if id != "" {
		x.Labels[series.ID] = id
	}
	return s.alerts.Silence(ctx, x)
}

// silencing is how the pages silence alerts; nil where others tell of them.
func (s *server) silencing() *web.Silencing {
	if s.alerts == nil {
		return nil
	}
	return &web.Silencing{
		List: s.silences,
		Add: func(ctx context.Context, x web.Silence) error {
			_, err := s.silence(ctx, x.Service, x.Flow, x.SLO, alertmanager.Silence{By: x.By, Why: x.Why, From: x.From, Until: x.Until})
			return err
		},
		End: func(ctx context.Context, id string) error {
			if err := s.alerts.Unsilence(ctx, id); !errors.Is(err, alertmanager.ErrNoSilence) {
				return err
			}
			return nil
		},
	}
}

// silences returns the silences there are. Those of a flow or an SLO are told
// apart from those of anything else.
func (s *server) silences() ([]web.Silence, error) {
	list, err := s.alerts.Silences()
	out := make([]web.Silence, len(list))
	for i, x := range list {
		out[i] = web.Silence{ID: x.ID, Matchers: x.Matchers, By: x.By, Why: x.Why, From: x.From, Until: x.Until}
		service, flow, id := x.Labels[series.SLOServ], x.Labels[series.SLOFlow], x.Labels[series.ID]
		if whole, one := len(x.Labels) == 2, len(x.Labels) == 3 && id != ""; service != "" && flow != "" && (whole || one) {
			out[i].Service, out[i].Flow, out[i].SLO = service, flow, id
		}
	}
	return out, err
}

// silenced returns the IDs of the silences in force that mute an alert.
func silenced(silences []alertmanager.Silence, labels map[string]string, now time.Time) []string {
	var out []string
	for i := range silences {
		if x := &silences[i]; !x.From.After(now) && x.Mutes(labels) {
			out = append(out, x.ID)
		}
	}
	return out
}

// setup returns what arrives, for the pages.
func (s *server) setup() web.Setup {
	in := s.pipeline.Arrivals()
	out := web.Setup{
		HTTP: s.otlp.HTTPAddr().String(), GRPC: s.otlp.GRPCAddr().String(),
		Spans: in.Spans, PerSecond: in.PerSecond, Last: in.Last, More: in.More,
	}
	for _, x := range in.Services {
		service := web.Service{
			Name: x.Name, Spans: x.Spans, PerSecond: x.PerSecond, Last: x.Last,
			Language: x.Language, SDK: x.SDK, More: x.More, Sampled: x.Sampled,
		}
		for _, v := range x.Versions {
			service.Versions = append(service.Versions, web.ServiceVersion(v))
		}
		for _, r := range x.Routes {
			service.Routes = append(service.Routes, web.Route(r))
		}
		out.Services = append(out.Services, service)
	}
	for _, x := range in.Rejected {
		out.Rejected = append(out.Rejected, web.Rejection(x))
	}
	return out
}

// samples returns traces of a flow's last hour for the pages, the newest first.
func (s *server) samples(service, flow string) []web.Sample {
	var out []web.Sample
	for _, x := range s.pipeline.Samples(service, flow) {
		out = append(out, web.Sample{TraceID: x.TraceID, At: x.At, Duration: x.Duration, Bad: x.Bad})
	}
	slices.SortStableFunc(out, func(a, b web.Sample) int { return b.At.Compare(a.At) })
	return out
}

// reloaded is what the last readings of the configuration gave.
type reloaded struct {
	at       time.Time // when what is in force was read
	cause    string
	changes  []string
	warnings source.Faults

	refused time.Time // when a newer one was; zero: none was
	fault   error     // why
}

// configuration returns how slowburn was told to run, for the pages. What may
// hold a secret, such as the path of an address, is not in it.
func (s *server) configuration() web.Config {
	r, c := s.reloaded.Load(), s.config
	out := web.Config{
		Loaded: r.at, Cause: r.cause, Changes: r.changes, Refused: r.refused,
		Faults: faultsOf(r.fault), Warnings: placed(r.warnings),
	}
	setting := func(name, value, means string) {
		out.Settings = append(out.Settings, web.Setting{Name: name, Value: value, Means: means})
	}
	setting("version", version, "")
	setting("--slos", strings.Join(c.slos, ", "), "files and directories of flows, looked at every second")
	setting("--listen", s.listener.Addr().String(), "pages and API")
	setting("--otlp-http-listen", s.otlp.HTTPAddr().String(), "traces over HTTP")
	setting("--otlp-grpc-listen", s.otlp.GRPCAddr().String(), "traces over gRPC")
	setting("--external-url", s.external.Redacted(), "where people reach the pages, for links in messages")
	setting("--data-dir", c.dataDir, s.size.text(c.dataDir))
	setting("--retention", slo.Duration(c.retention), "how long series are kept")
	setting("--flush-interval", slo.Duration(c.flush), "how often counts reach the disk")
	setting("--max-series", words.Count(uint64(c.maxSeries)), "most flows and values of by: kept apart")
	setting("alerts", s.tells(), "who is told; tokens and the paths of addresses are secrets")
	if c.grafana.url != "" {
		setting("--grafana-url", host(c.grafana.url), "its dashboards are kept in step")
	}
	if c.prometheusURL != "" {
		setting("--prometheus-url", host(c.prometheusURL), "asked for PromQL objectives")
	}
	if c.remote.url != "" {
		setting("--remote-write", host(c.remote.url), "series are sent there too, as collector "+s.remote.Collector())
	}
	return out
}

// host returns scheme and host of an address: what follows may be a secret.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "set"
	}
	return u.Scheme + "://" + u.Host
}

// faultsOf returns the faults of a configuration with their places.
func faultsOf(err error) []web.Finding {
	var faults source.Faults
	switch {
	case err == nil:
		return nil
	case errors.As(err, &faults):
		return placed(faults)
	}
	var out []web.Finding
	for line := range strings.SplitSeq(err.Error(), "\n") {
		out = append(out, web.Finding{What: line})
	}
	return out
}

func placed(faults source.Faults) []web.Finding {
	out := make([]web.Finding, len(faults))
	for i, f := range faults {
		out[i].Place = f.Pos.String()
		f.Pos = slo.Pos{}
		out[i].What = strings.TrimPrefix(f.String(), ": ")
	}
	return out
}

// measureEvery is how old the size of the data directory may be: finding it
// reads the names of some hundred files.
const measureEvery = time.Minute

// size knows how large a directory is.
type size struct {
	mu    sync.Mutex
	at    time.Time
	bytes int64
}

// text writes the size of a directory as of a minute ago at most.
func (s *size) text(dir string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) >= measureEvery {
		s.at, s.bytes = time.Now(), 0
		// Files go while others are looked at; those do not count.
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			if info, err := d.Info(); err == nil {
				s.bytes += info.Size()
			}
			return nil
		})
	}
	return "everything that is kept: " + megabytes(s.bytes)
}

// megabytes writes a size as people do: 840 kB, 12 MB, 3.4 GB.
func megabytes(n int64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if v := float64(n) / unit.size; v >= 10 {
			return strconv.FormatFloat(v, 'f', 0, 64) + " " + unit.name
		} else if v >= 1 {
			return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit.name
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
