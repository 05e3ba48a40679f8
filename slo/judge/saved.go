package judge

import "time"

// Saved is what a Judge has to remember over a restart, to be kept as JSON. Times
// are ms since 1970.
type Saved struct {
	First   int64       `json:"first,omitempty"`
	At      int64       `json:"at"` // of the last reading
	Missing int64       `json:"missing,omitempty"`
	Run     run         `json:"run"`
	Page    SavedAlarm  `json:"page"`
	Ticket  SavedAlarm  `json:"ticket"`
	Budget  SavedBudget `json:"budget"`
	Minutes uint64      `json:"minutes,omitempty"`
}

// SavedAlarm is an alert of a Saved.
type SavedAlarm struct {
	Firing     bool    `json:"firing,omitempty"`
	Active     bool    `json:"active,omitempty"`
	Guarded    bool    `json:"guarded,omitempty"`
	Outage     bool    `json:"outage,omitempty"`
	Since      int64   `json:"since,omitempty"`
	Burned     int64   `json:"burned,omitempty"`
	QuietSince int64   `json:"quiet_since,omitempty"`
	Hold       int64   `json:"hold,omitempty"`
	MarkEvents uint64  `json:"mark_events,omitempty"`
	MarkErrors uint64  `json:"mark_errors,omitempty"`
	Tier       int8    `json:"tier,omitempty"`
	Limit      float64 `json:"limit,omitempty"`
	Burn       float64 `json:"burn,omitempty"`
	Short      float64 `json:"short,omitempty"`
	Bad        uint64  `json:"bad,omitempty"`
	Total      uint64  `json:"total,omitempty"`
	Sure       float64 `json:"sure,omitempty"`
	Ended      End     `json:"ended,omitempty"`
	EndedAt    int64   `json:"ended_at,omitempty"`
}

// SavedBudget is what was told of the budget.
type SavedBudget struct {
	Spent      float64 `json:"spent,omitempty"`
	SpentSince int64   `json:"spent_since,omitempty"`
	Period     int64   `json:"period,omitempty"`
	Out        bool    `json:"out,omitempty"`
	OutSince   int64   `json:"out_since,omitempty"`
	Turned     int64   `json:"turned,omitempty"`
	Gone       int64   `json:"gone,omitempty"`
}

// Save returns what the judge has to remember. It is kept whenever a Verdict is
// Changed, and every few minutes.
func (j *Judge) Save() Saved {
	m := &j.money
	return Saved{
		First: j.first, At: j.last, Missing: j.missing, Run: j.run, Minutes: j.minutes, Page: j.page.save(), Ticket: j.tick.save(),
		Budget: SavedBudget{m.spent, m.spentSince, m.period, m.out, m.outSince, m.turned, m.gone},
	}
}

// Restore takes up what an earlier judge of the SLO has saved, before the first
// Step. until is up to when the ledger has counted: its Now before it is advanced
// over the time in which nothing ran. The SLO may have changed since: what does
// not hold any more ends.
func (j *Judge) Restore(s Saved, until time.Time) {
	j.restored, j.upto = true, until.UnixMilli()
	j.first, j.run, j.minutes = s.First, s.Run, s.Minutes
	j.missing, j.blind = s.Missing, s.Missing > 0
	j.shift(j.upto, s.At)
	j.page.restore(s.Page)
	j.tick.restore(s.Ticket)
	if stale := j.upto - s.At; stale > 0 { // after a crash
		j.run = run{Since: j.upto}
		for _, a := range []*alarm{&j.page, &j.tick} {
			if a.active {
				a.burned += stale
			}
		}
	}
	b := s.Budget
	j.money = money{
		spent: b.Spent, spentSince: b.SpentSince, period: b.Period,
		out: b.Out && j.runsOut != nil, outSince: b.OutSince, turned: b.Turned, gone: b.Gone,
	}
	if len(j.spent) == 0 {
		j.money.spent = 0
	}
}

func (a *alarm) save() SavedAlarm {
	return SavedAlarm{
		Firing: a.firing, Active: a.active, Guarded: a.guarded, Outage: a.outage, Since: a.since, Burned: a.burned,
		QuietSince: a.quietSince, Hold: a.hold, MarkEvents: a.markEvents, MarkErrors: a.markErrors,
		Tier: a.tier, Limit: a.limit, Burn: a.burn, Short: a.short, Bad: a.bad, Total: a.total, Sure: a.sure,
		Ended: a.ended, EndedAt: a.endedAt,
	}
}

func (a *alarm) restore(s SavedAlarm) {
	*a = alarm{
		firing: s.Firing, active: s.Active, guarded: s.Guarded, outage: s.Outage, since: s.Since, burned: s.Burned,
		quietSince: s.QuietSince, hold: s.Hold, markEvents: s.MarkEvents, markErrors: s.MarkErrors,
		tier: s.Tier, limit: s.Limit, burn: s.Burn, short: s.Short, bad: s.Bad, total: s.Total, sure: s.Sure,
		ended: s.Ended, endedAt: s.EndedAt,
	}
}
