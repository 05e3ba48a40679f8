package words

import (
	"fmt"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// Period names the calendar period that holds t: November, week 47, Q4. It is
// empty of a window that rolls.
func Period(c slo.Calendar, t time.Time) string {
	if c.Unit == slo.Rolling {
		return ""
	}
	start, _ := c.Bounds(t)
	switch c.Unit {
	case slo.Week:
		_, week := start.ISOWeek()
		return fmt.Sprintf("week %d", week)
	case slo.Month:
		return start.Month().String()
	default:
		return fmt.Sprintf("Q%d", (start.Month()+2)/3)
	}
}

// Units counts things whose plural ends in s: 1 request, 13,300 requests.
func Units(n uint64, plural string) string {
	if n == 1 {
		return "1 " + plural[:len(plural)-1]
	}
	return Count(n) + " " + plural
}
