package slo

import "time"

// BudgetLasts returns for how long the budget lasts if it goes on burning as it
// does; ok is false when it lasts: it burns no faster than it is earned, or is
// not gone before the calendar period ends. It is 0 of a budget that is spent.
//
// left is the share of the budget that is left, of a calendar period that of
// the period so far; burn is the burn rate of now. Traffic is taken as steady,
// and what rolls out of the window meanwhile is not counted.
func (o Objective) BudgetLasts(left, burn float64, now time.Time) (d time.Duration, ok bool) {
	switch {
	case left <= 0:
		return 0, true
	case !(burn > 1):
		return 0, false
	case o.Calendar.Unit == Rolling:
		return time.Duration(left / burn * float64(o.Window)), true
	}
	// Of a period in which the share 1−left of the budget was spent in the time
	// t, (1−left + burn·x/t) / (1 + x/t) is spent x later: all when x is this.
	start, end := o.Calendar.Bounds(now)
	x := left * float64(now.Sub(start)) / (burn - 1)
	return time.Duration(x), x < float64(end.Sub(now))
}
