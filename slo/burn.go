package slo

import (
	"math"
	"slices"
	"time"
)

// Budget returns the error budget of a target: the share of events that may be
// bad. target is the wanted share of good events, in (0, 1].
func Budget(target float64) float64 {
	// 1-0.999 is 0.0010000000000000009; round to the precision targets have.
	return math.Round((1-target)*1e12) / 1e12
}

// BurnRate reports how fast an error ratio spends the error budget of target.
// At 1 the budget lasts exactly the SLO period; at 14.4 one hour spends 2% of
// a 30-day budget.
//
// ratio is bad events over all events, in [0, 1]. target is the wanted share
// of good events, in (0, 1]. A target of 1 leaves no budget: any error then
// burns at +Inf, and none at 0.
//
// Source: Google SRE Workbook, chapter 5, "Alerting on SLOs".
func BurnRate(ratio, target float64) float64 {
	if ratio == 0 {
		return 0
	}
	return ratio / Budget(target)
}

// BudgetLeft returns the share of the period's budget that is left when ratio
// of the period's events were bad: 1 is untouched, 0 is spent, below 0 is
// overspent.
func BudgetLeft(ratio, target float64) float64 { return 1 - BurnRate(ratio, target) }

// Severity is who hears of an alert.
type Severity string

// Page wakes somebody; Ticket waits for office hours.
const (
	Page   Severity = "page"
	Ticket Severity = "ticket"
)

// Tier is one burn-rate alert: it fires while the budget burns faster than
// Factor over both the Long and the Short window.
type Tier struct {
	Severity Severity
	Factor   float64 // burn rate, > 0
	Long     time.Duration
	Short    time.Duration
}

const (
	day = 24 * time.Hour

	// reach caps the share of bad events a tier may need. A 14.4x page on a
	// 95% objective would need 72% bad events and on 93% could never fire;
	// capped, half of all requests being bad always pages.
	reach = 0.5
)

// Tiers returns the alerts of an objective: those of the SRE Workbook (chapter
// 5, table 5-8) for periods of four weeks and more, and for shorter periods the
// shares of the budget that Sloth uses for its 7-day windows, which keep the
// factors near the Workbook's. Factors are lowered where the target could not
// reach them; see reach. window is the SLO's period; tiers whose long window
// does not fit into it are left out.
func Tiers(target float64, window time.Duration) []Tier {
	share := [4]float64{0.02, 0.05, 0.10, 0.10}
	if window < 28*day {
		share = [4]float64{0.08, 0.125, 0.20, 0.42}
	}
	var out []Tier
	for i, t := range []Tier{
		{Severity: Page, Long: time.Hour, Short: 5 * time.Minute},
		{Severity: Page, Long: 6 * time.Hour, Short: 30 * time.Minute},
		{Severity: Ticket, Long: day, Short: 2 * time.Hour},
		{Severity: Ticket, Long: 3 * day, Short: 6 * time.Hour},
	} {
		if t.Long > window {
			continue
		}
		t.Factor = Reachable(share[i]*float64(window)/float64(t.Long), target)
		out = append(out, t)
	}
	return out
}

// Reachable lowers a burn factor to what target can reach: at most half of all
// events bad, but never below a burn of 1, which every target can reach.
func Reachable(factor, target float64) float64 {
	factor = math.Max(1, math.Min(factor, reach/Budget(target)))
	return math.Round(factor*1e6) / 1e6
}

// Detection returns how long a steady burn takes to fire the tier on a history
// without errors: Long × Factor / burn. ok is false when it never does.
//
// Source: Google SRE Workbook, chapter 5.
func (t Tier) Detection(burn float64) (d time.Duration, ok bool) {
	if burn < t.Factor {
		return 0, false
	}
	return time.Duration(float64(t.Long) * t.Factor / burn), true
}

// Reset returns how long after a steady burn ends the tier stops firing:
// Short × (1 − Factor/burn).
//
// Source: Google SRE Workbook, chapter 5.
func (t Tier) Reset(burn float64) time.Duration {
	return time.Duration(float64(t.Short) * math.Max(0, 1-t.Factor/burn))
}

// recorded are the windows every SLO's error ratio is recorded over, besides
// its period: Sloth's, so that dashboards made for it find what they ask for.
var recorded = []time.Duration{
	5 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, day, 3 * day,
}

// Windows returns the windows over which the objective's error ratio is kept,
// ascending: Sloth's, those of its tiers, and its period last. Windows longer
// than the period are left out.
func (o Objective) Windows() []time.Duration {
	set := map[time.Duration]bool{o.Window: true}
	for _, w := range recorded {
		set[w] = true
	}
	for _, t := range o.Tiers {
		set[t.Long], set[t.Short] = true, true
	}
	out := make([]time.Duration, 0, len(set))
	for w := range set {
		if w <= o.Window {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return out
}
