package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// The goals. Costs are Sloth's or Pyrra's over those of external rules; exact is
// percentage points of the budget.
const (
	timesSloth = 40
	timesPyrra = 30
	exact      = 0.1
)

// report is what was measured of all sets.
type report struct {
	ids   []identity
	live  time.Duration
	truth []float64 // percent of the budget that is left, by SLO
	sets  []measured
}

// measured is what was measured of a set. Costs are per SLO and hour.
type measured struct {
	name       string
	costs      bool    // nothing but costs
	cpu        float64 // milliseconds
	samples    float64
	series     float64   // recorded, per SLO
	off        []float64 // percentage points from the truth, by SLO; NaN: nothing is told
	hasAlerts  bool
	alertsOnly bool // what it tells of budgets is another set's
}

// measure asks the sets for what they tell at the last scrape.
func measure(ctx context.Context, sets []set, ids []identity, last int, live time.Duration) (*report, error) {
	at := began.Add(time.Duration(last)*scrape + phase)
	r := &report{ids: ids, live: live}
	for _, id := range ids {
		r.truth = append(r.truth, 100*(1-sum(id.bad(), last)/sum(id.history.total, last)/(1-id.target)))
	}
	hours := float64(len(ids)) * live.Hours()
	for _, s := range sets {
		n, err := s.value(ctx, `count({__name__!="",__name__!~"http_.*_(total|count|bucket)|ALERTS.*"})`, at)
		if err != nil {
			return nil, err
		}
		m := measured{
			name: s.name, costs: s.costs, hasAlerts: len(s.rules) > 0, alertsOnly: s.name == judged,
			cpu: float64(s.cpu.Microseconds()) / 1000 / hours, samples: float64(s.samples) / hours, series: n / float64(len(ids)),
		}
		for i, id := range ids {
			v, err := s.value(ctx, s.expr(id), at)
			if err != nil {
				return nil, err
			}
			m.off = append(m.off, 100*v-r.truth[i])
		}
		r.sets = append(r.sets, m)
	}
	return r, nil
}

func (r *report) of(name string) measured {
	return r.sets[slices.IndexFunc(r.sets, func(m measured) bool { return m.name == name })]
}

// table writes lines whose cells are parted by tabs.
func table(title string) *tabwriter.Writer {
	fmt.Printf("\n%s\n", title)
	return tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// costs prints what an SLO costs in an hour.
func (r *report) costs() {
	w := table(fmt.Sprintf("costs per SLO and hour (%d SLOs, %s lived)", len(r.ids), r.live))
	fmt.Fprintln(w, "rule set\tCPU ms\tsamples read\tseries\tSloth ÷\tPyrra ÷\t")
	for _, m := range r.sets {
		fmt.Fprintf(w, "%s\t%.1f\t%s\t%.1f\t%.1f\t%.1f\t\n", m.name, m.cpu, grouped(m.samples), m.series, r.of(sloth).cpu/m.cpu, r.of(pyrra).cpu/m.cpu)
	}
	w.Flush()
}

// grouped writes a count with its thousands parted.
func grouped(n float64) string {
	text := fmt.Sprintf("%.0f", n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// exactness prints how far what a set says of the budget is from the truth.
func (r *report) exactness() {
	w := table("budget left: error in percentage points")
	fmt.Fprint(w, "SLO\ttruth %\t")
	var shown []measured
	for _, m := range r.sets {
		if !m.costs && !m.alertsOnly {
			shown = append(shown, m)
			fmt.Fprintf(w, "%s\t", m.name)
		}
	}
	fmt.Fprintln(w)
	for i, id := range r.ids {
		fmt.Fprintf(w, "%s\t%.2f\t", id.slug(), r.truth[i])
		for _, m := range shown {
			fmt.Fprintf(w, "%s\t", points(m.off[i]))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// points writes percentage points.
func points(v float64) string {
	switch {
	case math.IsNaN(v):
		return "none"
	case math.Abs(v) < 0.0005:
		return "0"
	}
	return fmt.Sprintf("%+.3f", v)
}

// alerts prints how often alerts fired.
func (r *report) alerts(sets []set) {
	w := table("alerts fired, pages + tickets (the past is looked at every five minutes)")
	fmt.Fprint(w, "SLO\t")
	for _, m := range r.sets {
		if m.hasAlerts && !m.costs {
			fmt.Fprintf(w, "%s\t", m.name)
		}
	}
	fmt.Fprintln(w)
	for _, id := range r.ids {
		fmt.Fprintf(w, "%s\t", id.slug())
		for i, m := range r.sets {
			if m.hasAlerts && !m.costs {
				fired := sets[i].fired[id.slug()]
				fmt.Fprintf(w, "%d + %d\t", fired["page"], fired["ticket"])
			}
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// profile prints the rules that took the most time.
func (s *set) profile(slos int, live time.Duration) {
	var names []string
	for name := range s.spent {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(s.spent[b] - s.spent[a]) })
	fmt.Printf("\n%s: milliseconds of the clock per SLO and hour\n", s.name)
	for _, name := range names[:min(12, len(names))] {
		ms := float64(s.spent[name].Microseconds()) / 1000 / float64(slos) / live.Hours()
		fmt.Printf("%9.2f  %s\n", ms, name)
	}
}

// verdict prints the goals and how they were met, and returns how many were not.
func (r *report) verdict() (missed int) {
	fmt.Println("\nverdict")
	goal := func(met bool, format string, args ...any) {
		word := "met"
		if !met {
			word = "missed"
			missed++
		}
		fmt.Printf("%8s  %s\n", word, fmt.Sprintf(format, args...))
	}
	state := func(format string, args ...any) { fmt.Printf("%8s  %s\n", "stated", fmt.Sprintf(format, args...)) }

	s, p, e := r.of(sloth).cpu, r.of(pyrra).cpu, r.of(external).cpu
	goal(s >= timesSloth*e, "external rules are %.1f times cheaper than Sloth's every 30 s; want %d", s/e, timesSloth)
	goal(p >= timesPyrra*e, "external rules are %.1f times cheaper than Pyrra's; want %d", p/e, timesPyrra)
	for _, name := range []string{embedded, counters, catchUp} {
		worst, at := r.worst(name)
		goal(worst <= exact, "budgets of %s are at most %.3f points off, in %s; want %g", name, worst, r.ids[at].slug(), exact)
	}
	var exceptions []string
	for i, off := range r.of(external).off {
		if !(math.Abs(off) <= exact) {
			exceptions = append(exceptions, fmt.Sprintf("\n%10s%s %s", "", r.ids[i].slug(), points(off)))
		}
	}
	state("budgets of plain external rules are further off in %d of %d SLOs%s", len(exceptions), len(r.ids), strings.Join(exceptions, ""))
	for _, name := range []string{catchUp, alone, counters, embedded, judged} {
		state("%s: %.1f times cheaper than Sloth's, %.1f than Pyrra's", name, s/r.of(name).cpu, p/r.of(name).cpu)
	}
	state("Sloth's rules every 60 s cost %.0f%% of those every 30 s: external rules are %.1f times cheaper",
		100*r.of(sloth60).cpu/s, r.of(sloth60).cpu/e)
	return missed
}

// worst returns the largest error of a set, infinite where it tells nothing, and
// its SLO.
func (r *report) worst(name string) (points float64, at int) {
	for i, off := range r.of(name).off {
		off = math.Abs(off)
		if math.IsNaN(off) {
			off = math.Inf(1)
		}
		if off > points {
			points, at = off, i
		}
	}
	return points, at
}
