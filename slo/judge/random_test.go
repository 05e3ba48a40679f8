package judge_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/judge"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

const (
	flows    = 200
	perFlow  = 25          // incidents
	warm     = 7 * 3600    // s; before the first
	aftermth = 35 * 60     // s; looked at more closely after an incident
	quietMin = 6*3600 + 10 // s; between incidents: no window holds two of them
)

// incident is one time in which a flow burned.
type incident struct {
	from, to int64 // s
	burn     float64

	counted  int64 // s; when the events first were past the limits of a page; 0: never
	expected bool  // whether they would have been without chance
}

// history is what happened to one flow.
type history struct {
	slo       slo.SLO
	rate      float64
	incidents []incident

	// Bins end at: every 2 s in incidents and five minutes after, every 10 s
	// half an hour after and an hour before, else every minute.
	at                     []int64 // s
	bad, total             []uint64
	sumBad, sumTotal       []float64 // up to and with the bin
	expectBad, expectTotal []float64
}

// imagine lets a flow happen.
func imagine(seed uint64) *history {
	rng := rand.New(rand.NewPCG(seed, 17))
	targets := []float64{0.99, 0.995, 0.999, 0.9995, 0.9999}
	target := targets[rng.IntN(len(targets))]
	// Enough to judge by: at the limit an hour holds 15 bad events at least.
	least := 15 / (14.4 * 3600 * slo.Budget(target))
	h := &history{rate: math.Exp(math.Log(least) + rng.Float64()*math.Log(500/least))}
	h.slo = slo.SLO{Flow: &slo.Flow{Name: "checkout", Service: "shop"}, Objective: slo.Objective{
		Name: "availability", Target: target, Window: slo.DefaultWindow, MinEvents: slo.DefaultMinEvents, Tiers: slo.Tiers(target, slo.DefaultWindow),
	}}
	budget := h.slo.Objective.Budget()
	usual := 0.3 * rng.Float64() * budget
	t := int64(warm)
	for range perFlow {
		i := incident{from: t + 10*int64(rng.IntN(300))}
		i.from += rng.Int64N(5) * 2
		i.to = i.from + 2*int64(15*math.Exp(rng.Float64()*math.Log(240)))
		i.burn = math.Exp(rng.Float64() * math.Log(min(1000, 1/budget)))
		h.incidents = append(h.incidents, i)
		t = (i.to/10 + 1) * 10
		t += quietMin
	}
	end := t
	k := 0
	for now := int64(0); now < end; {
		for k < len(h.incidents) && now >= h.incidents[k].to+aftermth {
			k++
		}
		step, share := int64(60), usual
		if k < len(h.incidents) {
			i := h.incidents[k]
			begin := i.from / 10 * 10
			switch {
			case now >= begin && now < i.to+300, now%10 != 0:
				step = 2
				if now >= i.from && now < i.to {
					share = min(1, i.burn*budget+usual)
				}
			case now%60 != 0 || now+60 > begin-3600:
				step = 10
			}
		}
		now += step
		n := h.rate * float64(step)
		bad := poisson(rng, n*share)
		total := bad + poisson(rng, n*(1-share))
		h.add(now, bad, total, n*share, n)
	}
	return h
}

func (h *history) add(now int64, bad, total uint64, expectBad, expectTotal float64) {
	last := func(s []float64) float64 {
		if len(s) == 0 {
			return 0
		}
		return s[len(s)-1]
	}
	h.at = append(h.at, now)
	h.bad, h.total = append(h.bad, bad), append(h.total, total)
	h.sumBad, h.sumTotal = append(h.sumBad, last(h.sumBad)+float64(bad)), append(h.sumTotal, last(h.sumTotal)+float64(total))
	h.expectBad, h.expectTotal = append(h.expectBad, last(h.expectBad)+expectBad), append(h.expectTotal, last(h.expectTotal)+expectTotal)
}

// poisson returns a number of events of which mean are expected.
func poisson(rng *rand.Rand, mean float64) uint64 {
	if mean > 50 {
		return uint64(max(0, math.Round(mean+math.Sqrt(mean)*rng.NormFloat64())))
	}
	n, p, limit := uint64(0), rng.Float64(), math.Exp(-mean)
	for p > limit {
		p *= rng.Float64()
		n++
	}
	return n
}

// limits is a pair of windows (s) and the burn rate they have to exceed.
type limits struct {
	long, short int64
	burn        float64
	hold        int64 // s; `for`
}

// reader reads ratios over windows whose ends go forward.
type reader struct {
	h          *history
	bad, total []float64
	budget     float64
	edge       map[int64]*int
}

func newReader(h *history, bad, total []float64) *reader {
	return &reader{h: h, bad: bad, total: total, budget: h.slo.Objective.Budget(), edge: map[int64]*int{}}
}

// burn returns the burn rate over a window that ends with bin i.
func (r *reader) burn(i int, length int64) float64 {
	e := r.edge[length]
	if e == nil {
		e = new(int)
		r.edge[length] = e
	}
	from := r.h.at[i] - length
	for *e < i && r.h.at[*e] < from {
		*e++
	}
	sum := func(s []float64) float64 {
		j := *e // the bin that holds from ends here
		if j == 0 {
			return s[i]
		}
		part := float64(from-r.h.at[j-1]) / float64(r.h.at[j]-r.h.at[j-1])
		return s[i] - s[j-1] - part*(s[j]-s[j-1])
	}
	total := sum(r.total)
	if total <= 0 {
		return 0
	}
	return sum(r.bad) / total / r.budget
}

func (r *reader) past(i int, l limits) bool {
	short := r.burn(i, l.short) > l.burn
	return r.burn(i, l.long) > l.burn && short
}

// label says of each incident whether and when its events were past the limits,
// for half a minute: what is looked at every 30 s can see it.
func (h *history) label(pages []limits) {
	counted, expected := newReader(h, h.sumBad, h.sumTotal), newReader(h, h.expectBad, h.expectTotal)
	k, since := 0, int64(0)
	for i, now := range h.at {
		for k < len(h.incidents) && now > h.incidents[k].to+aftermth {
			k++
		}
		if k == len(h.incidents) || now <= h.incidents[k].from {
			continue
		}
		in := &h.incidents[k]
		past := false
		for _, l := range pages {
			past = counted.past(i, l) || past
			in.expected = expected.past(i, l) || in.expected
		}
		switch {
		case in.counted > 0:
		case !past:
			since = 0
		case since == 0:
			since = now
		case now-since >= 30:
			in.counted = since
		}
	}
}

// fired is a page.
type fired struct{ from, to int64 }

// rules evaluates alert rules over the history: a page is while any fires.
func (h *history) rules(every int64, alerts []limits) (out []fired) {
	r := newReader(h, h.sumBad, h.sumTotal)
	since := make([]int64, len(alerts))
	firing := false
	next := int64(0)
	for i, now := range h.at {
		if now < next || now < 3600 {
			continue
		}
		next = now - now%every + every
		any := false
		for a, l := range alerts {
			switch {
			case !r.past(i, l):
				since[a] = 0
			case since[a] == 0:
				since[a] = now
			}
			any = any || since[a] > 0 && now-since[a] >= l.hold
		}
		if any && !firing {
			out = append(out, fired{from: now})
		} else if !any && firing {
			out[len(out)-1].to = now
		}
		firing = any
	}
	return out
}

// judged lets a judge look at the history, over a real ledger.
func (h *history) judged() (out []fired) {
	began := noon.Unix()
	id := h.slo.ID()
	l := ledger.New(noon)
	l.Define([]ledger.Def{{ID: id, Windows: h.slo.Objective.Windows()}})
	j := judge.New(h.slo)
	firing := false
	for i, now := range h.at {
		at := time.Unix(began+now, 0)
		l.Add(at, []ledger.Entry{{ID: id, Good: h.total[i] - h.bad[i], Bad: h.bad[i]}})
		s, _ := l.State(id)
		v := j.Step(at, s, 0)
		if v.Page.Firing && !firing {
			out = append(out, fired{from: now})
		} else if !v.Page.Firing && firing {
			out[len(out)-1].to = now
		}
		firing = v.Page.Firing
	}
	return out
}

// score is how well pages told of incidents.
type score struct {
	incidents, expected, foundExpected, counted, found int
	pages, right, duplicates, unresolved               int
	delays                                             []float64 // s
	detail                                             []string
}

func (s *score) add(h *history, pages []fired) {
	k := 0
	for _, in := range h.incidents {
		s.incidents++
		n := 0
		for ; k < len(pages) && pages[k].from <= in.from; k++ {
			s.pages++ // amid nothing
			s.detail = append(s.detail, fmt.Sprintf("page at %d of nothing, %.3g/s target %g", pages[k].from, h.rate, h.slo.Objective.Target))
		}
		first := int64(0)
		for ; k < len(pages) && pages[k].from <= in.to+3600; k++ {
			if n == 0 {
				first = pages[k].from
			}
			n++
			s.pages++
			if in.counted > 0 || in.expected {
				s.right++
			} else {
				s.detail = append(s.detail, fmt.Sprintf("false page, %.3g/s target %g %+v", h.rate, h.slo.Objective.Target, in))
			}
			if to := pages[k].to; to == 0 || to > in.to+3*3600 {
				s.unresolved++
				s.detail = append(s.detail, fmt.Sprintf("not resolved: %.3g/s target %g %+v %+v", h.rate, h.slo.Objective.Target, in, pages[k]))
			}
		}
		s.duplicates += max(0, n-1)
		if n > 1 {
			s.detail = append(s.detail, fmt.Sprintf("duplicate: %.3g/s target %g %+v %+v", h.rate, h.slo.Objective.Target, in, pages[k-n:k]))
		}
		if in.expected {
			s.expected++
			if n > 0 {
				s.foundExpected++
			} else if in.counted > 0 {
				s.detail = append(s.detail, fmt.Sprintf("missed: %.3g/s target %g %+v", h.rate, h.slo.Objective.Target, in))
			}
		}
		if in.counted > 0 {
			s.counted++
			if n > 0 {
				s.found++
				s.delays = append(s.delays, math.Abs(float64(first-in.counted)))
				if d := first - in.counted; d > 60 || d < 0 {
					s.detail = append(s.detail, fmt.Sprintf("off by %ds: %.3g/s target %g %+v", d, h.rate, h.slo.Objective.Target, in))
				}
			} else if !in.expected {
				s.detail = append(s.detail, fmt.Sprintf("missed: %.3g/s target %g %+v", h.rate, h.slo.Objective.Target, in))
			}
		}
	}
	s.pages += len(pages) - k
}

func (s *score) quantile(q float64) float64 {
	if len(s.delays) == 0 {
		return math.Inf(1)
	}
	slices.Sort(s.delays)
	return s.delays[min(len(s.delays)-1, int(q*float64(len(s.delays))))]
}

func (s *score) merge(o *score) {
	s.incidents += o.incidents
	s.expected += o.expected
	s.foundExpected += o.foundExpected
	s.counted += o.counted
	s.found += o.found
	s.pages += o.pages
	s.right += o.right
	s.duplicates += o.duplicates
	s.unresolved += o.unresolved
	s.delays = append(s.delays, o.delays...)
	s.detail = append(s.detail, o.detail...)
}

// TestRandomIncidents holds the judge against 5,000 random incidents, beside
// rules in the shapes that Sloth and Pyrra document.
func TestRandomIncidents(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	var mu sync.Mutex
	var scores [3]score
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := range seeds {
				h := imagine(seed)
				tiers := h.slo.Objective.Tiers
				page := func(i int) limits {
					return limits{long: int64(tiers[i].Long.Seconds()), short: int64(tiers[i].Short.Seconds()), burn: tiers[i].Factor}
				}
				h.label([]limits{page(0), page(1)})
				var s [3]score
				s[0].add(h, h.judged())
				s[1].add(h, h.rules(30, []limits{{3600, 300, 14.4, 0}, {6 * 3600, 1800, 6, 0}}))
				s[2].add(h, h.rules(30, []limits{{64 * 60, 5 * 60, 14, 120}, {386 * 60, 32 * 60, 7, 960}}))
				mu.Lock()
				for i := range s {
					scores[i].merge(&s[i])
				}
				mu.Unlock()
			}
		})
	}
	for seed := range uint64(flows) {
		seeds <- seed
	}
	close(seeds)
	wg.Wait()

	var b strings.Builder
	fmt.Fprintf(&b, "%d incidents on %d flows, of which %d page by their events, %d by expectation\n", scores[0].incidents, flows, scores[0].counted, scores[0].expected)
	fmt.Fprintf(&b, "%-22s %8s %8s %10s %8s %8s %11s %11s %6s\n", "", "recall", "expected", "precision", "median", "p99", "duplicates", "unresolved", "pages")
	for i, name := range []string{"slowburn", "Sloth-shaped, 30 s", "Pyrra-shaped, 30 s"} {
		s := &scores[i]
		fmt.Fprintf(&b, "%-22s %7.2f%% %7.2f%% %9.2f%% %6.0f s %6.0f s %11d %11d %6d\n", name,
			100*float64(s.found)/float64(s.counted), 100*float64(s.foundExpected)/float64(s.expected),
			100*float64(s.right)/float64(s.pages), s.quantile(0.5), s.quantile(0.99), s.duplicates, s.unresolved, s.pages)
	}
	t.Log("\n" + b.String())
	s := &scores[0]
	for i, d := range s.detail {
		if i < 60 {
			t.Log(d)
		}
	}
	if s.found != s.counted {
		t.Errorf("recall: got %d of %d incidents, want all", s.found, s.counted)
	}
	if p := float64(s.right) / float64(s.pages); p < 0.99 {
		t.Errorf("precision: got %.4f, want 0.99", p)
	}
	if d := s.quantile(0.99); d > 60 {
		t.Errorf("detection error: got a 99th percentile of %g s, want 60", d)
	}
	if d := s.quantile(0.5); d > 30 {
		t.Errorf("detection error: got a median of %g s, want 30", d)
	}
	if s.duplicates != 0 || s.unresolved != 0 {
		t.Errorf("got %d duplicates and %d pages that were not resolved, want none", s.duplicates, s.unresolved)
	}
}
