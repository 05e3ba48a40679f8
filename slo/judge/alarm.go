package judge

import (
	"math"

	"github.com/slowburn-slo/slowburn/slo"
)

// habits are how an alert of a severity ends. Times are ms, or less: see
// Judge.scaled.
type habits struct {
	// quiet is for how long no tier burns before the alert ends if the SLO has
	// not recovered, with data in five minutes of that. It is twice as long
	// while that may be chance.
	quiet int64

	// An alert that burned for less than solid ends after keep at the earliest:
	// it may be the first of many.
	solid, keep int64

	// One that burns again within again of the last time is kept for one and a
	// half times as long as that took, most at the most.
	again, most int64

	// wait is for how long there has to be new evidence before the alert fires
	// again.
	wait int64
}

var habit = [2]habits{
	// A service that fails for a minute in ten is one incident; so is one that
	// fails five minutes in sixty, from the second time on.
	{quiet: 15 * minute, solid: 10 * minute, keep: 15 * minute, again: 3 * hour, most: 4 * hour, wait: 0},
	{quiet: 30 * minute, solid: 0, keep: 30 * minute, again: day, most: 36 * hour, wait: 5 * minute},
}

// alarm is the alert of one severity. Times are ms.
type alarm struct {
	firing bool
	active bool // it burns, or there was no data since it did
	outage bool // it is for an outage, and no tier has burned yet
	tier   int8 // that burned last; -1: none
	ended  End

	// guarded says that the windows may still hold an incident that is over: the
	// alert fires only if what came since the mark is evidence of burning.
	guarded                bool
	markEvents, markErrors uint64
	evident                int64 // since when it is; 0: it is not

	since, endedAt int64
	burned         int64 // for how long it was active
	quietSince     int64 // of this alert, or how the last one ended; 0: active
	hold           int64 // how long it is kept after it burned again; 0: it has not

	idleSince int64 // since when no tier burns; then the mark is set, too
	idle      int64 // minutes with data since

	limit       float64 // of the highest tier that burned; 0: none did
	burn, short float64
	bad, total  uint64
	sure        float64
}

// guard sets the mark to now.
func (a *alarm) guard(r *reading) {
	a.guarded, a.markEvents, a.markErrors, a.evident = true, r.s.Events, r.s.Errors, 0
}

// step judges a reading and reports whether what has to be remembered changed.
func (a *alarm) step(j *Judge, r *reading, s slo.Severity) (changed bool) {
	of := severity(s)
	outage := r.outage && s == slo.Page
	burning := r.burns[of] >= 0 || outage
	if !a.firing {
		switch {
		case !burning:
			if r.arrived && a.guarded && !j.stillBurns(r, s) {
				a.guarded = false
			}
		case !a.guarded || a.burnsSinceMark(j, r, of):
			a.fire(j, r, of)
			a.measure(j, r, of)
			return true
		}
		return false
	}
	if !r.arrived {
		if r.t-j.heard >= lost {
			a.end(r, NoData)
			return true
		}
		return false
	}
	if r.resumed {
		// No data was no recovery: what is quiet is so from now on.
		a.active, a.quietSince, a.idle = true, 0, 0
	}
	calm := j.calm(r.t, a.lowest(j, of)) && !outage
	burning = burning || j.stillBurns(r, s)
	if burning && !calm {
		if !a.active {
			if gap := r.t - a.quietSince; gap >= j.unit {
				a.repeat(j, gap, of)
				changed = true
			}
		} else if r.took <= unwatched && !r.resumed {
			a.burned += r.took
		}
		a.active, a.quietSince, a.idle = true, 0, 0
		a.measure(j, r, of)
		return changed
	}
	if a.active {
		a.active, a.quietSince = false, r.t
		if calm {
			a.quietSince = j.run.Since
		}
		a.rest(r)
		changed = true
	}
	if burning {
		a.rest(r)
	} else if r.freshMinute {
		a.idle++
	}
	if (calm || a.slower(j, r, of)) && r.t-a.quietSince >= a.kept(j, of) {
		end := Slower
		if calm || !j.counted && r.bad == 0 {
			end = Recovered
		}
		a.end(r, end)
		return true
	}
	return changed
}

// eased is the share of its factor below which a tier that burned no longer
// does: on the limit itself a few events more or less would end and begin an
// alert over and over.
const eased = 0.75

// stillBurns reports whether a tier of an alert that fires burns on.
func (j *Judge) stillBurns(r *reading, s slo.Severity) bool {
	for i := range j.tiers {
		t := &j.tiers[i]
		long, short := &r.s.Windows[j.places[i].long], &r.s.Windows[j.places[i].short]
		limit := eased * t.Factor * j.budget
		if severity(t.Severity) == severity(s) && long.Bad > limit*long.Total && short.Bad > limit*short.Total {
			return true
		}
	}
	return false
}

// rest lets the time in which no tier burns begin now.
func (a *alarm) rest(r *reading) {
	a.idle, a.idleSince = 0, r.t
	a.markEvents, a.markErrors = r.s.Events, r.s.Errors
}

// slower reports whether no tier has burned for long enough to believe it.
func (a *alarm) slower(j *Judge, r *reading, of int) bool {
	idle, quiet := r.t-a.idleSince, j.scaled(habit[of].quiet)
	switch {
	case a.idle < 5:
		return false
	case !j.counted: // slices are not a sample
		return idle >= quiet/3
	case idle < quiet:
		return false
	case idle >= 2*quiet:
		return true
	}
	bad, total := a.sinceMark(r)
	return fallsShort(bad, total, a.lowest(j, of))
}

func (a *alarm) sinceMark(r *reading) (bad, total uint64) {
	total = r.s.Events - min(a.markEvents, r.s.Events)
	return min(r.s.Errors-min(a.markErrors, r.s.Errors), total), total
}

// burnsSinceMark reports whether the events since the mark are evidence that the
// budget burns too fast to last; for a ticket, if they are so for a while: if
// the incident comes again, the page is to be the first to say so.
func (a *alarm) burnsSinceMark(j *Judge, r *reading, of int) bool {
	if !a.evidentSinceMark(j, r) {
		a.evident = 0
		return false
	}
	if a.evident == 0 {
		a.evident = r.t
	}
	return r.t-a.evident >= j.scaled(habit[of].wait)
}

func (a *alarm) evidentSinceMark(j *Judge, r *reading) bool {
	bad, total := a.sinceMark(r)
	if !j.counted {
		return bad >= j.min && float64(bad) > j.budget*float64(total)
	}
	return bad >= max(3, j.min) && beyond(bad, total, j.budget, certainty)
}

func (a *alarm) fire(j *Judge, r *reading, of int) {
	gap := r.t - a.quietSince
	again := a.since > 0 && a.quietSince > 0 && gap <= j.scaled(habit[of].again)
	if !again {
		a.hold = 0
	}
	a.firing, a.since, a.guarded = true, r.t, false
	a.active, a.burned, a.quietSince, a.idle = true, 0, 0, 0
	a.limit, a.outage, a.tier, a.ended, a.endedAt = 0, false, -1, NotEnded, 0
	if again {
		a.repeat(j, gap, of)
	}
	if !j.page.firing || !j.tick.firing { // else it goes on
		j.run = run{Since: r.t}
	}
}

// repeat keeps the alert longer than the time after which it burned again.
func (a *alarm) repeat(j *Judge, gap int64, of int) {
	h := habit[of]
	a.hold = max(a.hold, j.scaled(h.keep), min(gap+gap/2, j.scaled(h.most)))
}

// kept returns for how long the alert stays after it burned last.
func (a *alarm) kept(j *Judge, of int) int64 {
	switch {
	case a.hold > 0:
		return a.hold
	case a.burned < j.scaled(habit[of].solid):
		return j.scaled(habit[of].keep)
	}
	return 0
}

func (a *alarm) end(r *reading, why End) {
	if a.quietSince == 0 {
		a.quietSince = r.t
	}
	a.firing, a.active, a.since = false, false, r.t
	a.ended, a.endedAt = why, r.t
	a.guard(r)
}

// lowest returns the share of bad events that recovery has to be below: that of
// the highest tier that burned.
func (a *alarm) lowest(j *Judge, of int) float64 {
	if a.limit > 0 {
		return a.limit
	}
	for i := range j.tiers {
		if severity(j.tiers[i].Severity) == of {
			return j.tiers[i].Factor * j.budget
		}
	}
	return min(0.5, 14.4*j.budget)
}

// measure notes by what the alert burns.
func (a *alarm) measure(j *Judge, r *reading, of int) {
	i := r.burns[of]
	if i < 0 {
		if a.tier < 0 && r.outage {
			a.outage = true
			a.bad, a.total, a.sure = r.outageBad, r.outageTotal, 0
			a.burn = ratio(float64(a.bad), float64(a.total)) / j.budget
			a.short = a.burn
		}
		return
	}
	t, at := &j.tiers[i], j.places[i]
	long, short := &r.s.Windows[at.long], &r.s.Windows[at.short]
	limit := t.Factor * j.budget
	a.tier, a.outage, a.limit = i, false, math.Max(a.limit, limit)
	a.bad, a.total = whole(long)
	a.burn, a.short = ratio(long.Bad, long.Total)/j.budget, ratio(short.Bad, short.Total)/j.budget
	a.sure = 0
	if j.counted && a.bad < plenty {
		a.sure = 1 - atLeast(a.bad, a.total, limit)
	}
}

func ratio(bad, total float64) float64 {
	if total <= 0 {
		return 0
	}
	return min(bad/total, 1)
}

func (a *alarm) alert(j *Judge, s slo.Severity) Alert {
	v := Alert{
		Firing: a.firing, Since: at(a.since), Outage: a.outage,
		Burn: a.burn, Short: a.short, Bad: a.bad, Total: a.total, Confidence: a.sure,
		Ended: a.ended, EndedAt: at(a.endedAt),
	}
	if a.tier >= 0 && int(a.tier) < len(j.tiers) {
		v.Tier = j.tiers[a.tier]
	}
	if a.firing && !a.active {
		v.QuietSince = at(a.quietSince)
		v.KeptUntil = at(a.quietSince + a.kept(j, severity(s)))
	}
	return v
}
