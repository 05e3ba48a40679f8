// Package eval judges alert rules: Prometheus' rule manager over any
// Prometheus storage, with the rule groups handed over in memory.
package eval

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"go.yaml.in/yaml/v3"
)

const (
	// interval is how often a group that names no interval of its own is
	// judged.
	interval = 5 * time.Second

	// resend is how often a firing alert is handed over again. The rule manager
	// declares each alert valid for four times as long, so evaluation may stand
	// still for almost four minutes before an alert counts as resolved.
	resend = time.Minute

	// outage and grace are Prometheus' own defaults for taking up the pending
	// time of rules with `for` after a restart.
	outage = time.Hour
	grace  = 10 * time.Minute

	// file is the name that stands where Prometheus names a group's rule file.
	file = "slowburn"
)

// Options are what an Evaluator needs. All fields but ExternalURL, Logger and
// Registerer are required.
type Options struct {
	Engine     promql.QueryEngine
	Queryable  storage.Queryable
	Appendable storage.Appendable // takes ALERTS and ALERTS_FOR_STATE
	Notify     rules.NotifyFunc   // hears of alerts that fire and resolve

	ExternalURL *url.URL // where people reach slowburn; templates see it
	Logger      *slog.Logger
	Registerer  prometheus.Registerer
}

// Evaluator judges rule groups at their intervals. Its methods may be called
// from several goroutines.
type Evaluator struct {
	manager *rules.Manager
	groups  *loader
	logger  *slog.Logger
	extern  string

	mu      sync.Mutex
	running bool
	applied time.Time // of the last Apply that the manager took up
}

// New checks the options and returns an Evaluator without rules.
func New(o Options) (*Evaluator, error) {
	var faults []error
	for _, need := range []struct {
		name string
		set  bool
	}{
		{"Engine", o.Engine != nil},
		{"Queryable", o.Queryable != nil},
		{"Appendable", o.Appendable != nil},
		{"Notify", o.Notify != nil},
	} {
		if !need.set {
			faults = append(faults, fmt.Errorf("eval: Options.%s is missing", need.name))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := parser.NewParser(parser.Options{})
	e := &Evaluator{
		groups: &loader{Parser: p},
		logger: o.Logger,
		extern: o.ExternalURL.String(),
	}
	e.manager = rules.NewManager(&rules.ManagerOptions{
		ExternalURL:     o.ExternalURL,
		QueryFunc:       rules.EngineQueryFunc(o.Engine, o.Queryable),
		NotifyFunc:      o.Notify,
		Context:         context.Background(), // Stop lets a running evaluation finish
		Appendable:      o.Appendable,
		Queryable:       o.Queryable,
		Logger:          o.Logger,
		Registerer:      o.Registerer,
		OutageTolerance: outage,
		ForGracePeriod:  grace,
		ResendDelay:     resend,
		GroupLoader:     e.groups,
		Parser:          p,
	})
	return e, nil
}

// Manager returns the rule manager, for the query API's rules and alerts.
func (e *Evaluator) Manager() *rules.Manager { return e.manager }

// Apply replaces the rules. Groups that did not change keep running untouched,
// changed ones keep the state of the alerts they still have. Whatever can fail
// is checked first: on an error, which names every fault, the old rules go on.
//
// Before Run, Apply only remembers the rules.
func (e *Evaluator) Apply(groups []rulefmt.RuleGroup) error {
	// Reading back the text is what a Prometheus does with the exported file,
	// so both refuse the same rules.
	text, err := yaml.Marshal(rulefmt.RuleGroups{Groups: groups})
	if err != nil {
		return fmt.Errorf("write alert rules: %w", err)
	}
	read, faults := rulefmt.Parse(text, false, model.UTF8Validation, e.groups.Parser, e.logger)
	if len(faults) > 0 {
		return fmt.Errorf("alert rules: %w", errors.Join(faults...))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.groups.set(read)
	if !e.running {
		return nil
	}
	return e.update()
}

func (e *Evaluator) update() error {
	if err := e.manager.Update(interval, []string{file}, labels.EmptyLabels(), e.extern, nil); err != nil {
		return fmt.Errorf("alert rules: %w", err)
	}
	e.applied = time.Now()
	return nil
}

// Run judges the rules until ctx ends, finishes the evaluations that are under
// way and returns nil. It can be called once.
func (e *Evaluator) Run(ctx context.Context) error {
	e.mu.Lock()
	e.running = true
	err := e.update()
	e.mu.Unlock()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		e.manager.Run()
		close(done)
	}()
	<-ctx.Done()
	e.mu.Lock()
	e.running = false
	e.mu.Unlock()
	e.manager.Stop()
	<-done
	return nil
}

// LastEvaluation returns the time up to which all rules have been judged: the
// last evaluation of the group that lags most. A group that came with the last
// Apply and was not judged yet counts from then on. It is the zero time before
// the first evaluation, and now where there is no rule to judge.
func (e *Evaluator) LastEvaluation() time.Time {
	e.mu.Lock()
	running, applied := e.running, e.applied
	e.mu.Unlock()
	groups := e.manager.RuleGroups()
	switch {
	case !running && len(groups) == 0:
		return time.Time{}
	case len(groups) == 0:
		return time.Now()
	}
	last, judged := time.Now(), false
	for _, g := range groups {
		at := g.GetLastEvaluation()
		if at.IsZero() {
			at = applied
		} else {
			judged = true
		}
		if at.Before(last) {
			last = at
		}
	}
	if !judged {
		return time.Time{}
	}
	return last
}

// loader hands the groups of the last Apply to the rule manager.
type loader struct {
	parser.Parser

	mu     sync.Mutex
	groups *rulefmt.RuleGroups
}

func (l *loader) set(groups *rulefmt.RuleGroups) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups = groups
}

// Load implements rules.GroupLoader.
func (l *loader) Load(string, bool, model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.groups == nil {
		return &rulefmt.RuleGroups{}, nil
	}
	return l.groups, nil
}

// Parse implements rules.GroupLoader.
func (l *loader) Parse(query string) (parser.Expr, error) { return l.ParseExpr(query) }
