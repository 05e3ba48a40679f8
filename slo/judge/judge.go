// Package judge decides what alerts: from the counts of the ledger it tells, SLO
// by SLO, whether a page or a ticket fires, since when, by what evidence, and
// what is not known. It does what rules of burn rates cannot: it keeps one alert
// through flapping, holds it while no data arrives, lets it end as soon as
// recovery is certain, and asks for evidence where there is little traffic.
//
// It is pure. Time comes with the readings, which go forward; a Judge belongs to
// one goroutine. What it has to remember over a restart is a Saved.
package judge

import (
	"math"
	"math/bits"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

const (
	minute = 60_000 // ms
	hour   = 60 * minute
	day    = 24 * hour

	// unwatched is how long there is no reading before the time between counts
	// as a gap in which nobody watched: slowburn was down.
	unwatched = 90_000

	// An SLO younger than the long window of a tier that pages is judged by the
	// time it was seen, but not before youth, nor by fewer bad events than
	// youngBad. For a ticket the time before counts as good, with the same
	// traffic: by what was seen, a ticket would come before the page.
	youth    = 5 * minute
	youngBad = 10

	// lost is how long a firing alert waits for data before it ends without.
	lost = day
)

// Verdict is what a Judge says of an SLO after a reading.
type Verdict struct {
	Page, Ticket Alert

	// Spent is the highest share of Objective.Spent that was reached in this
	// period and still holds, 0 for none. SpentShare is the share of the budget
	// that is spent now, above 1 when it is overspent.
	Spent      float64
	SpentSince time.Time
	SpentShare float64

	// RunsOut says that the budget will be gone before the period ends, or of a
	// rolling one within a quarter of it, and when.
	RunsOut      bool
	RunsOutSince time.Time
	RunsOutAt    time.Time

	// Learning says that the SLO's first event is younger than the long window
	// of its fastest tier. TooLittle says that a tier burns too fast over both
	// windows but there are too few events to judge by.
	Learning, TooLittle bool

	// DataMissingSince is when events stopped that came steadily before; zero
	// while they arrive, while they are excluded, and where traffic is too low
	// to tell.
	DataMissingSince time.Time

	// Changed says that something fires or no longer does, or is kept longer
	// than before: Save now, so that a crash repeats nothing.
	Changed bool
}

// Alert is the alert of one severity.
type Alert struct {
	Firing bool
	Since  time.Time // when it began to fire; of one that ended, when that did

	// QuietSince is since when nothing burns although the alert is kept, until
	// KeptUntil at least; both are zero while it burns. While no data arrives
	// an alert stays as it was.
	QuietSince, KeptUntil time.Time

	// Outage says that (nearly) everything failed within seconds, and that no
	// tier has burned yet.
	Outage bool

	// Tier is the first tier that burns, or the last that did. Burn and Short
	// are the burn rates over its windows, Bad and Total the events in the long
	// one (of an outage, in the last seconds), at the last time it burned.
	Tier        slo.Tier
	Burn, Short float64
	Bad, Total  uint64

	// Confidence is how sure it is, in (0, 1), that not just these few events
	// but the service is past the limit of the tier; 0 where there are so many
	// bad events, ten and more, that nobody asks, or events are slices of time.
	Confidence float64

	Ended   End // why it ended; NotEnded while it fires and when it never did
	EndedAt time.Time
}

// End is why an alert ended.
type End uint8

// The ends: the SLO recovered, it burns on but slower than the tiers allow, or
// there was no data for a day.
const (
	NotEnded End = iota
	Recovered
	Slower
	NoData
)

// String returns the end as words.
func (e End) String() string {
	return [...]string{NotEnded: "not ended", Recovered: "recovered", Slower: "burns slower", NoData: "no data for a day"}[e]
}

// Judge decides about one SLO. It holds about 600 bytes.
type Judge struct {
	tiers  []slo.Tier
	places []place // of the tiers' windows in a state
	spent  []float64

	budget     float64
	min        uint64         // bad events an alert needs
	runsOut    *slo.Objective // nil: nobody asks
	calendar   bool           // its periods are the calendar's
	windows    uint8          // of a state
	hourly     uint8          // 1 + place of the window of an hour; 0: none
	sixHourly  uint8          // as well, of six
	daily      uint8
	counted    bool // events are requests, not slices or samples
	sliced     bool // events are slices of time, which pass without data
	seldom     bool // events arrive once a minute at best
	restored   bool
	unit       int64 // ms that count as a minute; see scaled
	fresh      int64 // number of the last unit in which events arrived
	upto       int64 // ms; the reading before the restart
	page, tick alarm
	money      money

	// What was read, times in ms.
	first          int64 // the first event; 0: none yet
	last           int64 // the last reading; 0: none since the start
	heard          int64 // the last reading with new events
	events, errors uint64
	open           uint64
	inHour         float32 // events in the hour before heard
	minutes        uint64  // which of the last 64 minutes had events, from bit 0
	missing        int64   // when events stopped; 0: they did not
	blind          bool    // events were missing, excluded, or nobody watched

	run    run
	recent *recent // nil: outages do not page
}

type place struct{ long, short uint8 }

// run is the longest time until now that shows no evidence of burning: it starts
// afresh whenever it does.
type run struct {
	Since      int64  `json:"since"` // ms
	Minutes    uint32 `json:"minutes"`
	Bad, Total uint64
}

// New returns a judge of an SLO.
func New(s slo.SLO) *Judge {
	o := s.Objective
	j := &Judge{
		tiers: o.Tiers, spent: o.Spent, calendar: o.Calendar.Unit != slo.Rolling,
		budget: o.Budget(), min: uint64(max(1, o.MinEvents)),
		sliced:  o.Slice > 0 && o.Kind != slo.Fresh,
		counted: o.Slice == 0 && o.Kind != slo.Fresh && o.Query.Ratio == "",
		seldom:  o.Slice > 0 || o.Kind == slo.Fresh || o.Kind == slo.PromQL,
	}
	at := map[time.Duration]uint8{}
	for i, w := range o.Windows() {
		at[w] = uint8(i)
		j.windows++
		switch w {
		case time.Hour:
			j.hourly = uint8(i) + 1
		case 6 * time.Hour:
			j.sixHourly = uint8(i) + 1
		case 24 * time.Hour:
			j.daily = uint8(i) + 1
		}
	}
	j.unit = minute
	for _, t := range o.Tiers {
		j.unit = max(min(j.unit, t.Short.Milliseconds()/5), leastUnit)
		j.places = append(j.places, place{at[t.Long], at[t.Short]})
	}
	if o.RunsOut {
		kept := o
		j.runsOut = &kept
	}
	if o.Outage && j.counted {
		j.recent = &recent{}
	}
	// What the windows hold at the start may be over: see alarm.guard.
	j.page.guarded, j.tick.guarded = true, true
	j.page.tier, j.tick.tier = -1, -1
	return j
}

// Step judges a reading of the ledger at now: the state of the SLO, whose windows
// are those of Objective.Windows, and, of an SLO that counts slices, the events
// in its open slice; see ledger.Open. Readings are a minute apart at most, every
// two seconds for outages; after a longer time nobody watched. It allocates
// nothing.
func (j *Judge) Step(now time.Time, s ledger.State, open uint64) Verdict {
	t := now.UnixMilli()
	if len(s.Windows) != int(j.windows) || t < j.last {
		return j.verdict(now)
	}
	r := j.read(t, &s, open)
	j.judgeTiers(&r)
	if j.recent != nil && !r.gap {
		j.recent.add(t, s.Events, s.Errors)
		if bad, total, ok := j.recent.outage(t); ok && j.oldEnough(t) && (len(j.tiers) == 0 || exceeds(bad, total, min(0.5, j.tiers[0].Factor*j.budget))) {
			r.outage, r.outageBad, r.outageTotal = true, bad, total
		}
	}
	if r.arrived && (j.page.firing || j.tick.firing) {
		j.run.add(j, &r)
	}
	changed := j.page.step(j, &r, slo.Page)
	if j.page.firing && !j.tick.firing {
		// The page says more. What it was for makes no ticket afterwards.
		j.tick.guard(&r)
	}
	changed = j.tick.step(j, &r, slo.Ticket) || changed
	changed = j.money.step(j, &r) || changed
	v := j.verdict(now)
	v.TooLittle, v.Changed = r.tooLittle, changed
	j.last, j.events, j.errors = t, s.Events, s.Errors
	return v
}

// reading is one reading and what follows from it at once.
type reading struct {
	t     int64
	s     *ledger.State
	took  int64 // ms since the reading before
	newly bool  // the first reading since the start

	bad, total  uint64 // new events
	arrived     bool   // data did: some events, or requests of the open slice
	freshMinute bool   // they are the first in this minute
	gap         bool   // there is no data, and it is known why or for too long
	resumed     bool   // arrived after a gap

	burns                  [2]int8 // tier that burns, by severity; -1: none
	outage                 bool
	outageBad, outageTotal uint64
	tooLittle              bool
}

// read takes notice of what arrived.
func (j *Judge) read(t int64, s *ledger.State, open uint64) reading {
	r := reading{t: t, s: s, burns: [2]int8{-1, -1}}
	if j.last == 0 {
		r.newly = true
		j.heard = t
		if j.restored {
			r.took = t - j.upto
			j.shift(t, j.upto)
		} else {
			if s.Events > 0 {
				j.first = s.Created.UnixMilli()
			}
			j.page.guard(&r)
			j.tick.guard(&r)
		}
	} else {
		r.took = t - j.last
		// After a crash the ledger may lack what it had not written.
		r.total = s.Events - min(j.events, s.Events)
		r.bad = min(s.Errors-min(j.errors, s.Errors), r.total)
		r.arrived = r.total > 0
		if j.sliced { // slices pass without data, too
			r.arrived = open > 0 && (open != j.open || r.total > 0)
		}
		j.shift(t, j.last)
	}
	j.open = open
	if r.arrived && j.first == 0 {
		j.first = t
	}
	if r.took > unwatched {
		j.heard, j.blind = t, true // it is us who did not hear
	}
	switch {
	case r.arrived:
		r.freshMinute = j.fresh != t/j.unit
		j.fresh = t / j.unit
		j.minutes |= 1
		r.resumed, j.blind = j.blind, false
		j.heard, j.missing = t, 0
		if j.hourly > 0 {
			j.inHour = float32(s.Windows[j.hourly-1].Total)
		}
	case s.Excluded:
		j.heard, j.missing, j.blind = t, 0, true
	case j.missing == 0 && t-j.heard > j.patience(t):
		j.missing, j.blind = j.heard, true
	}
	if r.resumed {
		// What arrived with the first reading after a gap, or after excluded time,
		// may be of before, and stands alone in the windows.
		j.page.guard(&r)
		j.tick.guard(&r)
	}
	r.gap = j.blind
	return r
}

// shift moves the minutes on from the reading before.
func (j *Judge) shift(t, before int64) {
	if gone := t/minute - before/minute; gone >= 0 && gone < 64 {
		j.minutes <<= gone
	} else {
		j.minutes = 0
	}
}

// patience returns for how long (ms) no events are no news: a minute of steady
// traffic, else ten times the mean time between events, or three times the mean
// time between minutes with any.
func (j *Judge) patience(t int64) int64 {
	const never = math.MaxInt64
	seen := min(60, (t-max(j.first, 1))/minute)
	busy := int64(bits.OnesCount64(j.minutes))
	if j.first == 0 || seen < 5 || busy == 0 {
		return never
	}
	wait := int64(minute)
	if j.seldom {
		wait = 3 * minute
	} else if j.inHour > 0 {
		wait = max(wait, int64(10*float64(min(hour, t-j.first))/float64(j.inHour)))
	}
	// The minutes of the silence itself are among those without events.
	if quiet := (t - j.heard) / minute; busy < seen-quiet-5 {
		wait = max(wait, 3*(seen-quiet)*minute/busy)
	}
	if wait > hour {
		return never
	}
	return wait
}

func (j *Judge) oldEnough(t int64) bool { return j.first > 0 && t-j.first >= j.scaled(youth) }

// leastUnit (ms) is what a minute is scaled to at the least: readings come every
// two seconds.
const leastUnit = 2_000

// scaled returns a time of the habits for this SLO. They are made for tiers whose
// short window is five minutes at least, the Workbook's. Where an SLO has
// shorter ones, because it is to react in seconds, all is so much shorter.
func (j *Judge) scaled(ms int64) int64 { return ms * j.unit / minute }

// judgeTiers finds the tiers that burn.
func (j *Judge) judgeTiers(r *reading) {
	for i := range j.tiers {
		t := &j.tiers[i]
		long, short := &r.s.Windows[j.places[i].long], &r.s.Windows[j.places[i].short]
		limit := t.Factor * j.budget
		if !(long.Bad > limit*long.Total && short.Bad > limit*short.Total) {
			continue
		}
		of := severity(t.Severity)
		if r.burns[of] >= 0 {
			continue
		}
		bad, total := whole(long)
		age := r.t - j.first
		young := age < t.Long.Milliseconds()
		if young && t.Severity != slo.Page && long.Bad*float64(age) <= limit*long.Total*float64(t.Long.Milliseconds()) {
			continue
		}
		switch {
		case bad < j.min,
			young && (bad < youngBad && j.counted || !j.oldEnough(r.t)),
			j.counted && bad < plenty && !exceeds(bad, total, limit):
			r.tooLittle = true
		default:
			r.burns[of] = int8(i)
		}
	}
}

func severity(s slo.Severity) int {
	if s == slo.Page {
		return 0
	}
	return 1
}

// whole returns the events of a window as whole numbers. The slot of the ledger
// that the far edge cuts counts in part: 2.4 bad events are two or three, and
// taken for three, so that no alert is missed for one that may be inside.
func whole(w *ledger.Window) (bad, total uint64) {
	bad = uint64(math.Ceil(w.Bad))
	return bad, max(bad, uint64(math.Round(w.Total)))
}

// add counts the events of a reading to the run, which begins anew where they
// are evidence of burning.
func (u *run) add(j *Judge, r *reading) {
	if r.resumed {
		*u = run{Since: r.t}
	}
	u.Bad += r.bad
	u.Total += r.total
	if r.freshMinute {
		u.Minutes++
	}
	switch {
	case r.bad > 0 && (!j.counted || exceeds(u.Bad, u.Total, j.budget)):
		*u = run{Since: r.t}
	case r.freshMinute && u.Minutes%60 == 0:
		u.Bad, u.Total = u.Bad/2, u.Total/2 // an hour ago is not what counts
	}
}

// calm reports whether the SLO has recovered: five minutes, scaled, with data in which it
// did not burn, and that would hold more bad events if it still went past limit.
func (j *Judge) calm(t int64, limit float64) bool {
	u := &j.run
	return j.counted && t-u.Since >= j.scaled(5*minute) && u.Minutes >= 5 && fallsShort(u.Bad, u.Total, limit)
}

func (j *Judge) verdict(now time.Time) Verdict {
	v := Verdict{Page: j.page.alert(j, slo.Page), Ticket: j.tick.alert(j, slo.Ticket)}
	j.money.tell(&v)
	if j.first > 0 && len(j.tiers) > 0 {
		v.Learning = now.UnixMilli()-j.first < j.tiers[0].Long.Milliseconds()
	}
	v.DataMissingSince = at(j.missing)
	return v
}

// at returns a time of ms, zero of none.
func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
