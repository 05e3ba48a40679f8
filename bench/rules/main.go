// Rules holds the rules of Sloth, Pyrra and slowburn against each other and
// against what truly happened: the same 24 SLOs over the same 31 days, on one
// PromQL engine. It ends with a verdict on slowburn's goals, and with exit code 1
// where one is missed.
//
// All but the last 20 minutes are evaluated as range queries, which give the same
// samples as rules do. The last 20 minutes are lived: every rule set evaluates
// its groups at its own intervals. The sets take turns of five minutes, so that
// other work on the machine hits all alike; processor time and samples of these
// minutes, times three, are the figures of an hour. Processor time is the whole
// process's, with its garbage collections.
//
//	cd bench && go run ./rules
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn-slo/slowburn/alerts/rulegen"
)

const (
	// turn is how long a set lives before it is another's turn.
	turn = 5 * time.Minute

	// round is a multiple of every rule group's interval, so that the figures of
	// an hour follow from what is lived.
	round = 10 * time.Minute
)

func main() {
	days := flag.Int("days", 31, "days of history, at least 2; goals are judged on 31 or more")
	live := flag.Duration("live", 20*time.Minute, "how much of it is lived, a multiple of 10m")
	profile := flag.Bool("profile", false, "also print which rules cost most")
	spec := flag.Bool("sloth-spec", false, "print the SLOs for bench/slothgen instead")
	flag.Parse()
	var err error
	switch {
	case *spec:
		fmt.Print(slothSpec(identities(histories(0))))
	case *days < 2:
		err = fmt.Errorf("-days is %d; want at least 2", *days)
	case *live <= 0 || *live%round != 0 || *live > day:
		err = fmt.Errorf("-live is %s; want a multiple of %s of at most a day", *live, round)
	default:
		err = run(context.Background(), time.Duration(*days)*day, *live, *profile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rules:", err)
		os.Exit(1)
	}
}

// set is a rule set in its world.
type set struct {
	*world
	groups func() ([]rulefmt.RuleGroup, error)
	budget func(identity) string // the expression of the budget that is left; nil: as Sloth names it
	costs  bool                  // it differs from another set in nothing but costs
	book   *book                 // keeps the ledger's series, or its counters
	whole  bool                  // all of the ledger's series, not its counters alone
	every  time.Duration         // rules are evaluated this often, not once a scrape
}

// Names of the sets that goals are about.
const (
	sloth    = "Sloth v0.16"
	sloth60  = "Sloth at 60 s"
	pyrra    = "Pyrra"
	external = "external"
	alone    = "external, alone"
	catchUp  = "catch-up"
	counters = "own counters"
	embedded = "ledger"
	judged   = "ledger + alerts"
)

func ruleSets(ids []identity) []set {
	record := func(counted, alone, catchUp bool) func() ([]rulefmt.RuleGroup, error) {
		return func() ([]rulefmt.RuleGroup, error) {
			groups, _, err := rulegen.Record(flows(ids, counted, alone), rulegen.RecordOptions{CatchUp: catchUp, Version: "bench"})
			return groups, err
		}
	}
	slothEvery := func(interval time.Duration) func() ([]rulefmt.RuleGroup, error) {
		return func() ([]rulefmt.RuleGroup, error) { return slothRules(interval) }
	}
	return []set{
		{world: &world{name: sloth}, groups: slothEvery(30 * time.Second)},
		{world: &world{name: sloth60}, groups: slothEvery(time.Minute), costs: true},
		{world: &world{name: pyrra}, groups: func() ([]rulefmt.RuleGroup, error) { return pyrraRules(ids), nil }, budget: pyrraBudget},
		{world: &world{name: external}, groups: record(false, false, false)},
		{world: &world{name: alone}, groups: record(false, true, false), costs: true},
		{world: &world{name: catchUp}, groups: record(false, false, true)},
		{world: &world{name: counters}, groups: record(true, false, false), book: newBook(ids)},
		{world: &world{name: embedded}, groups: func() ([]rulefmt.RuleGroup, error) { return nil, nil }, book: newBook(ids), whole: true},
		{
			world: &world{name: judged}, book: newBook(ids), whole: true, every: rulegen.DefaultInterval,
			groups: func() ([]rulefmt.RuleGroup, error) { return rulegen.Groups(flows(ids, true, false), rulegen.Options{}) },
		},
	}
}

//go:embed testdata/sloth.rules.yaml
var slothFile []byte

// slothRules returns what Sloth's library wrote, to be evaluated at an interval:
// its groups name none.
func slothRules(interval time.Duration) ([]rulefmt.RuleGroup, error) {
	var file rulefmt.RuleGroups
	if err := yaml.Unmarshal(slothFile, &file); err != nil {
		return nil, err
	}
	for i := range file.Groups {
		file.Groups[i].Interval = model.Duration(interval)
	}
	return file.Groups, nil
}

// histories lets all scenarios happen for a number of scrapes.
func histories(scrapes int) []*history {
	var out []*history
	for i, s := range scenarios() {
		out = append(out, play(s, uint64(i+1), scrapes))
	}
	return out
}

func run(ctx context.Context, length, live time.Duration, profile bool) error {
	dir, err := os.MkdirTemp("", "slowburn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	scrapes := int(length / scrape)
	first := scrapes - int(live/scrape) // the first scrape that is lived
	all := histories(scrapes)
	ids := identities(all)
	sets := ruleSets(ids)
	engine := newEngine()
	for i := range sets {
		sets[i].engine, sets[i].dir = engine, filepath.Join(dir, fmt.Sprint(i))
	}
	if err := prepare(ctx, sets, all, first); err != nil {
		return err
	}
	for i := first; i < scrapes; i += int(turn / scrape) {
		for k := range sets {
			runtime.GC() // what the one before left is not this one's cost
			for j := i; j < i+int(turn/scrape); j++ {
				if err := sets[k].live(ctx, all, j); err != nil {
					return fmt.Errorf("%s: %w", sets[k].name, err)
				}
			}
		}
	}
	r, err := measure(ctx, sets, ids, scrapes-1, live)
	if err != nil {
		return err
	}
	r.costs()
	r.exactness()
	r.alerts(sets)
	if profile {
		for _, s := range sets {
			s.profile(len(ids), live)
		}
	}
	for _, s := range sets {
		if err := s.db.Close(); err != nil {
			return err
		}
	}
	if length < period+day {
		fmt.Println("\nno verdict: the goals are about 31 days")
		return nil
	}
	if missed := r.verdict(); missed > 0 {
		return fmt.Errorf("goals missed: %d", missed)
	}
	return nil
}

// prepare fills the sets' worlds with the past, up to the scrape first; several
// at once.
func prepare(ctx context.Context, sets []set, all []*history, first int) error {
	faults := make([]error, len(sets))
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range sets {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			start := time.Now()
			if err := sets[i].prepare(ctx, all, first); err != nil {
				faults[i] = fmt.Errorf("%s: %w", sets[i].name, err)
			}
			fmt.Fprintf(os.Stderr, "%s: the past took %.0f s\n", sets[i].name, time.Since(start).Seconds())
		})
	}
	wg.Wait()
	return errors.Join(faults...)
}

func (s *set) prepare(ctx context.Context, all []*history, first int) error {
	groups, err := s.groups()
	if err != nil {
		return err
	}
	if err := s.open(groups); err != nil {
		return err
	}
	if s.book == nil {
		if err := s.raw(ctx, all, 0, first); err != nil {
			return err
		}
	} else {
		for i := range first {
			s.book.add(i)
			// Ratios of the past every five minutes: alerts of the past are
			// looked for as often.
			if err := s.book.write(ctx, s.db, i, s.whole && i%10 == 0); err != nil {
				return err
			}
		}
	}
	end := began.Add(time.Duration(first) * scrape)
	if err := s.remember(ctx, end); err != nil {
		return err
	}
	if err := s.settle(ctx, end); err != nil {
		return err
	}
	if s.book != nil {
		s.book.forget()
	}
	return nil
}

// live lets one scrape happen.
func (s *set) live(ctx context.Context, all []*history, i int) error {
	at := began.Add(time.Duration(i) * scrape)
	if s.book == nil {
		if err := s.raw(ctx, all, i, i+1); err != nil {
			return err
		}
	} else {
		start := cpu()
		s.book.add(i)
		if err := s.book.write(ctx, s.db, i, s.whole); err != nil {
			return err
		}
		if s.whole {
			s.cpu += cpu() - start
		}
	}
	if s.every == 0 {
		return s.evaluate(ctx, at.Add(phase))
	}
	for after := time.Duration(0); after < scrape; after += s.every {
		if err := s.evaluate(ctx, at.Add(after+phase)); err != nil {
			return err
		}
	}
	return nil
}

// expr returns the expression that tells the budget that is left.
func (s *set) expr(id identity) string {
	if s.budget != nil {
		return s.budget(id)
	}
	return slothBudget(id)
}
