package series

import "time"

// Series that exported rules record on the way to error ratios. None begins
// with slo:sli_error:ratio_rate, which tools take for a ratio.
const (
	ErrorsPerMinute = "slo:events_error:increase1m" // events of one minute
	EventsPerMinute = "slo:events_total:increase1m"
	ErrorsPer5m     = "slo:events_error:increase5m" // sums of five of them
	EventsPer5m     = "slo:events_total:increase5m"

	// Held are slowburn's counters, each kept at its last value after its
	// collector has gone.
	ErrorsHeld = "slo:errors:held"
	EventsHeld = "slo:events:held"

	// Source is the label that tells, in a service that has both, what was
	// recorded from counters and from metrics.
	Source = "slowburn_source"
)

// ErrorsOver returns the name of the count of bad events over a window, e.g.
// slo:events_error:count1h.
func ErrorsOver(window time.Duration) string { return "slo:events_error:count" + WindowName(window) }

// Slow returns the name of an error ratio over a long window as it is computed
// every five minutes; what dashboards and alerts read repeats it more often.
func Slow(window time.Duration) string { return "slo:sli_error_5m:ratio_rate" + WindowName(window) }
