package ledger

import (
	"slices"
	"testing"
	"time"
)

func TestSlots(t *testing.T) {
	began := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	l := New(began)
	l.Define([]Def{{ID: "a", Windows: []time.Duration{time.Hour, 24 * time.Hour}}})
	for i := range 60 {
		l.Add(began.Add(time.Duration(i)*time.Minute), []Entry{{ID: "a", Good: 1, Bad: 1}})
	}
	got := make([]uint64, 3)
	if !l.Slots("a", began.Add(11*time.Minute), got) || !slices.Equal(got, []uint64{10, 10, 10}) {
		t.Errorf("Slots = %v, want 10 each: five minutes of two events", got)
	}
	for name, from := range map[string]time.Time{"before it was defined": began.Add(-time.Minute), "ahead": began.Add(50 * time.Minute)} {
		if l.Slots("a", from, got) {
			t.Errorf("Slots from %s = %v, want none", name, got)
		}
	}
	if l.Slots("b", began, got) {
		t.Error("Slots of an SLO that is not known: got some, want none")
	}
}

func TestOpen(t *testing.T) {
	began := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	l := New(began)
	l.Define([]Def{{ID: "a", Windows: []time.Duration{time.Hour}, Slice: Slice{Length: time.Minute, Target: 0.9}}, {ID: "b", Windows: []time.Duration{time.Hour}}})
	both := []Entry{{ID: "a", Good: 2, Bad: 1}, {ID: "b", Good: 2}}
	l.Add(began.Add(10*time.Second), both)
	l.Add(began.Add(20*time.Second), both)
	if got := l.Open("a"); got != 6 {
		t.Errorf("Open = %d, want 6", got)
	}
	l.Advance(began.Add(time.Minute))
	if a, b, c := l.Open("a"), l.Open("b"), l.Open("c"); a != 0 || b != 0 || c != 0 {
		t.Errorf("Open after the slice, of an SLO of events and of none = %d, %d, %d, want 0", a, b, c)
	}
}
