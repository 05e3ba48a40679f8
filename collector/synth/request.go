package synth

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Request is one request as its server sees it.
type Request struct {
	Flow    string
	Start   time.Time
	Latency time.Duration
	Failed  bool

	Method  string // http.request.method
	Route   string // http.route
	Path    string // url.path
	Status  int    // http.response.status_code: 500 when it failed
	Version string // service.version
}

// End returns when the request was answered.
func (r Request) End() time.Time { return r.Start.Add(r.Latency) }

// Next returns the first request that starts after now: requests arrive
// independently of one another at the model's rates. Calling it again with the
// request's Start gives the one after it. The model must have a flow whose Peak
// is above 0.
func (m *Model) Next(rng *rand.Rand, now time.Time) Request {
	f, rate := m.pick(rng, now)
	wait := time.Duration(rng.ExpFloat64() / rate * float64(time.Second))
	return m.request(rng, f, now.Add(wait))
}

// pick returns a flow, each as likely as it is busy at t, and the rate of all.
func (m *Model) pick(rng *rand.Rand, t time.Time) (f Flow, rate float64) {
	for _, g := range m.Flows {
		r := m.Rate(g, t)
		rate += r
		if rng.Float64()*rate < r {
			f = g
		}
	}
	return f, rate
}

// request returns a request of a flow that starts at t.
func (m *Model) request(rng *rand.Rand, f Flow, t time.Time) Request {
	errorRatio, median := m.state(f, t)
	r := Request{
		Flow:    f.Name,
		Start:   t,
		Latency: time.Duration(median * math.Exp(f.Sigma*rng.NormFloat64())),
		Failed:  rng.Float64() < errorRatio,
		Method:  f.Method,
		Route:   f.Route,
		Path:    strings.ReplaceAll(f.Route, "{id}", strconv.Itoa(1+rng.IntN(5000))),
		Status:  200,
		Version: m.VersionAt(t),
	}
	if r.Failed {
		r.Status = 500
	}
	return r
}
