package judge

import (
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

const (
	// expectedMin is how many events a quarter of an hour has to bring before
	// their absence means something.
	expectedMin = 20

	// absent is the share of the expected traffic below which it is missing.
	absent = 0.01
)

// Traffic judges whether the traffic of a flow is there that was there a week
// ago, or a day ago while there is no week of history. Traffic that is missing
// for a day is given up, until it comes back. Missing traffic is
// neither good nor bad to any objective. The zero Traffic is ready; it belongs
// to one goroutine.
type Traffic struct {
	last     int64 // ms; the last reading
	watching int64 // ms; since when readings come, without what is excluded
	missing  int64 // ms; 0: it is not
	expected uint64
	back     int64 // ms; since when there is traffic again
	given    bool  // up, after a day without: nothing is missing until traffic was back
}

// TrafficVerdict is what a Traffic says.
type TrafficVerdict struct {
	Missing  bool
	Since    time.Time
	Expected uint64 // events in a quarter of an hour
	Changed  bool   // keep Save's result now
}

// TrafficOf returns the SLO by whose account the traffic of a flow is judged:
// the first that counts events as they are. ok is false when there is none, as
// of a flow with nothing but slices of time.
func TrafficOf(f *slo.Flow) (s slo.SLO, ok bool) {
	for _, s := range f.SLOs() {
		if o := &s.Objective; o.Slice == 0 && o.Kind != slo.Fresh && o.Query.Ratio == "" {
			return s, true
		}
	}
	return slo.SLO{}, false
}

// Step judges the traffic that the ledger counted for an SLO; once or twice a
// minute is enough, and a minute and a half apart at most. excluded says that
// events do not count now: nobody expects them then, nor for a quarter of an
// hour after.
//
// The traffic expected is the least that any quarter of the hour around the same
// time brought, so that a job which begins or ends a few minutes otherwise than
// last week is not missed.
func (f *Traffic) Step(now time.Time, l *ledger.Ledger, id string, excluded bool) TrafficVerdict {
	t := now.UnixMilli()
	if f.last == 0 || t-f.last > unwatched || excluded {
		f.watching = t
	}
	f.last = t
	v := TrafficVerdict{}
	switch {
	case f.given:
		f.given = !f.returned(now, l, id)
		v.Changed = !f.given
	case f.missing == 0:
		if t-f.watching >= 15*minute && f.gone(now, l, id) {
			f.missing, f.back, v.Changed = t, 0, true
		}
	case f.returned(now, l, id):
		f.missing, v.Changed = 0, true
	case t-f.missing >= lost:
		f.missing, f.given, v.Changed = 0, true, true
	}
	if f.missing > 0 {
		v.Missing, v.Since, v.Expected = true, at(f.missing), f.expected
	}
	return v
}

func (f *Traffic) gone(now time.Time, l *ledger.Ledger, id string) bool {
	_, got := l.Since(id, now.Add(-15*time.Minute+10*time.Second))
	if got >= 1_000_000 { // it cannot be 1 % of what fits into the ledger's slots
		return false
	}
	expected, ok := usual(now, l, id)
	if !ok || expected < expectedMin || float64(got) >= absent*float64(expected) {
		return false
	}
	f.expected = expected
	return true
}

// returned reports whether traffic is back for five minutes.
func (f *Traffic) returned(now time.Time, l *ledger.Ledger, id string) bool {
	_, got := l.Since(id, now.Add(-5*time.Minute+10*time.Second))
	if got == 0 || float64(got) < absent*float64(f.expected)/3 {
		f.back = 0
		return false
	}
	if f.back == 0 {
		f.back = now.UnixMilli()
	}
	return now.UnixMilli()-f.back >= 5*minute
}

// usual returns the traffic expected in the quarter of an hour that ends now.
func usual(now time.Time, l *ledger.Ledger, id string) (events uint64, ok bool) {
	const slot = 5 * time.Minute
	var slots [13]uint64 // 65 minutes around the middle of the last 15
	for _, ago := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour} {
		if !l.Slots(id, now.Truncate(slot).Add(-ago-8*slot), slots[:]) {
			continue
		}
		least := ^uint64(0)
		for i := range len(slots) - 2 {
			least = min(least, slots[i]+slots[i+1]+slots[i+2])
		}
		return least, true
	}
	return 0, false
}

// SavedTraffic is what a Traffic has to remember over a restart. Times are ms
// since 1970.
type SavedTraffic struct {
	Missing  int64  `json:"missing,omitempty"` // 0: it is not
	Expected uint64 `json:"expected,omitempty"`
	Given    bool   `json:"given,omitempty"` // up, after a day without
}

// Save returns what the Traffic has to remember.
func (f *Traffic) Save() SavedTraffic { return SavedTraffic{f.missing, f.expected, f.given} }

// Restore takes up what was saved, before the first Step.
func (f *Traffic) Restore(s SavedTraffic) {
	f.missing, f.expected, f.given = s.Missing, s.Expected, s.Given
}
