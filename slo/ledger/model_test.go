package ledger

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // the same clocks on every machine

	"github.com/slowburn-slo/slowburn/slo"
)

// model is what the ledger is held against: it keeps all that ever happened to
// one SLO, and works every figure out anew from that.
type model struct {
	defs  []Def
	ticks []tick

	excluded map[[2]int64]bool // by index of the definition and slot of 5 min: asking is slow
}

// tick is one Add.
type tick struct {
	at        int64 // ms
	def       int   // in force, into defs
	good, bad uint64
}

// unit is one thing that is counted: events of one Add, or a slice.
type unit struct {
	at         int64
	bad, total uint64
	def        int // in force when it was counted
}

// excludes reports whether definition i excludes the time t.
func (m *model) excludes(i int, t int64) bool {
	key := [2]int64{int64(i), t / coarseSlot}
	out, known := m.excluded[key]
	if !known {
		at := time.UnixMilli(t)
		for _, e := range m.defs[i].Exclude {
			for range e.Between(at, at.Add(1)) {
				out = true
			}
		}
		m.excluded[key] = out
	}
	return out
}

// units returns what was counted, in order.
func (m *model) units() []unit {
	d := m.defs[0]
	length := d.Slice.Length.Milliseconds()
	if d.Fresh > 0 {
		length = 60_000
	}
	var out []unit
	if length == 0 {
		for _, t := range m.ticks {
			out = append(out, unit{t.at, t.bad, t.good + t.bad, t.def})
		}
		return out
	}
	type gap struct{ from, to int64 }
	var gaps []gap
	first, last := m.ticks[0].at, m.ticks[len(m.ticks)-1].at
	for i := 1; i < len(m.ticks); i++ {
		if g := (gap{m.ticks[i-1].at, m.ticks[i].at}); g.to-g.from > max(60_000, length) {
			gaps = append(gaps, g)
		}
	}
	// unwatched returns for how long nobody watched between two times.
	unwatched := func(from, to int64) (ms int64) {
		i, _ := slices.BinarySearchFunc(gaps, from, func(g gap, from int64) int { return int(g.to - from) })
		for ; i < len(gaps) && gaps[i].from < to; i++ {
			ms += max(0, min(to, gaps[i].to)-max(from, gaps[i].from))
		}
		return ms
	}
	success, next := first, 0 // the last success, and the first tick after the slice
	for start := first - first%length; start+length <= last; start += length {
		end := start + length
		var good, bad uint64
		for ; next < len(m.ticks) && m.ticks[next].at < end; next++ {
			t := m.ticks[next]
			if t.at < start {
				continue
			}
			if t.good > 0 {
				success = t.at
			}
			if !m.excludes(t.def, t.at) || m.excludes(t.def, end-1) {
				good += t.good
				bad += t.bad
			}
		}
		def := m.ticks[next].def // when the slice is closed
		if (start < first || unwatched(start, end) > 0) && good+bad == 0 {
			continue
		}
		d := m.defs[def]
		failed := good+bad > 0 && float64(good)/float64(good+bad) < d.Slice.Target-1e-12
		if d.Fresh > 0 {
			failed = end-success-unwatched(success, end) > d.Fresh.Milliseconds()
		}
		u := unit{at: end - 1, total: 1, def: def}
		if failed {
			u.bad = 1
		}
		out = append(out, u)
	}
	return out
}

// resolution returns how finely a window moves, in ms.
func resolution(w time.Duration) int64 {
	switch {
	case w <= 2*time.Hour:
		return fineSlot
	case w <= 6*time.Hour:
		return middleSlot
	}
	return coarseSlot
}

// check compares a state with all that happened.
func (m *model) check(s State, now int64) error {
	units := m.units()
	current := len(m.defs) - 1
	d := m.defs[current]
	var errors, events uint64
	counts := make([]unit, 0, len(units))
	for _, u := range units {
		if !m.excludes(u.def, u.at) {
			errors += u.bad
			events += u.total
		}
		if !m.excludes(current, u.at) {
			counts = append(counts, u)
		}
	}
	if s.Errors != errors || s.Events != events {
		return fmt.Errorf("counters are %d of %d, want %d of %d", s.Errors, s.Events, errors, events)
	}
	for i, w := range s.Windows {
		res := resolution(w.Length)
		from := now - w.Length.Milliseconds()
		var bad, total float64
		for _, u := range counts {
			slot := u.at - u.at%res
			part := min(1, max(0, float64(slot+res-from)/float64(res)))
			bad += part * float64(u.bad)
			total += part * float64(u.total)
		}
		if w.Length != d.Windows[i] || math.Abs(w.Bad-bad) > 1e-6 || math.Abs(w.Total-total) > 1e-6 {
			return fmt.Errorf("window %d is %+v, want %v, %g of %g", i, w, d.Windows[i], bad, total)
		}
	}
	if want := m.excludes(current, now); s.Excluded != want || want && (s.ExcludedUntil.UnixMilli() <= now || m.excludes(current, s.ExcludedUntil.UnixMilli())) {
		return fmt.Errorf("excluded is %t until %v, want %t", s.Excluded, s.ExcludedUntil, want)
	}
	period := s.Period()
	if d.Calendar.Unit == slo.Rolling {
		if last := s.Windows[len(s.Windows)-1]; period != last || s.PeriodEnd.UnixMilli() != now || s.PeriodEnd.Sub(s.PeriodStart) != last.Length {
			return fmt.Errorf("period is %+v of %v … %v, want the last window, %+v", period, s.PeriodStart, s.PeriodEnd, last)
		}
		return nil
	}
	start, end := d.Calendar.Bounds(time.UnixMilli(now))
	var bad, total float64
	for _, u := range counts {
		if u.at >= start.UnixMilli() {
			bad += float64(u.bad)
			total += float64(u.total)
		}
	}
	if want := (Window{end.Sub(start), bad, total}); period != want || !s.PeriodStart.Equal(start) || !s.PeriodEnd.Equal(end) {
		return fmt.Errorf("period is %+v of %v … %v, want %+v of %v … %v", period, s.PeriodStart, s.PeriodEnd, want, start, end)
	}
	return nil
}

var zones = func() (out []*time.Location) {
	for _, name := range []string{"UTC", "Europe/Zurich", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"} {
		l, err := time.LoadLocation(name)
		if err != nil {
			panic(err)
		}
		out = append(out, l)
	}
	return out
}()

// anyDef returns a definition that keeps the kind and the reach of base.
func anyDef(r *rand.Rand, base Def, now time.Time) Def {
	d := base
	d.Windows = nil
	for _, w := range windows[:7] {
		if r.IntN(2) == 0 {
			d.Windows = append(d.Windows, w)
		}
	}
	d.Windows = append(d.Windows, base.Windows[len(base.Windows)-1])
	d.Calendar = slo.Calendar{}
	if units := []slo.Unit{slo.Rolling, slo.Week, slo.Month, slo.Quarter}; r.IntN(4) > 0 {
		fit := slices.DeleteFunc(units, func(u slo.Unit) bool { return longest(u) > base.Windows[len(base.Windows)-1] })
		d.Calendar = slo.Calendar{Unit: fit[r.IntN(len(fit))], Zone: zones[r.IntN(len(zones))]}
	}
	d.Exclude = nil
	for range r.IntN(4) {
		e := slo.Exclusion{
			Every: slo.Recurrence(r.IntN(4)), For: time.Duration(1+r.IntN(60)) * slo.ExclusionStep, Day: 1 + r.IntN(31),
			At: time.Duration(r.IntN(288)) * slo.ExclusionStep, Zone: zones[r.IntN(len(zones))],
			Days: []time.Weekday{time.Weekday(r.IntN(7)), time.Weekday(r.IntN(7))},
		}
		if e.Every == slo.Once {
			e.From = now.Add(time.Duration(r.Int64N(int64(30*24*time.Hour))) - 25*24*time.Hour).Truncate(slo.ExclusionStep)
		}
		d.Exclude = append(d.Exclude, e)
	}
	if d.Slice.Length > 0 {
		d.Slice.Target = []float64{0.5, 0.9, 0.95, 1}[r.IntN(4)]
	}
	if d.Fresh > 0 {
		d.Fresh = time.Duration(30+r.IntN(3600)) * time.Second
	}
	return d
}

// TestAgainstAllThatHappened runs random events, idle times, downtimes,
// restarts, crashes and redefinitions, and holds every figure against the model.
func TestAgainstAllThatHappened(t *testing.T) {
	bases := []Def{
		{Windows: []time.Duration{10 * 24 * time.Hour}},
		{Windows: []time.Duration{93 * 24 * time.Hour}},
		{Windows: []time.Duration{32 * 24 * time.Hour}, Slice: Slice{Length: time.Minute}},
		{Windows: []time.Duration{10 * 24 * time.Hour}, Slice: Slice{Length: 10 * time.Second}},
		{Windows: []time.Duration{10 * 24 * time.Hour}, Slice: Slice{Length: 4 * time.Minute}},
		{Windows: []time.Duration{10 * 24 * time.Hour}, Slice: Slice{Length: time.Hour}},
		{Windows: []time.Duration{32 * 24 * time.Hour}, Fresh: time.Hour},
	}
	const seeds = 4
	for i, base := range bases {
		base.ID = "checkout"
		for seed := range uint64(seeds) {
			t.Run(fmt.Sprintf("kind %d, seed %d", i, seed), func(t *testing.T) {
				t.Parallel()
				randomLife(t, rand.New(rand.NewPCG(uint64(i), seed)), base)
			})
		}
	}
}

func randomLife(t *testing.T, r *rand.Rand, base Def) {
	began := time.Date(2026, 1+time.Month(r.IntN(12)), 1+r.IntN(28), 0, 0, r.IntN(86_400), 0, time.UTC)
	l := New(began)
	m := &model{excluded: map[[2]int64]bool{}}
	var snapshot []byte
	var saved time.Time
	var journal [][]byte
	save := func() { snapshot, saved, journal = l.Snapshot(nil), l.Now(), nil }
	define := func() {
		d := m.defs[len(m.defs)-1]
		if afresh := l.Define([]Def{d}); len(afresh) > 0 {
			t.Fatalf("Define begins %v anew, want nothing", afresh)
		}
	}
	redefine := func() {
		m.defs = append(m.defs, anyDef(r, base, l.Now()))
		define()
		save()
	}
	redefine()
	m.ticks = append(m.ticks, tick{at: l.Now().UnixMilli()})

	pace := time.Second
	for i := range 2500 {
		if r.IntN(100) == 0 { // dense for a while, then thin
			pace = []time.Duration{2 * time.Second, 20 * time.Second, 50 * time.Second, time.Minute, 5 * time.Minute}[r.IntN(5)]
		}
		step := time.Duration(r.Int64N(int64(2 * pace)))
		switch r.IntN(300) {
		case 0:
			step = time.Duration(r.Int64N(int64(12 * time.Hour)))
		case 1:
			step = time.Duration(r.Int64N(int64(9 * 24 * time.Hour)))
		case 2:
			step = -time.Minute // a clock that goes back
		case 3: // a boundary, exactly
			step = l.Now().Truncate(time.Hour).Add(time.Hour).Sub(l.Now())
		}
		at := l.Now().Add(step).Truncate(time.Millisecond)
		e := Entry{ID: "checkout"}
		if r.IntN(3) > 0 {
			e.Good = uint64(r.IntN(20))
		}
		if r.IntN(4) == 0 {
			e.Bad = uint64(r.IntN(10))
		}
		journal = append(journal, AppendRecord(nil, at, []Entry{e}))
		l.Add(at, []Entry{e})
		m.ticks = append(m.ticks, tick{at: l.Now().UnixMilli(), def: len(m.defs) - 1, good: e.Good, bad: e.Bad})

		if l.Now().Sub(saved) > 24*time.Hour { // a snapshot has the cuts of some days
			save()
		}
		switch r.IntN(250) {
		case 0:
			redefine()
		case 1: // stopped and started
			save()
			fallthrough
		case 2: // killed and started
			var err error
			if l, err = Restore(snapshot); err != nil {
				t.Fatal(err)
			}
			for _, rec := range journal {
				if err := l.Replay(rec); err != nil {
					t.Fatal(err)
				}
			}
			define()
		}
		if i%250 == 249 || r.IntN(250) == 0 {
			s, ok := l.State("checkout")
			if !ok {
				t.Fatal("there is no state")
			}
			if err := m.check(s, l.Now().UnixMilli()); err != nil {
				t.Fatalf("after %d adds, at %v, of %+v: %v", i+1, l.Now().UTC(), m.defs[len(m.defs)-1], err)
			}
		}
	}
}
