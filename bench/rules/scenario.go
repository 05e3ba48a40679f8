package main

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	scrape = 30 * time.Second
	day    = 24 * time.Hour
	period = 30 * day

	// latencyTarget is the share of requests promised to take at most 300 ms.
	latencyTarget = 0.99
)

// began is when every scenario begins: a Monday, and a multiple of every
// interval.
var began = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// traffic is what a service does at a time since began.
type traffic struct {
	perSecond    float64 // requests
	failed, slow float64 // shares of them
}

// scenario is a service with two SLOs, availability and latency, and the way
// its metrics are scraped.
type scenario struct {
	name    string
	target  float64 // of the availability SLO; 0: 99.9 %
	from    time.Duration
	traffic func(at time.Duration) traffic

	restart   time.Duration // how often its processes begin anew and count from zero; 0: never
	rollout   time.Duration // how often other processes take their place; 0: never
	late      bool          // a series of errors is born with the first error
	blindFrom time.Duration // nothing is scraped from here …
	blindFor  time.Duration // … for so long
}

func (s *scenario) availability() float64 {
	if s.target != 0 {
		return s.target
	}
	return 0.999
}

// working is the traffic of a shop: ten requests a second by day, one and a half by
// night, of which a few fail and a few are slow.
func working(at time.Duration) traffic {
	hour := float64(at%day) / float64(time.Hour)
	return traffic{perSecond: 10 * (0.15 + 0.85*(1-math.Cos(2*math.Pi*(hour-2)/24))/2), failed: 0.0003, slow: 0.003}
}

// incident returns what a service does when, for a time, shares of its requests
// fail and are slow.
func incident(usual func(time.Duration) traffic, from, length time.Duration, failed, slow float64) func(time.Duration) traffic {
	return func(at time.Duration) traffic {
		t := usual(at)
		if at >= from && at < from+length {
			t.failed, t.slow = failed, slow
		}
		return t
	}
}

// scenarios returns the twelve services. All of them are as usual in the last
// hour of 31 days.
func scenarios() []scenario {
	return []scenario{
		{name: "as-usual", traffic: working},
		{name: "incident-by-day", traffic: incident(working, 12*day+14*time.Hour, time.Hour, 0.2, 0.3)},
		{name: "incident-by-night", traffic: incident(working, 12*day+2*time.Hour, time.Hour, 0.2, 0.3)},
		{name: "outage", traffic: incident(working, 20*day+11*time.Hour, 4*time.Minute, 1, 1)},
		{name: "slow-burn", traffic: incident(working, 15*day, 4*day, 0.0025, 0.02)},
		{name: "spike", traffic: func(at time.Duration) traffic {
			t := working(at)
			if from := 10*day + 13*time.Hour; at >= from && at < from+2*time.Hour {
				t.perSecond, t.failed, t.slow = 40*t.perSecond, 0.002, 0.02
			}
			return t
		}},
		{name: "restarts", restart: 6 * time.Hour, traffic: incident(working, 12*day+14*time.Hour, time.Hour, 0.1, 0.2)},
		{name: "rollouts", rollout: 12 * time.Hour, late: true, traffic: working},
		{name: "low-traffic", target: 0.995, traffic: func(time.Duration) traffic {
			return traffic{perSecond: 1.0 / 600, failed: 0.0028, slow: 0.003}
		}},
		{name: "nightly-batch", traffic: func(at time.Duration) traffic {
			if h := at % day; h < time.Hour || h >= 2*time.Hour {
				return traffic{}
			}
			return traffic{perSecond: 5, failed: 0.0005, slow: 0.004}
		}},
		{
			name: "telemetry-gap", blindFrom: 15*day + 13*time.Hour, blindFor: 2 * time.Hour,
			traffic: incident(working, 15*day+13*time.Hour+30*time.Minute, time.Hour, 0.2, 0.3),
		},
		{name: "three-days-old", from: 28 * day, traffic: incident(working, 29*day, time.Hour, 0.02, 0.1)},
	}
}

// target is a process that exposes counters.
type target struct {
	pod                         string
	good, missing, failed, slow float64
}

// history is what happened in a scenario, scrape by scrape, and the samples
// that scrapes saw of it.
type history struct {
	scenario
	total, failed, slow []uint32 // requests in the 30 s before each scrape
	series              []rawSeries
}

// rawSeries is a series as it was scraped: samples from the scrape first on, NaN
// where there is none.
type rawSeries struct {
	name   string
	labels []string // pairs
	first  int
	values []float64
}

// play lets a scenario happen for a number of scrapes, always in the same way.
func play(s scenario, seed uint64, scrapes int) *history {
	rng := rand.New(rand.NewPCG(seed, 1))
	h := &history{
		scenario: s,
		total:    make([]uint32, scrapes), failed: make([]uint32, scrapes), slow: make([]uint32, scrapes),
	}
	const pods = 2
	var targets [pods]*target
	var open [pods]map[string]*rawSeries
	for i := range scrapes {
		at := time.Duration(i) * scrape
		if at <= s.from {
			continue
		}
		rollout := s.rollout > 0 && at%s.rollout == 0
		restart := s.restart > 0 && at%s.restart == 0
		for p := range targets {
			if targets[p] == nil || rollout {
				if targets[p] != nil {
					h.close(open[p])
				}
				name := string(rune('a' + p))
				if s.rollout > 0 {
					name += "-" + (at / s.rollout * s.rollout).String()
				}
				targets[p], open[p] = &target{pod: name}, map[string]*rawSeries{}
			} else if restart {
				*targets[p] = target{pod: targets[p].pod}
			}
		}
		t := s.traffic(at - scrape)
		n := poisson(rng, t.perSecond*scrape.Seconds())
		failed := min(n, poisson(rng, float64(n)*t.failed))
		slow := min(n, poisson(rng, float64(n)*t.slow))
		if t.failed == 1 {
			failed, slow = n, n
		}
		h.total[i], h.failed[i], h.slow[i] = uint32(n), uint32(failed), uint32(slow)
		for ; n > 0; n-- {
			to := targets[rng.IntN(pods)]
			if (rollout || restart) && n%2 == 0 {
				to = &target{} // counted by the one before, after its last scrape: nobody will know
			}
			if failed > 0 {
				to.failed++
				failed--
			} else if n%50 == 0 {
				to.missing++
			} else {
				to.good++
			}
			if slow > 0 {
				to.slow++
				slow--
			}
		}
		blind := at >= s.blindFrom && at < s.blindFrom+s.blindFor
		for p, to := range targets {
			put := func(v float64, name string, labels ...string) {
				key := name + labels[len(labels)-1]
				r := open[p][key]
				if r == nil {
					r = &rawSeries{name: name, first: i, labels: append([]string{"job", s.name, "pod", to.pod}, labels...)}
					open[p][key] = r
				}
				if blind {
					v = math.NaN()
				}
				r.values = append(r.values, v)
			}
			put(to.good, "http_requests_total", "code", "200")
			put(to.missing, "http_requests_total", "code", "404")
			if !s.late || to.failed > 0 {
				put(to.failed, "http_requests_total", "code", "503")
			}
			all := to.good + to.missing + to.failed
			put(all, "http_request_duration_seconds_count", "instance", to.pod)
			put(all-to.slow, "http_request_duration_seconds_bucket", "le", "0.3")
		}
	}
	for p := range open {
		h.close(open[p])
	}
	return h
}

func (h *history) close(open map[string]*rawSeries) {
	for _, r := range open {
		h.series = append(h.series, *r)
	}
}

// sum returns the counts of the period that ends with a scrape.
func sum(counts []uint32, last int) (n float64) {
	for i := max(0, last-int(period/scrape)+1); i <= last; i++ {
		n += float64(counts[i])
	}
	return n
}

// poisson returns a random count of the given mean.
func poisson(rng *rand.Rand, mean float64) int {
	if mean > 50 {
		return int(max(0, math.Round(mean+math.Sqrt(mean)*rng.NormFloat64())))
	}
	n, p, limit := 0, rng.Float64(), math.Exp(-mean)
	for p > limit {
		n++
		p *= rng.Float64()
	}
	return n
}
