// Package synth makes the traffic of a shop, with scripted incidents: the demo,
// tests and benchmarks share it.
//
// It is pure and seeded: no clock, no goroutines, no I/O; what it makes depends
// on its arguments alone. Counts gives history in bulk, Next live requests one
// by one, Batch requests as OTLP bytes. All three follow the same Model.
package synth

import (
	"cmp"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Model is a service under traffic. Its fields may be changed between calls. It
// may be used from several goroutines as long as nobody changes it.
type Model struct {
	Service string // service.name
	Version string // service.version unless an incident brought another
	Flows   []Flow

	// Incidents are what went or goes wrong, in any order.
	Incidents []Incident

	// PeakHour is the busiest hour of the day, in [0, 24), and Location says
	// whose day; nil is UTC.
	PeakHour float64
	Location *time.Location

	Seed uint64
}

// Flow is one kind of request.
type Flow struct {
	Name   string
	Method string // http.request.method
	Route  string // http.route; {id} stands for a number

	Peak       float64       // requests a second at the peak of a working day
	ErrorRatio float64       // share of requests that fail on a good day, in [0, 1]
	Median     time.Duration // of the latency, which is lognormal
	Sigma      float64       // standard deviation of its logarithm
}

// Incident is a time in which a flow does worse.
type Incident struct {
	Flow string
	From time.Time
	For  time.Duration // 0 or less: until End is called

	ErrorRatio    float64 // share of requests that fail; below the flow's own it changes nothing
	LatencyFactor float64 // multiplies latencies; 0 changes nothing
	Version       string  // service.version that brought it, of all flows; empty changes nothing
	Why           string
}

// active reports whether the incident goes on at t.
func (i Incident) active(t time.Time) bool {
	return !t.Before(i.From) && (i.For <= 0 || t.Before(i.From.Add(i.For)))
}

// Add adds an incident.
func (m *Model) Add(i Incident) { m.Incidents = append(m.Incidents, i) }

// End ends at t the incidents of a flow that go on then.
func (m *Model) End(flow string, t time.Time) {
	m.Incidents = slices.DeleteFunc(m.Incidents, func(i Incident) bool { return i.Flow == flow && i.From.Equal(t) })
	for k := range m.Incidents {
		if i := &m.Incidents[k]; i.Flow == flow && i.active(t) {
			i.For = t.Sub(i.From)
		}
	}
}

// VersionAt returns the service.version that runs at t.
func (m *Model) VersionAt(t time.Time) string {
	version, since := m.Version, time.Time{}
	for _, i := range m.Incidents {
		if i.Version != "" && i.active(t) && !i.From.Before(since) {
			version, since = i.Version, i.From
		}
	}
	return version
}

// Rate returns the requests a second that are expected of a flow at t: a cosine
// over the day, least twelve hours from the peak, and less at the weekend.
func (m *Model) Rate(f Flow, t time.Time) float64 {
	const (
		night   = 0.15 // of the peak; a shop that sells to one country sleeps
		weekend = 0.6
	)
	t = t.In(cmp.Or(m.Location, time.UTC))
	hour := float64(t.Hour()) + float64(t.Minute())/60 + float64(t.Second())/3600
	share := night + (1-night)*(1+math.Cos(2*math.Pi*(hour-m.PeakHour)/24))/2
	if d := t.Weekday(); d == time.Saturday || d == time.Sunday {
		share *= weekend
	}
	return f.Peak * share
}

// state returns how a flow does at t: the share of requests that fail, and the
// median latency in nanoseconds.
func (m *Model) state(f Flow, t time.Time) (errorRatio, median float64) {
	errorRatio, median = f.ErrorRatio, float64(f.Median)
	for _, i := range m.Incidents {
		if i.Flow != f.Name || !i.active(t) {
			continue
		}
		errorRatio = max(errorRatio, min(i.ErrorRatio, 1))
		if i.LatencyFactor > 0 {
			median *= i.LatencyFactor
		}
	}
	return errorRatio, median
}

// rng returns the random source of a flow at t.
func (m *Model) rng(f Flow, t time.Time) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(f.Name))
	return rand.New(rand.NewPCG(m.Seed^h.Sum64(), uint64(t.UnixNano())))
}

// poisson returns a random count of the given mean.
func poisson(rng *rand.Rand, mean float64) uint64 {
	// From here on the normal distribution is as good, and the product below
	// would lose precision.
	const large = 50
	if mean > large {
		return uint64(max(0, math.Round(mean+math.Sqrt(mean)*rng.NormFloat64())))
	}
	n, p, limit := uint64(0), rng.Float64(), math.Exp(-mean)
	for p > limit {
		n++
		p *= rng.Float64()
	}
	return n
}
