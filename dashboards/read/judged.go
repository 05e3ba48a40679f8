package read

import "time"

// Culprit is what sets the bad requests of a flow apart: a value of an
// attribute, or two values together.
type Culprit struct {
	Values []Value // one or two

	// Symptom says that the values are how requests fail, such as a status
	// code, not where.
	Symptom bool

	Bad    float64 // share of the bad requests that have the values, in [0, 1]
	Normal float64 // share of requests that normally do

	BadCount, GoodCount uint64 // requests that have the values
}

// Value is a value of an attribute, from outside.
type Value struct{ Attribute, Text string }

// Judgement is what keeps an SLO from being judged by its burn rates alone. The
// zero Judgement says that nothing does.
type Judgement struct {
	// TooLittle says that it burns too fast, but on too few events to judge by:
	// Bad of Total, which may be 0 where the counts are not known.
	TooLittle  bool
	Bad, Total uint64

	// Learning says that it is younger than the window its first alert looks
	// back over.
	Learning bool

	// DataMissingSince is when events stopped that came steadily before; while
	// they do, an alert that fires is held.
	DataMissingSince time.Time

	// TrafficMissingSince is since when there is hardly any of the traffic that
	// there was at this time before, which was Expected events in 15 minutes.
	TrafficMissingSince time.Time
	Expected            uint64

	// QuietSince is since when nothing burns although an alert is kept, until
	// KeptUntil at least.
	QuietSince, KeptUntil time.Time
}
