// Package slo is the language and the arithmetic of service level objectives:
// flows, the objectives promised for them, windows, budgets and burn rates.
//
// It is pure: no I/O, no clock, no goroutines. Its values are plain data; they
// may be read from several goroutines as long as nobody changes them.
// Ratios are shares in [0, 1], never percent.
package slo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Pos is where in a configuration file something was written.
// The zero Pos means "not from a file".
type Pos struct {
	File   string
	Line   int // from 1
	Column int // from 1; 0 when only the line is known
}

// String returns file:line:column, without the parts that are not known.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Flow is one thing a customer does, such as a checkout or a search, on one
// service, with the objectives promised for it.
type Flow struct {
	Name    string // lower-case slug, unique within its service
	Service string // the resource attribute service.name its spans carry

	// Match picks the entry spans (SERVER, CONSUMER or a root) of the flow.
	// Service is not repeated in it; a span must satisfy both. A flow whose
	// objectives are all of kind PromQL picks none; see Counted.
	Match Selector

	// Framework is what serves the flow's HTTP requests, such as express, if the
	// user says so. It changes nothing but what package spec warns of.
	Framework string

	// BadWhen says which requests failed. Empty means the default: span
	// status ERROR, or an HTTP status of 500 and above.
	BadWhen Selector

	// By optionally splits the flow's request counts and latencies by the
	// value of one attribute. At most ByLimit values are kept apart, the rest
	// is counted together under Overflow. Objectives count the whole flow.
	By      string
	ByLimit int

	// Where are the attributes whose values are compared among good and bad
	// requests, so that an alert can say where the trouble is: span or resource
	// attributes in their current names, or KeyKind, KeyName or KeyStatus, each
	// once and at most MaxWhere. nil means DefaultWhere; empty means that
	// nothing is compared. See Compared.
	Where []string

	Objectives []Objective

	// PageChannel and TicketChannel are the Slack channels alerts of that
	// severity go to. Empty means the channel of the webhook.
	PageChannel   string
	TicketChannel string

	Owner       string
	Description string
	Runbook     string            // an http(s) URL
	Labels      map[string]string // added to every alert of the flow, and to sloth_slo_info

	// Exclude is the time that does not count, such as announced maintenance.
	Exclude []Exclusion

	Pos Pos
}

// Counted reports whether the flow counts spans: unless its objectives are all
// of kind PromQL.
func (f *Flow) Counted() bool {
	return len(f.Objectives) == 0 || slices.ContainsFunc(f.Objectives, func(o Objective) bool { return o.Kind != PromQL })
}

// Compared returns the attributes whose values are compared among the flow's
// good and bad requests: Where, or DefaultWhere if it is nil. A flow that counts
// no spans has none to compare. The result is not to be changed.
func (f *Flow) Compared() []string {
	switch {
	case !f.Counted():
		return nil
	case f.Where == nil:
		return DefaultWhere
	default:
		return f.Where
	}
}

// DefaultWhere are the attributes that tell bad requests from good ones most
// often: what was deployed, what was asked for, how it ended, where it ran, what
// it depended on, and for whom. A span that lacks one is not compared by it. It
// is not to be changed.
var DefaultWhere = []string{
	"service.version",
	KeyRoute,
	KeyStatusCode,
	"error.type",
	"deployment.environment.name",
	"service.instance.id",
	"host.name",
	"cloud.region",
	"peer.service",
	"server.address",
	"tenant.id",
}

// MaxWhere is how many attributes of a flow are compared at most: the default
// ones fit, and each costs every request a lookup.
const MaxWhere = 12

// Overflow is the value under which everything past a limit is counted, so
// that totals stay exact when detail has to be given up.
const Overflow = "__overflow__"

// DefaultByLimit is how many values of Flow.By are kept apart unless the flow
// says otherwise: enough for the big tenants of a small company, and at about
// 4 KB a value (see collector/aggr) under half a megabyte a flow.
const DefaultByLimit = 100

// SLOs returns the flow's objectives with their identities, in order.
func (f *Flow) SLOs() []SLO {
	out := make([]SLO, len(f.Objectives))
	for i := range f.Objectives {
		out[i] = SLO{Flow: f, Objective: f.Objectives[i]}
	}
	return out
}

// All returns the SLOs of all flows, in order.
func All(flows []Flow) []SLO {
	var out []SLO
	for i := range flows {
		out = append(out, flows[i].SLOs()...)
	}
	return out
}

// SLO is one objective of one flow: what a budget, a series and an alert
// belong to.
type SLO struct {
	Flow      *Flow
	Objective Objective
}

// Name returns the SLO's name within its service, e.g. checkout-availability.
// It is the value of the label sloth_slo.
func (s SLO) Name() string {
	if s.Objective.ID != "" {
		return s.Objective.ID
	}
	return s.Flow.Name + "-" + s.Objective.Name
}

// ID returns the SLO's identity, e.g. shop-checkout-availability, made the way
// Sloth makes its sloth_id. History is kept under it.
func (s SLO) ID() string { return s.Flow.Service + "-" + s.Name() }

// Kind is what an objective promises.
type Kind uint8

const (
	// Succeed promises that a share of the requests does not fail.
	Succeed Kind = iota
	// FasterThan promises that a share of the requests takes no longer than
	// the threshold, whether they fail or not: a request of exactly the
	// threshold is good, as in a Prometheus bucket `le`.
	FasterThan
	// Fresh promises that for a share of the time the last request that
	// succeeded is no older than the threshold: a nightly job, an import.
	// Time is judged in slices of one minute.
	Fresh
	// PromQL promises that a share of the events that a query counts is good:
	// metrics which slowburn does not count itself.
	PromQL
)

// Objective is a promise over a window: Target is the wanted share of good
// events, or of good slices of time.
type Objective struct {
	Name string // availability, latency-300ms, or the user's own

	// ID is the SLO's name within its service, the label sloth_slo, where it
	// is not the names of flow and objective: history is kept under it.
	ID string

	Kind      Kind
	Target    float64       // in (0, 1)
	Threshold time.Duration // FasterThan: the latency; Fresh: the age; > 0
	Query     Query         // PromQL only

	// Slice makes the promise one about time: the window is cut into slices of
	// this length, a slice is good while at least SliceTarget of its events
	// are, and Target is the share of good slices. A slice without events is
	// good; one that nobody watched does not count. 0 counts events. A Fresh
	// objective has slices of one minute and no SliceTarget.
	Slice       time.Duration
	SliceTarget float64 // in (0, 1]

	// Window is the length of the period: exact while it rolls, e.g. 30 days,
	// and nominal where Calendar says otherwise; see Unit.Nominal.
	Window   time.Duration
	Calendar Calendar // zero: the window rolls

	// MinEvents is how many bad events the long window of a tier must hold
	// before the tier alerts, so that one failed request at night wakes
	// nobody.
	MinEvents int

	// Tiers are the burn-rate alerts of the objective, as Tiers(…) gives them
	// or as the user chose them. None: no burn rate alerts.
	Tiers []Tier

	// Outage adds a page for when (nearly) everything fails, which goes out
	// before a burn rate over an hour can tell. It is of Succeed and FasterThan
	// without slices: what is judged once a minute is judged too late for it.
	Outage bool

	// Spent are the shares of the period's budget whose spending makes a
	// ticket, ascending and distinct as Percent writes them, in (0, 1]. RunsOut makes one when the budget will be
	// gone before the period ends if it burns on as it does.
	Spent   []float64
	RunsOut bool

	Alert AlertText

	Pos Pos
}

// AlertText is what an objective's alerts carry besides what slowburn says.
type AlertText struct {
	Name        string            // of both alerts; empty: slowburn's own names
	Labels      map[string]string // of both
	Annotations map[string]string // of both

	PageLabels, TicketLabels           map[string]string
	PageAnnotations, TicketAnnotations map[string]string
}

// Query is the SLI of a PromQL objective, in expressions over a range written
// as $window. It has Total with one of Bad and Good, each a count of events or
// a rate of them, or Ratio alone: the share of bad events, in [0, 1].
type Query struct {
	Bad, Good, Total string
	Ratio            string
}

// QueryWindow stands for the range of a query, as in rate(m[$window]).
const QueryWindow = "$window"

// DefaultWindow is the period of an SLO that names none.
const DefaultWindow = 30 * 24 * time.Hour

// DefaultMinEvents is the least number of bad events that alerts. With 3, a
// service that fails 12 times a month within its objective pages 0 times, where
// rules without a minimum page 8 or 9 times; the price is that a total outage
// at one request per 10 minutes takes 30 minutes to page.
const DefaultMinEvents = 3

// DefaultFreshTarget is the target of "fresh every 26h", which names none: of
// 30 days, 7 hours may be stale.
const DefaultFreshTarget = 0.99

// Budget returns the share of events that may be bad, in (0, 1).
func (o Objective) Budget() float64 { return Budget(o.Target) }

// Alerts reports whether the objective has any alert of a severity: by burn
// rate, of outages, or of its budget.
func (o Objective) Alerts(s Severity) bool {
	if s == Page && o.Outage || s == Ticket && (len(o.Spent) > 0 || o.RunsOut) {
		return true
	}
	return slices.ContainsFunc(o.Tiers, func(t Tier) bool { return t.Severity == s })
}

// Sentence returns the objective as people write it: "99.9% succeed",
// "95% under 300ms", "99% fresh every 26h", "99.5% of minutes with 95% under
// 300ms".
func (o Objective) Sentence() string {
	target := Percent(o.Target)
	switch {
	case o.Kind == Fresh:
		return target + " fresh every " + Duration(o.Threshold)
	case o.Slice == time.Minute:
		target += " of minutes with " + Percent(o.SliceTarget)
	case o.Slice > 0:
		target += " of " + Duration(o.Slice) + " with " + Percent(o.SliceTarget)
	}
	switch o.Kind {
	case FasterThan:
		return target + " under " + Duration(o.Threshold)
	case PromQL:
		return target + " good"
	default:
		return target + " succeed"
	}
}

// Words returns the objective for people, with its window: "99.9% succeed over
// 30d", "99.9% succeed per month (Europe/Zurich)".
func (o Objective) Words() string {
	if o.Calendar.Unit != Rolling {
		return o.Sentence() + " per " + o.Calendar.String()
	}
	return o.Sentence() + " over " + Duration(o.Window)
}

// Unit returns what the objective counts, in the plural: requests, minutes,
// slices or events.
func (o Objective) Unit() string {
	switch {
	case o.Kind == Fresh, o.Slice == time.Minute:
		return "minutes"
	case o.Slice > 0:
		return "slices"
	case o.Kind == PromQL:
		return "events"
	default:
		return "requests"
	}
}

// Percent writes a ratio as percent with as many digits as it has and no
// more than twelve: 0.999 is "99.9%".
func Percent(ratio float64) string {
	// 0.999*100 is 99.90000000000001; twelve digits are more than any target has.
	short, _ := strconv.ParseFloat(strconv.FormatFloat(ratio*100, 'g', 12, 64), 64)
	return strconv.FormatFloat(short, 'f', -1, 64) + "%"
}

// Duration writes d with the units people use in SLOs: 30d, 26h, 1h30m, 300ms.
// Below two days, hours are not made into days. It agrees with Prometheus'
// durations for whole milliseconds.
func Duration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
		d = -d
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{
		{day, "d"},
		{time.Hour, "h"},
		{time.Minute, "m"},
		{time.Second, "s"},
		{time.Millisecond, "ms"},
		{time.Microsecond, "us"},
		{time.Nanosecond, "ns"},
	} {
		if u.unit == day && d < 2*day && d%day >= time.Hour {
			continue
		}
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.unit
		}
	}
	return b.String()
}
