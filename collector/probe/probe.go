// Package probe counts the objectives of kind PromQL. Once a minute it asks a
// Prometheus, the embedded one or another, how many events the minute had, and
// hands good and bad ones on to be counted like requests.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/rules"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
)

const (
	// settle is how long after its end a minute is asked for. Samples carry the
	// time at which their scrape began and are stored when it has ended, ten
	// seconds later at the worst; remote write holds them back for five more.
	settle = 20 * time.Second

	// reach is how far back missed minutes are caught up, after a restart of
	// this process or of the server asked. What is counted late is counted now,
	// in the windows of now: ten minutes are what late spans are allowed as
	// well, and longer would page for what is over.
	reach = 10 * time.Minute

	// patience bounds all queries of one minute, so that a server that hangs
	// does not delay the next.
	patience = 50 * time.Second

	// workers is how many objectives are counted at once. Four queries keep two
	// cores busy and are a fifth of what a Prometheus answers at the same time.
	workers = 4
)

// Options are what a Prober needs. Flows, File, Scrape, Logger and Meter may be
// left out.
type Options struct {
	Flows []slo.Flow

	// Query answers PromQL: rules.EngineQueryFunc for the embedded store, or
	// Server.Query.
	Query rules.QueryFunc

	// Count takes the events of an SLO; see slo.SLO.ID. It is called from
	// several goroutines.
	Count func(id string, good, bad uint64)

	// File keeps up to which minute was counted, so that minutes missed while
	// nothing ran are caught up. Empty: they are not.
	File string

	// Scrape is how far apart the samples are that queries read. Bursts are
	// counted exactly where it is right; where samples are further apart than
	// that nothing is counted at all. 0: query.DefaultScrape.
	Scrape time.Duration

	Logger *slog.Logger // nil: none
	Meter  metric.Meter // nil: none
}

// Prober counts the PromQL objectives of the flows in force. Its methods may be
// called from several goroutines.
type Prober struct {
	opts      Options
	logger    *slog.Logger
	telemetry *telemetry

	mu       sync.Mutex
	counters []*counter          // in force
	accounts map[string]*account // by SLO; what they hold belongs to Run
	failing  Failure
	said     map[string]bool // errors of the last round
	unkept   bool            // the file could not be written
}

// Failure is that objectives cannot be counted. The zero Failure is none.
type Failure struct {
	SLOs  int    // how many
	SLO   string // one of them
	Err   error  // what its queries met
	Since time.Time
}

// New checks the options and reads the file; it asks nothing.
func New(o Options) (*Prober, error) {
	if o.Query == nil || o.Count == nil {
		return nil, errors.New("probe: Options.Query and Options.Count are required")
	}
	o.Scrape = cmp.Or(o.Scrape, query.DefaultScrape)
	if o.Scrape < time.Second || o.Scrape > 5*time.Minute {
		return nil, fmt.Errorf("probe: scrape interval is %s; want 1s to 5m", o.Scrape)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Meter == nil {
		o.Meter = noop.Meter{}
	}
	p := &Prober{opts: o, logger: o.Logger, accounts: readAccounts(o.File, o.Logger), said: map[string]bool{}}
	var err error
	if p.telemetry, err = newTelemetry(o.Meter, p); err != nil {
		return nil, err
	}
	return p, p.Apply(o.Flows)
}

// Check reports every PromQL objective that cannot be counted: one that is not
// PromQL, or whose functions do not count.
func Check(flows []slo.Flow) error {
	_, err := compile(flows, query.DefaultScrape)
	return err
}

// Apply replaces the flows. Objectives that stay are counted on from where they
// are; new ones from the minute under way. After an error, which is Check's,
// the flows are as before.
func (p *Prober) Apply(flows []slo.Flow) error {
	next, err := compile(flows, p.opts.Scrape)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	accounts := make(map[string]*account, len(next))
	for _, c := range next {
		c.account = p.accounts[c.id]
		if c.account == nil {
			c.account = &account{Until: time.Now().Truncate(query.Step)}
		}
		accounts[c.id] = c.account
	}
	p.counters, p.accounts = next, accounts
	return nil
}

// Failing tells which objectives could not be counted the last time.
func (p *Prober) Failing() Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failing
}

// Run counts every minute until ctx ends. Minutes it could not ask for by then
// are caught up by the next process. It is called once.
func (p *Prober) Run(ctx context.Context) error {
	for {
		end := time.Now().Add(-settle).Truncate(query.Step)
		p.round(ctx, end)
		next := time.NewTimer(time.Until(end.Add(query.Step + settle)))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return ctx.Err()
		}
	}
}

// round counts all minutes that ended by end and were not counted yet.
func (p *Prober) round(ctx context.Context, end time.Time) {
	p.mu.Lock()
	todo := slices.Clone(p.counters)
	p.mu.Unlock()
	if len(todo) == 0 {
		return
	}
	p.skip(todo, end)
	// Those that wait longest come first: a slow server starves nobody.
	slices.SortStableFunc(todo, func(a, b *counter) int { return a.account.Until.Compare(b.account.Until) })

	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	faults := make([]error, len(todo))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(workers, len(todo)) {
		wg.Go(func() {
			for i := range next {
				faults[i] = p.count(bounded, todo[i], end)
			}
		})
	}
	for i := range todo {
		next <- i
	}
	close(next)
	wg.Wait()
	p.keep()
	if ctx.Err() == nil { // else the queries were called off
		p.tell(todo, faults)
	}
}

// skip gives up minutes that are too long ago to be caught up.
func (p *Prober) skip(todo []*counter, end time.Time) {
	var lost, slos int
	for _, c := range todo {
		if c.account.Until.After(end.Add(query.Step)) {
			c.account.Until = end // the clock was ahead
		}
		n := int(end.Sub(c.account.Until)/query.Step) - int(reach/query.Step)
		if n <= 0 {
			continue
		}
		c.account.Until = c.account.Until.Add(time.Duration(n) * query.Step)
		lost += n
		slos++
	}
	if lost > 0 {
		p.telemetry.lost.Add(context.Background(), int64(lost))
		p.logger.Warn("minutes of PromQL objectives are not counted: they ended too long ago to be caught up",
			"slos", slos, "minutes", lost, "caught_up", slo.Duration(reach))
	}
}

// count counts the minutes of one objective, oldest first, as far as the
// server answers.
func (p *Prober) count(ctx context.Context, c *counter, end time.Time) error {
	for at := c.account.Until.Add(query.Step); !at.After(end); at = at.Add(query.Step) {
		good, bad, err := c.ask(ctx, p.opts.Query, at, p.logger)
		if err != nil {
			p.telemetry.failures.Add(context.Background(), 1)
			return err
		}
		if g, b := c.account.count(at, good, bad); g+b > 0 {
			p.opts.Count(c.id, g, b)
		}
		p.telemetry.minutes.Add(context.Background(), 1)
	}
	return nil
}

// tell logs what went wrong, each error once for as long as it lasts: when a
// server is away all objectives fail alike.
func (p *Prober) tell(todo []*counter, faults []error) {
	said, failing := map[string]bool{}, Failure{}
	counts := map[string]int{}
	for _, err := range faults {
		if err != nil {
			counts[err.Error()]++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, err := range faults {
		if err == nil {
			continue
		}
		if failing.SLOs++; failing.SLOs == 1 {
			failing.SLO, failing.Err = todo[i].id, err
		}
		text := err.Error()
		if !said[text] && !p.said[text] {
			p.logger.Error("PromQL objectives cannot be counted; the minutes are caught up if this ends soon enough",
				"slos", counts[text], "slo", todo[i].id, "pos", todo[i].pos.String(), "err", err)
		}
		said[text] = true
	}
	switch {
	case failing.SLOs > 0:
		failing.Since = p.failing.Since
		if failing.Since.IsZero() {
			failing.Since = time.Now()
		}
	case p.failing.SLOs > 0:
		p.logger.Info("all PromQL objectives are counted again")
	}
	p.said, p.failing = said, failing
}

// keep writes the file.
func (p *Prober) keep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := writeAccounts(p.opts.File, maps.Clone(p.accounts))
	if err != nil && !p.unkept {
		p.logger.Error("up to where PromQL objectives are counted is not on disk; a restart now misses minutes", "file", p.opts.File, "err", err)
	}
	p.unkept = err != nil
}
