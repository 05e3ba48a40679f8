package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	t0      = time.UnixMilli(1_760_000_000_000)
	month   = 30 * 24 * time.Hour
	windows = []time.Duration{5 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour, 72 * time.Hour, month}
)

func newTest(t testing.TB) *Ledger {
	t.Helper()
	l := New(t0)
	l.Define([]Def{{ID: "checkout", Windows: windows}})
	return l
}

func state(t testing.TB, l *Ledger, id string) State {
	t.Helper()
	s, ok := l.State(id)
	if !ok {
		t.Fatalf("State(%q) is not there", id)
	}
	return s
}

// TestWindowsAgainstEveryEvent holds each window against a plain list of all
// events, over 40 days with incidents, a gap and a quiet night.
func TestWindowsAgainstEveryEvent(t *testing.T) {
	type event struct {
		at         int64
		good, bad  uint64
		spreadOver int64
	}
	l := newTest(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var all []event
	now := t0
	const step = 10 * time.Second
	for i := 0; now.Sub(t0) < 40*24*time.Hour; i++ {
		now = now.Add(step)
		if h := i / 360; h%24 == 3 || h == 500 { // nights, and one hour of silence
			l.Advance(now)
			continue
		}
		e := event{at: now.UnixMilli(), good: 40 + rng.Uint64N(20), spreadOver: step.Milliseconds()}
		if h := i / 360; h == 200 || h == 719 || i%997 == 0 {
			e.bad = rng.Uint64N(e.good)
			e.good -= e.bad
		}
		all = append(all, e)
		l.Add(now, []Entry{{ID: "checkout", Good: e.good, Bad: e.bad}})

		if i%35_000 != 34_999 {
			continue
		}
		for _, w := range state(t, l, "checkout").Windows {
			from := now.Add(-w.Length).UnixMilli()
			var bad, total float64
			for _, e := range all {
				if e.at > from {
					bad += float64(e.bad)
					total += float64(e.good + e.bad)
				}
			}
			// The edge may cut through one slot, of up to 60 events in 10 s.
			if slot := 60 * float64(resolution(w.Length)) / fineSlot; math.Abs(w.Total-total) > slot {
				t.Errorf("day %d, %v: total = %.1f, want %.1f within a slot", i/8640, w.Length, w.Total, total)
			}
			ratio, _ := w.Ratio()
			if want := bad / total; math.Abs(ratio-want) > 0.002 {
				t.Errorf("day %d, %v: ratio = %g, want %g", i/8640, w.Length, ratio, want)
			}
			if w.Length == month && math.Abs(ratio-bad/total)/0.001 > 0.001 {
				t.Errorf("day %d: budget is off by %.3f points of 99.9%%'s budget; want 0.1 at most", i/8640, 100*math.Abs(ratio-bad/total)/0.001)
			}
		}
	}
}

func TestYoungSLOCountsWhatItSaw(t *testing.T) {
	l := newTest(t)
	l.Add(t0.Add(time.Minute), []Entry{{ID: "checkout", Good: 90, Bad: 10}})
	s := state(t, l, "checkout")
	for _, w := range s.Windows {
		if r, ok := w.Ratio(); !ok || r != 0.1 {
			t.Errorf("ratio over %v = %g, %t; want 0.1", w.Length, r, ok)
		}
	}
	if s.Events != 100 || s.Errors != 10 {
		t.Errorf("totals = %d of %d; want 10 of 100", s.Errors, s.Events)
	}
}

func TestIdleWindowHasNoRatio(t *testing.T) {
	l := newTest(t)
	l.Add(t0, []Entry{{ID: "checkout", Good: 1}})
	l.Advance(t0.Add(10 * time.Minute))
	w, ok := state(t, l, "checkout").Window(5 * time.Minute)
	if _, has := w.Ratio(); !ok || has {
		t.Errorf("5m window after ten idle minutes = %+v; want no ratio", w)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	l := newTest(t)
	l.Add(t0.Add(time.Hour), []Entry{{ID: "checkout", Bad: 1}})
	l.Add(t0, []Entry{{ID: "checkout", Bad: 1}})
	if got := state(t, l, "checkout").Windows[0].Bad; got != 2 {
		t.Errorf("bad over 5m after the clock went back = %g; want 2", got)
	}
	if got := l.Now(); !got.Equal(t0.Add(time.Hour)) {
		t.Errorf("Now() = %v; want it to stay at %v", got, t0.Add(time.Hour))
	}
}

func TestIncidentRollsOffThePeriod(t *testing.T) {
	l := newTest(t)
	l.Add(t0, []Entry{{ID: "checkout", Bad: 100}})
	l.Add(t0.Add(month-coarseSlot*time.Millisecond), []Entry{{ID: "checkout", Good: 900}})
	if r, _ := state(t, l, "checkout").Period().Ratio(); r != 0.1 {
		t.Errorf("ratio a slot before roll-off = %g; want 0.1", r)
	}
	l.Advance(t0.Add(month + coarseSlot*time.Millisecond))
	if r, _ := state(t, l, "checkout").Period().Ratio(); r != 0 {
		t.Errorf("ratio a slot after roll-off = %g; want 0", r)
	}
}

func TestDefineKeepsHistory(t *testing.T) {
	l := newTest(t)
	l.Add(t0, []Entry{{ID: "checkout", Good: 3, Bad: 1}})

	l.Define([]Def{{ID: "checkout", Windows: []time.Duration{5 * time.Minute, 7 * 24 * time.Hour}}})
	if r, _ := state(t, l, "checkout").Period().Ratio(); r != 0.25 {
		t.Errorf("ratio after the period changed = %g; want 0.25", r)
	}
	l.Define(nil)
	if _, ok := l.State("checkout"); ok {
		t.Error("an SLO that is no longer defined has a state")
	}
	l.Advance(t0.Add(time.Hour))
	l.Define([]Def{{ID: "checkout", Windows: windows}})
	if s := state(t, l, "checkout"); s.Events != 4 || s.Errors != 1 {
		t.Errorf("totals after coming back = %d of %d; want 1 of 4", s.Errors, s.Events)
	}
	l.Define(nil)
	l.Advance(t0.Add(9 * 24 * time.Hour))
	l.Define(nil)
	l.Define([]Def{{ID: "checkout", Windows: windows}})
	if s := state(t, l, "checkout"); s.Events != 0 {
		t.Errorf("events after nine days away = %d; want a new account", s.Events)
	}
}

func TestSinceAndBurnStart(t *testing.T) {
	l := newTest(t)
	now := t0
	for i := range 360 { // an hour; errors in its last two minutes
		now = now.Add(10 * time.Second)
		e := Entry{ID: "checkout", Good: 10}
		if i >= 348 {
			e = Entry{ID: "checkout", Good: 6, Bad: 4}
		}
		l.Add(now, []Entry{e})
	}
	start := l.BurnStart("checkout", now, 0.001)
	if want := t0.Add(349 * 10 * time.Second); !start.Equal(want) {
		t.Errorf("BurnStart = %v; want %v", start, want)
	}
	if bad, total := l.Since("checkout", start); bad != 48 || total != 120 {
		t.Errorf("Since(start) = %d of %d; want 48 of 120", bad, total)
	}
	if got := l.BurnStart("checkout", t0.Add(10*time.Minute), 0.001); !got.Equal(t0.Add(10 * time.Minute)) {
		t.Errorf("BurnStart in calm = %v; want the time asked for", got)
	}
}

// random fills a ledger of several SLOs with seeded events.
func random(seed uint64) *Ledger {
	rng := rand.New(rand.NewPCG(seed, 7))
	l := New(t0)
	var defs []Def
	for i := range 5 {
		defs = append(defs, Def{ID: fmt.Sprintf("slo-%d", i), Windows: windows[rng.IntN(3):]})
	}
	l.Define(defs)
	now := t0
	for range 3000 {
		now = now.Add(time.Duration(rng.ExpFloat64() * float64(10*time.Minute)))
		l.Add(now, []Entry{{ID: defs[rng.IntN(5)].ID, Good: rng.Uint64N(1000), Bad: rng.Uint64N(10)}})
	}
	return l
}

func same(t *testing.T, got, want *Ledger, ids ...string) {
	t.Helper()
	for _, id := range ids {
		g, w := state(t, got, id), state(t, want, id)
		if fmt.Sprint(g) != fmt.Sprint(w) {
			t.Errorf("%s restored:\n%v\nwant:\n%v", id, g, w)
		}
	}
}

func TestSnapshotAndReplayRestoreExactly(t *testing.T) {
	for seed := range uint64(5) {
		want := random(seed)
		ids := want.IDs()
		var defs []Def
		for _, id := range ids {
			var ws []time.Duration
			for _, w := range state(t, want, id).Windows {
				ws = append(ws, w.Length)
			}
			defs = append(defs, Def{ID: id, Windows: ws})
		}
		snap := want.Snapshot(nil)
		got, err := Restore(snap)
		if err != nil {
			t.Fatal(err)
		}
		if again := got.Snapshot(nil); !bytes.Equal(again, snap) {
			t.Error("the snapshot of a restored ledger differs from the one it came from")
		}
		got.Define(defs)
		same(t, got, want, ids...)

		for i := range 50 { // the journal after the snapshot
			now := want.Now().Add(time.Duration(i) * 7 * time.Second)
			entries := []Entry{{ID: ids[i%5], Good: uint64(i), Bad: uint64(i % 3)}, {ID: ids[(i+1)%5]}}
			want.Add(now, entries)
			if err := got.Replay(AppendRecord(nil, now, entries)); err != nil {
				t.Fatal(err)
			}
		}
		same(t, got, want, ids...)
	}
}

func TestReplayIntoAnEmptyLedger(t *testing.T) {
	l := New(t0)
	if err := l.Replay(AppendRecord(nil, t0.Add(time.Minute), []Entry{{ID: "checkout", Good: 9, Bad: 1}})); err != nil {
		t.Fatal(err)
	}
	l.Define([]Def{{ID: "checkout", Windows: windows}})
	if r, _ := state(t, l, "checkout").Period().Ratio(); r != 0.1 {
		t.Errorf("ratio = %g; want 0.1", r)
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	snap := random(1).Snapshot(nil)
	for i := 0; i < len(snap); i += 1 + i/40 {
		bent := bytes.Clone(snap)
		bent[i] ^= 0x10
		if _, err := Restore(bent); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Restore with byte %d bent: %v; want ErrCorrupt", i, err)
		}
	}
	for _, n := range []int{0, 5, 12, len(snap) - 1} {
		if _, err := Restore(snap[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Restore of %d bytes: %v; want ErrCorrupt", n, err)
		}
	}
}

// FuzzReplay: what is read without error is what a journal would write again.
func FuzzReplay(f *testing.F) {
	f.Add(AppendRecord(nil, t0, []Entry{{ID: "checkout", Good: 1, Bad: 2}}))
	f.Add([]byte{0, 1})
	f.Add([]byte{1, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, src []byte) {
		l := New(t0)
		if err := l.Replay(src); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("Replay: %v; want ErrCorrupt", err)
			}
			return
		}
		back, err := Restore(l.Snapshot(nil))
		if err != nil {
			t.Fatalf("the snapshot after a replay: %v", err)
		}
		if got, want := back.Snapshot(nil), l.Snapshot(nil); !bytes.Equal(got, want) {
			t.Errorf("restored and written again: %x; want %x", got, want)
		}
	})
}

func BenchmarkTick(b *testing.B) {
	for _, kind := range []string{"plain", "hard"} {
		for _, n := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/slos=%d", kind, n), func(b *testing.B) {
				l, entries := many(kind, n)
				now := t0
				b.ReportAllocs()
				for b.Loop() {
					now = now.Add(2 * time.Second)
					l.Add(now, entries)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/slo")
			})
		}
	}
}

func BenchmarkState(b *testing.B) {
	for _, kind := range []string{"plain", "hard"} {
		b.Run(kind, func(b *testing.B) {
			l, entries := many(kind, 1000)
			l.Add(t0, entries)
			b.ReportAllocs()
			for b.Loop() {
				for _, e := range entries {
					l.State(e.ID)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/slo")
		})
	}
}

// BenchmarkDefine is a reload of 1,000 SLOs that are known, with what they hold.
func BenchmarkDefine(b *testing.B) {
	for _, kind := range []string{"plain", "hard"} {
		b.Run(kind, func(b *testing.B) {
			l, entries := many(kind, 1000)
			for at := t0; at.Before(t0.Add(month)); at = at.Add(4 * time.Hour) {
				l.Add(at, entries)
			}
			defs := defsOf(kind, 1000)
			b.ReportAllocs()
			for b.Loop() {
				l.Define(defs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/slo")
		})
	}
}

func defsOf(kind string, n int) []Def {
	defs := make([]Def, n)
	for i := range defs {
		defs[i] = Def{ID: fmt.Sprint(i), Windows: windows}
		if kind == "hard" {
			defs[i] = hard(defs[i].ID)
		}
	}
	return defs
}

func many(kind string, n int) (*Ledger, []Entry) {
	l := New(t0)
	defs := defsOf(kind, n)
	entries := make([]Entry, n)
	for i := range defs {
		entries[i] = Entry{ID: defs[i].ID, Good: 100, Bad: 1}
	}
	l.Define(defs)
	return l, entries
}
