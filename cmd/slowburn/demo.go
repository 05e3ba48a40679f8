package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/storage"
	"github.com/spf13/cobra"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/collector"
	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/collector/synth"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

//go:embed demo.yaml
var demoYAML []byte

const (
	demoHistory = 30 * 24 * time.Hour

	// demoBreaks is when the bad version is deployed, demoErrors the share of
	// checkouts it fails, and demoRollback how long after the page somebody
	// rolls it back.
	demoBreaks   = 15 * time.Second
	demoErrors   = 0.4
	demoRollback = 20 * time.Second

	// demoTraffic is how many times the traffic of the synthetic shop there is.
	demoTraffic = 3

	// demoPatience is how long each message of the story may take; then the
	// demo says that something is wrong rather than wait for ever.
	demoPatience = 2 * time.Minute
)

func newDemo() *cobra.Command {
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a synthetic shop, an outage, the Slack message, a rollback",
		Long: `Run the whole of slowburn on a synthetic shop. Thirty days of history are filled
in, live traffic goes through the real OpenTelemetry SDK to the real OTLP port, a
deploy breaks the checkout, and the alert arrives at a Slack look-alike, whose
page shows it as Slack would. Everything stays on this machine, and nothing is
left behind.`,
		Example: "  slowburn demo\n  slowburn demo --for 3m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if length > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, length)
				defer cancel()
			}
			dir, err := os.MkdirTemp("", "slowburn-demo-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			return (&demo{out: cmd.OutOrStdout(), dir: dir, began: time.Now()}).run(ctx)
		},
	}
	cmd.Flags().DurationVar(&length, "for", 0, "end by itself after this long, e.g. 3m; 0 goes on until Ctrl-C")
	return cmd
}

// demo is one run of the story.
type demo struct {
	out   io.Writer
	dir   string
	began time.Time

	server *server
	slack  *fakeslack.Server
	shop   *synth.Model
	told   int // messages shown
}

// say prints a line of the story, with the time since it began.
func (d *demo) say(format string, args ...any) {
	at := time.Since(d.began).Round(time.Second)
	fmt.Fprintf(d.out, "%4s  %s\n", fmt.Sprintf("%d:%02d", int(at.Minutes()), int(at.Seconds())%60), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context) error {
	d.say("slowburn demo: a shop with four flows, each with its objectives")
	now := time.Now()
	d.shop = synth.Shop(now)
	// At its busiest, whatever the time of day is: an alert ends when so many
	// requests succeeded that it cannot be chance.
	d.shop.PeakHour = float64(now.Hour()) + float64(now.Minute())/60
	for i := range d.shop.Flows {
		d.shop.Flows[i].Peak *= demoTraffic
	}
	slos := filepath.Join(d.dir, "slos.yaml")
	if err := os.WriteFile(slos, demoYAML, 0o600); err != nil {
		return err
	}
	loaded, err := loadConfig(slos)
	if err != nil {
		return err
	}
	if err := d.fill(loaded.Flows, now); err != nil {
		return err
	}

	inbox, err := listenNear("127.0.0.1:9596")
	if err != nil {
		return err
	}
	d.slack = fakeslack.New(fakeslack.Options{})
	slackServer := &http.Server{Handler: d.slack, ReadHeaderTimeout: 5 * time.Second}
	go slackServer.Serve(inbox)
	defer slackServer.Close()

	logs := slog.New(slog.NewTextHandler(d.out, &slog.HandlerOptions{Level: slog.LevelError}))
	d.server, err = newServer(ctx, config{
		slos: []string{slos}, dataDir: filepath.Join(d.dir, "data"),
		listen: free("127.0.0.1:9595"), otlpGRPC: free("127.0.0.1:4317"), otlpHTTP: free("127.0.0.1:4318"),
		slackURL:  slack.NewSecret("http://" + inbox.Addr().String() + "/services/T0DEMO/B0DEMO/demo"),
		retention: store.DefaultRetention, flush: collector.DefaultFlush,
		maxBytes: 64 << 20, maxSpans: 100_000, maxSeries: aggr.DefaultMaxSeries,
	}, logs)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.server.run(serving) }()

	d.say("")
	d.say("  pages    http://%s", d.server.listener.Addr())
	d.say("  slack    http://%s   (a look-alike: messages as Slack shows them)", inbox.Addr())
	d.say("  OTLP     %s (gRPC), %s (HTTP)", d.server.otlp.GRPCAddr(), d.server.otlp.HTTPAddr())
	d.say("")

	err = d.story(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || (err == nil && errors.Is(ctx.Err(), context.DeadlineExceeded)):
		err = nil
		if d.told < 2 {
			err = errors.New("the demo ended before the story did; want --for 3m or more")
		}
	case errors.Is(err, context.Canceled):
		err = nil
	}
	d.say("stopping; nothing is left behind")
	stop()
	return errors.Join(err, <-served)
}

// fill writes a month of history.
func (d *demo) fill(flows []slo.Flow, now time.Time) error {
	data := filepath.Join(d.dir, "data")
	byName := map[string]synth.Flow{}
	for _, f := range d.shop.Flows {
		byName[f.Name] = f
	}
	began := time.Now()
	var requests uint64
	from := now.Add(-demoHistory)
	day := 0
	history := collector.History{
		Flows: flows, Dir: filepath.Join(data, "ledger"), Version: version, From: from, To: now,
		// Finer towards the end, where rates over minutes are looked at.
		Step: func(t time.Time) time.Duration {
			if now.Sub(t) <= 2*time.Hour {
				return 15 * time.Second
			}
			return 5 * time.Minute
		},
		Events: func(from2, to time.Time) []aggr.Event {
			var out []aggr.Event
			for i := range flows {
				c := d.shop.Counts(byName[flows[i].Name], from2, to)
				requests += c.Total
				for _, s := range c.Latencies {
					if good := s.Total - s.Bad; good > 0 {
						out = append(out, aggr.Event{Flow: int32(i), Weight: uint32(good), Latency: uint64(s.Latency)})
					}
					if s.Bad > 0 {
						out = append(out, aggr.Event{Flow: int32(i), Weight: uint32(s.Bad), Latency: uint64(s.Latency), Bad: true})
					}
				}
			}
			if n := int(to.Sub(from).Hours() / 24); n > day {
				day = n
				progress(d.out, "filling in history: day %d of 30", day)
			}
			return out
		},
	}
	err := store.Backfill(filepath.Join(data, "tsdb"), nil, func(app storage.Appender) error { return history.Write(app) })
	progress(d.out, "")
	if err != nil {
		return err
	}
	d.say("30 days of history filled in: %s requests in %.1f s", words.Count(requests), time.Since(began).Seconds())
	return nil
}

// story breaks the checkout and mends it again.
func (d *demo) story(ctx context.Context) error {
	traffic, stop := context.WithCancel(context.WithoutCancel(ctx))
	changes := make(chan func(*synth.Model), 1)
	failed := make(chan error, 1)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		failed <- sendShop(traffic, d.shop, d.server.otlp.GRPCAddr().String(), changes)
	}()
	defer func() {
		stop()
		<-sent
	}()

	d.say("live traffic: the OpenTelemetry SDK sends a span for every request, through the OTLP port")
	d.say("checkout promises 99.9%% succeed over 30 days; this demo pages at 14.4 times that pace, over 2 minutes")
	d.say("and 20 seconds (usually 1 hour and 5 minutes), so that the story fits into three minutes")
	if err := d.watch(ctx, demoBreaks, failed, nil); err != nil {
		return err
	}
	d.say("")
	d.say("DEPLOY   shop %s goes live; from now on %.0f%% of the checkouts fail", synth.BadVersion, 100*demoErrors)
	changes <- func(m *synth.Model) {
		m.Add(synth.Incident{Flow: "checkout", From: time.Now(), ErrorRatio: demoErrors, Version: synth.BadVersion})
	}
	broken := time.Now()
	if err := d.watch(ctx, demoPatience, failed, d.message); err != nil {
		return err
	}
	d.say("the page came %s after the first error", time.Since(broken).Round(time.Second))
	d.say("")
	if err := d.watch(ctx, demoRollback, failed, nil); err != nil {
		return err
	}
	d.say("ROLLBACK shop %s is back", synth.GoodVersion)
	changes <- func(m *synth.Model) { m.End("checkout", time.Now()) }
	if err := d.watch(ctx, demoPatience, failed, d.message); err != nil {
		return err
	}
	d.say("")
	d.say("that was the whole story, in %s. The shop stays open: look around the pages, Ctrl-C ends it",
		time.Since(d.began).Round(time.Second))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-failed:
		return err
	}
}

// message shows the next message that arrived and reports whether there was one.
func (d *demo) message() bool {
	got := d.slack.Messages()
	if len(got) <= d.told {
		return false
	}
	m := got[d.told]
	d.told++
	d.say("")
	d.say("SLACK    a message arrived:")
	for line := range strings.SplitSeq(strings.TrimSpace(m.Text), "\n") {
		fmt.Fprintf(d.out, "        │ %s\n", line)
	}
	return true
}

// watch tells how the checkout does, every five seconds, until a message has
// arrived or, without one to wait for, for the time given.
func (d *demo) watch(ctx context.Context, limit time.Duration, failed <-chan error, until func() bool) error {
	end := time.After(limit)
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	tell := time.NewTicker(5 * time.Second)
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-end:
			if until != nil {
				return fmt.Errorf("no Slack message within %s; the pages at http://%s say more", limit, d.server.listener.Addr())
			}
			return nil
		case <-poll.C:
			if until != nil && until() {
				return nil
			}
		case <-tell.C:
			d.status()
		}
	}
}

// status tells in one line how the checkout does now.
func (d *demo) status() {
	for _, s := range slo.All(*d.server.flows.Load()) {
		if s.Flow.Name != "checkout" || s.Objective.Kind != slo.Succeed {
			continue
		}
		state, ok := d.server.pipeline.Ledger().State(s.ID())
		if !ok {
			return
		}
		now, _ := state.Windows[0].Ratio()
		period, _ := state.Period().Ratio()
		burn := slo.BurnRate(now, s.Objective.Target)
		word := "calm"
		if burn > 14.4 {
			word = "burning"
		}
		d.say("checkout %5.1f%% errors over %s · burns %.1f× · %.1f%% of the month's budget left · %s",
			100*now, slo.Duration(state.Windows[0].Length), burn, 100*slo.BudgetLeft(period, s.Objective.Target), word)
	}
}

// free returns addr, or the same host with a port of the system's choice where
// addr is taken.
func free(addr string) string {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		host, _, _ := net.SplitHostPort(addr)
		return net.JoinHostPort(host, "0")
	}
	l.Close()
	return addr
}

// listenNear listens on addr, or on a port of the system's choice where it is
// taken.
func listenNear(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(addr)
		return net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	return l, err
}

// progress rewrites the line the terminal stands on, where there is a terminal.
func progress(out io.Writer, format string, args ...any) {
	f, ok := out.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	fmt.Fprintf(out, "\r\x1b[K"+format, args...)
}
