// Package read reads from a store how flows do, and judges the state they are
// in, for the pages and the API alike: what both of them tell is read and
// judged here, and each has only its own words for it.
package read

import (
	"cmp"
	"math"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// State is what a flow or an objective is in, better first.
type State int

// The states.
const (
	NoData   State = iota // never had an event
	Idle                  // none in the last minutes
	Excluded              // what happens now does not count
	Calm                  // within what the objective earns
	Unknown               // the figures that say so could not be read
	Spent                 // nothing left of the budget, though not spending faster now
	Spending              // the budget is spent faster than it is earned
	Burning               // a page fires
)

// String returns the state as a name: no_data.
func (s State) String() string {
	return [...]string{"no_data", "idle", "excluded", "calm", "unknown", "spent", "spending", "burning"}[s]
}

// StateOf is the state an SLO is in while an alert of that severity fires.
func StateOf(s slo.Severity) State {
	if s == slo.Page {
		return Burning
	}
	return Spending
}

// Alert is a firing alert.
type Alert struct {
	SLO      string // slo.SLO.ID
	Severity slo.Severity
	Since    time.Time // when it began to fire
	Summary  string    // one line for people; empty means the objective in words
	Silences []string  // IDs of those that keep it from being told
}

// Compare puts pages before tickets, then the oldest first.
func (a Alert) Compare(b Alert) int {
	return cmp.Or(cmp.Compare(StateOf(b.Severity), StateOf(a.Severity)), a.Since.Compare(b.Since), cmp.Compare(a.SLO, b.SLO))
}

// Firing returns the state that alerts put their SLOs in, by SLO identity.
func Firing(alerts []Alert) map[string]State {
	out := map[string]State{}
	for _, a := range alerts {
		out[a.SLO] = max(out[a.SLO], StateOf(a.Severity))
	}
	return out
}

// Flow is how a flow does. Figures are NaN where they are not known.
type Flow struct {
	*slo.Flow
	State      State // the worst of its objectives
	Objectives []Objective

	Rate    float64    // requests per second
	Errors  float64    // share of them that are bad, in [0, 1]
	Latency [3]float64 // p50, p95, p99 in seconds
	Hour    []Rates    // the last hour in steps of HourStep, oldest first; may be empty

	// Exclusion is why what happens does not count, Until when it ends. Nil
	// while it does.
	Exclusion *slo.Exclusion
	Until     time.Time
}

// Objective is how an objective does. Figures are NaN where they are not known.
type Objective struct {
	slo.SLO
	State State
	Bad   float64 // share of bad events over NowWindow, in [0, 1]
	Left  float64 // share of the budget, below 0 when overspent
	Burn  float64 // burn rate
}

// Flow judges a flow. firing is what Firing returned.
func (n *Numbers) Flow(f *slo.Flow, firing map[string]State, now time.Time) Flow {
	key := KeyOf(f)
	rates := n.Rates[key] // none is as good as zero
	_, unread := n.Faults[PartRates]
	quiet := !unread && rates.Total() == 0
	nan := math.NaN()
	out := Flow{Flow: f, Rate: nan, Errors: nan, Latency: [3]float64{nan, nan, nan}, Hour: n.Hour[key]}
	if x, until, excluded := f.Excluded(now); excluded {
		out.Exclusion, out.Until = &x, until
	}
	for _, s := range f.SLOs() {
		o := n.Objective(s, firing[s.ID()], quiet, out.Exclusion != nil)
		out.Objectives = append(out.Objectives, o)
		out.State = max(out.State, o.State)
	}
	if f.Counted() && !unread && out.State != NoData {
		out.Rate, out.Errors = rates.Total(), rates.BadShare()
	}
	if l, ok := n.Latency[key]; ok {
		out.Latency = l
	}
	return out
}

// Objective judges an objective. firing is the state that its alerts put it in,
// if any; quiet says that the flow had no request lately, paused that what
// happens now does not count.
func (n *Numbers) Objective(s slo.SLO, firing State, quiet, paused bool) Objective {
	o, v := s.Objective, n.SLOs[s.ID()]
	out := Objective{SLO: s, Bad: v.Get(series.ErrorRatio(NowWindow(o))), Left: v.Get(series.BudgetRemaining), Burn: v.Get(series.CurrentBurnRate)}
	switch {
	case o.Slice > 0 || o.Kind == slo.Fresh:
		// Long slices are missing in the shortest window most of the time.
		out.Burn, quiet = slo.BurnRate(out.Bad, o.Target), false
	case o.Kind == slo.PromQL:
		quiet = math.IsNaN(out.Bad)
	case quiet:
		// The last value of an idle window lingers in queries for a while.
		out.Burn, out.Bad = math.NaN(), math.NaN()
	}
	_, unread := n.Faults[PartBudgets]
	switch {
	case firing != NoData:
		out.State = firing
	case unread:
		out.State = Unknown
	case !(v.Get(series.Events) > 0):
		out.State = NoData
	case paused && !(out.Left <= 0):
		out.State = Excluded
	case !paused && out.Burn > 1 && !(slo.BurnRate(v.Get(series.ErrorRatio(Hour)), o.Target) <= 1):
		// Over the hour as well where there is one, so that a short blip does
		// not call for attention.
		out.State = Spending
	case out.Left <= 0:
		out.State = Spent
	case quiet:
		out.State = Idle
	default:
		out.State = Calm
	}
	return out
}

// NowWindow returns the shortest window that always holds some events while
// there are any: five minutes, or the length of a slice.
func NowWindow(o slo.Objective) time.Duration {
	for _, w := range o.Windows() {
		if w >= o.Slice {
			return w
		}
	}
	return o.Window
}

// Compare puts the worst first. Among equals the least budget, which moves
// slowly, so that rows do not jump while somebody reads them; calm flows by
// name.
func (f Flow) Compare(g Flow) int {
	order := cmp.Compare(g.State, f.State)
	if f.State >= Spent {
		order = cmp.Or(order, cmp.Compare(f.least(), g.least()))
	}
	return cmp.Or(order, cmp.Compare(f.Name, g.Name), cmp.Compare(f.Service, g.Service))
}

// least returns what is left of the objective that has least, a budget that is
// not known after all others.
func (f Flow) least() float64 {
	out := math.Inf(1)
	for _, o := range f.Objectives {
		if o.Left < out {
			out = o.Left
		}
	}
	return out
}

// Find returns the flow of a key, or nil.
func Find(flows []slo.Flow, key Key) *slo.Flow {
	for i := range flows {
		if KeyOf(&flows[i]) == key {
			return &flows[i]
		}
	}
	return nil
}
