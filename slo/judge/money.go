package judge

import (
	"time"

	"github.com/slowburn-slo/slowburn/slo/ledger"
)

const (
	// back is how much of the budget has to come back before a share counts as
	// not spent any more.
	back = 0.05

	// persist is how long the budget has to be about to run out before that is
	// told, and how long not before it is over. An incident that is over leaves
	// the burn over the last hour sooner.
	persist = 2 * hour

	// known is the share of the period that has to have been seen before it is
	// taken for the whole.
	known = 0.1
)

// money is what is told of the budget itself. Times are ms.
type money struct {
	spent      float64 // the highest share reached; 0: none
	spentSince int64
	period     int64   // start of the calendar period spent is of
	share      float64 // that is spent now

	out      bool
	outSince int64
	turned   int64 // since when it is about to be otherwise; 0: it is not
	gone     int64 // when the budget will be
}

// step judges the budget and reports whether what is told changed.
func (m *money) step(j *Judge, r *reading) (changed bool) {
	period := r.s.Period()
	used, has := period.Ratio()
	if !has {
		return false
	}
	m.share = used / j.budget
	if len(j.spent) > 0 {
		changed = m.judgeSpent(j, r, period)
	}
	if j.runsOut == nil {
		return changed
	}
	gone, soon := m.forecast(j, r)
	switch {
	case soon == m.out:
		m.turned = 0
	case m.turned == 0:
		m.turned = r.t
	case r.t-m.turned >= persist:
		m.out, m.outSince, m.turned, changed = soon, r.t, 0, true
	}
	if soon {
		m.gone = gone
	}
	return changed
}

func (m *money) judgeSpent(j *Judge, r *reading, period ledger.Window) (changed bool) {
	before := m.spent
	start := int64(0)
	if j.calendar {
		start = r.s.PeriodStart.UnixMilli()
	}
	if start != m.period {
		m.spent, m.period = 0, start
	}
	// Of a period that has just begun, or that nobody saw, only what is spent of
	// the whole counts, as if traffic were to go on steadily.
	share := m.share
	if seen := float64(r.t-max(j.first, start, r.t-period.Length.Milliseconds())) / float64(period.Length.Milliseconds()); seen < known {
		share *= seen
	}
	bad, _ := whole(&period)
	for i, s := range j.spent {
		if share >= s && bad >= j.min {
			m.spent = max(m.spent, s)
		}
		if s == m.spent && share < s-back {
			m.spent = 0
			for _, less := range j.spent[:i] {
				if share >= less-back {
					m.spent = less
				}
			}
		}
	}
	if m.spent != before {
		m.spentSince = r.t
		return true
	}
	return false
}

// forecast returns when the budget will be gone, and whether that is soon: before
// the period ends, or of a rolling one, which never does, within a quarter of it.
// It goes on burning as slowly as it did in the last hour, six hours or day.
func (m *money) forecast(j *Judge, r *reading) (gone int64, soon bool) {
	if j.sixHourly == 0 || j.hourly == 0 || r.t-j.first < 6*hour {
		return 0, false
	}
	six := &r.s.Windows[j.sixHourly-1]
	bad, total := whole(six)
	if bad < max(3, j.min) || j.counted && !exceeds(bad, total, j.budget) {
		return 0, false
	}
	burn := ratio(six.Bad, six.Total)
	last := &r.s.Windows[j.hourly-1]
	burn = min(burn, ratio(last.Bad, last.Total))
	if j.daily > 0 {
		w := &r.s.Windows[j.daily-1]
		burn = min(burn, ratio(w.Bad, w.Total))
	}
	lasts, ok := j.runsOut.BudgetLasts(1-m.share, burn/j.budget, time.UnixMilli(r.t))
	if !ok {
		return 0, false
	}
	if !j.calendar && lasts > j.runsOut.Window/4 {
		return 0, false
	}
	return r.t + lasts.Milliseconds(), true
}

// tell sets what a verdict says of the budget.
func (m *money) tell(v *Verdict) {
	v.SpentShare = m.share
	if m.spent > 0 {
		v.Spent, v.SpentSince = m.spent, at(m.spentSince)
	}
	if m.out {
		v.RunsOut, v.RunsOutSince, v.RunsOutAt = true, at(m.outSince), at(m.gone)
	}
}
