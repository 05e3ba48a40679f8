// Package doctor looks for what keeps SLOs from being measured: it asks a live
// Prometheus, or anything that speaks its API, whether the metrics, labels and
// buckets that objectives read are there, whether they are scraped as the rules
// assume, whether the rules are loaded, and says how to mend what it finds.
//
// It only reads. Every query is bounded in time and gives few series.
package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
)

// Options say what is examined. URL is needed.
type Options struct {
	// URL is that of anything that speaks Prometheus' API, with the path that
	// stands before /api/v1, and user:password@ where it wants them.
	URL string

	// TokenFile holds a bearer token. Empty: none is sent.
	TokenFile string

	// Flows are the SLOs to look for. Without any, what the server itself
	// shows is examined: SLOs that are recorded there, and all loaded rules.
	Flows []slo.Flow

	// Paths are where Flows were read from, as fixes name them.
	Paths []string

	// Timeout ends everything. The zero value is DefaultTimeout.
	Timeout time.Duration

	// Scrape is how often the rules assume that metrics are scraped. The zero
	// value is query.DefaultScrape.
	Scrape time.Duration

	// Past is how far back gaps are looked for. The zero value is DefaultPast.
	Past time.Duration

	// Progress is told what is being done, from one goroutine at a time; nil:
	// nobody is.
	Progress func(string)
}

// DefaultTimeout is as long as somebody waits for an answer at night.
const DefaultTimeout = 30 * time.Second

// DefaultPast is as long as the longest window that pages.
const DefaultPast = 6 * time.Hour

// workers is how many queries are asked at once: a server that is in trouble
// needs no more.
const workers = 4

// Severity is how bad a finding is.
type Severity uint8

// A fault keeps an SLO from being measured or its alerts from arriving; a
// warning may.
const (
	OK Severity = iota
	Warning
	Fault
)

// String returns ok, warning or fault.
func (s Severity) String() string { return [...]string{"ok", "warning", "fault"}[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing that was seen.
type Finding struct {
	Severity Severity
	Check    string  // what was looked at, one word: metric, label, value, bucket, rules…
	Subject  string  // an SLO's id, "job NAME", or Server
	Pos      slo.Pos // of the SLO, where it is from a file
	Seen     string  // with numbers and their units
	Fix      string  // a line to copy, into a shell or a file; empty where nothing is wrong
}

// Server is the subject of what concerns the server as a whole.
const Server = "server"

// MarshalJSON implements json.Marshaler.
func (f Finding) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Severity Severity `json:"severity"`
		Check    string   `json:"check"`
		Subject  string   `json:"subject"`
		File     string   `json:"file,omitempty"`
		Line     int      `json:"line,omitempty"`
		Column   int      `json:"column,omitempty"`
		Seen     string   `json:"seen"`
		Fix      string   `json:"fix,omitempty"`
	}{f.Severity, f.Check, f.Subject, f.Pos.File, f.Pos.Line, f.Pos.Column, f.Seen, f.Fix})
}

// Report is everything that was found.
type Report struct {
	URL      string    `json:"url"`               // without a password
	Version  string    `json:"version,omitempty"` // of the server, where it says so
	SLOs     int       `json:"slos"`
	Queries  int       `json:"queries"` // how many the server was asked
	Findings []Finding `json:"findings"`
}

// Count returns how many findings have a severity.
func (r *Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Run examines a server. The findings are grouped by subject, worst first.
//
// An error is an option that is wrong, or a server that does not answer at all;
// what cannot be asked later on is a finding. It may be called from several
// goroutines.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.Scrape = cmp.Or(o.Scrape, query.DefaultScrape)
	o.Past = cmp.Or(o.Past, DefaultPast)
	if o.Timeout < 0 || o.Scrape < 0 || o.Past < 0 {
		return nil, errors.New("a time is negative; want more than nothing")
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	server, err := connect(o)
	if err != nil {
		return nil, err
	}
	defer server.close()
	if err := server.greet(ctx); err != nil {
		return nil, err
	}
	d := &doctor{Options: o, server: server, jobs: map[string]*job{}, general: &sheet{subject: Server}}
	d.run(ctx)
	return d.report(), nil
}

// doctor is one examination.
type doctor struct {
	Options
	*server

	rules    ruleset                  // that the server has loaded
	types    map[string]v1.MetricType // as targets tell
	ruled    bool                     // the server told its rules
	wanted   ruleset                  // that slowburn would generate
	recorded recorded
	general  *sheet

	mu     sync.Mutex
	sheets []*sheet
	jobs   map[string]*job
}

// sheet is what is found of one subject. It is for one goroutine.
type sheet struct {
	subject string
	pos     slo.Pos
	list    []Finding
}

func (s *sheet) add(severity Severity, check, fix, format string, args ...any) {
	s.list = append(s.list, Finding{
		Severity: severity, Check: check, Subject: s.subject, Pos: s.pos, Seen: fmt.Sprintf(format, args...), Fix: fix,
	})
}

func (s *sheet) fault(check, fix, format string, args ...any) {
	s.add(Fault, check, fix, format, args...)
}

func (s *sheet) warn(check, fix, format string, args ...any) {
	s.add(Warning, check, fix, format, args...)
}

func (s *sheet) ok(check, format string, args ...any) { s.add(OK, check, "", format, args...) }

func (d *doctor) run(ctx context.Context) {
	d.say("asking %s what it holds", d.url)
	d.loadRules(ctx)
	d.loadMetadata(ctx)
	d.loadRecorded(ctx)
	d.head(ctx)
	d.alertmanagers(ctx)
	d.generations(ctx)

	slos := slo.All(d.Flows)
	d.want()
	if len(d.Flows) > 0 {
		d.say("examining %s", plural(len(slos), "SLO"))
		each(slos, func(s slo.SLO) { d.examine(ctx, s) })
	} else {
		found := d.discover()
		d.say("examining %s and %s", plural(len(found), "SLO"), plural(len(d.rules.all), "loaded rule"))
		each(found, func(id string) { d.examineRecorded(ctx, id) })
		d.otherRules(ctx)
	}
	jobs := make([]*job, 0, len(d.jobs))
	for _, j := range d.jobs {
		jobs = append(jobs, j)
	}
	d.say("examining the scrapes of %s", plural(len(jobs), "job"))
	each(jobs, func(j *job) { d.scrapes(ctx, j) })
	d.unanswered(ctx)
	d.keep(d.general)
}

// each calls f for all items, a few at a time.
func each[T any](items []T, f func(T)) {
	var wg sync.WaitGroup
	gate := make(chan struct{}, workers)
	for _, item := range items {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			f(item)
		})
	}
	wg.Wait()
}

// examine looks at one SLO of a file.
func (d *doctor) examine(ctx context.Context, s slo.SLO) {
	sheet := &sheet{subject: s.ID(), pos: s.Objective.Pos}
	defer d.keep(sheet)
	if s.Objective.Kind == slo.PromQL {
		d.objective(ctx, sheet, s)
	} else {
		d.counters(ctx, sheet, s)
	}
	d.compareRules(sheet, s)
	d.duplicates(sheet, s.ID(), s.Flow.Service)
}

func (d *doctor) keep(s *sheet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sheets = append(d.sheets, s)
}

func (d *doctor) say(format string, args ...any) {
	if d.Progress != nil {
		d.Progress(fmt.Sprintf(format, args...))
	}
}

// report sorts what was found: the subject with the worst first, and each
// subject's worst first. Within a severity checks keep their order.
func (d *doctor) report() *Report {
	r := &Report{URL: d.url, Version: d.version, Queries: d.asked, Findings: []Finding{}}
	slices.SortFunc(d.sheets, func(a, b *sheet) int {
		for _, severity := range []Severity{Fault, Warning} {
			if n := cmp.Compare(b.count(severity), a.count(severity)); n != 0 {
				return n
			}
		}
		return cmp.Compare(a.subject, b.subject)
	})
	for _, s := range d.sheets {
		slices.SortStableFunc(s.list, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
		seen := map[Finding]bool{}
		for _, f := range s.list {
			if !seen[f] {
				seen[f] = true
				r.Findings = append(r.Findings, f)
			}
		}
	}
	r.SLOs = len(slo.All(d.Flows))
	if r.SLOs == 0 {
		r.SLOs = len(d.discover())
	}
	return r
}

func (s *sheet) count(severity Severity) int {
	return (&Report{Findings: s.list}).Count(severity)
}
