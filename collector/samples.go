package collector

import (
	"cmp"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/slo"
)

// Sample is a request of a flow whose trace is worth a look.
type Sample struct {
	TraceID  string    // 32 hexadecimal digits
	At       time.Time // when it was counted, within a flush interval
	Duration time.Duration
	Bad      bool   // it failed
	Value    string // of the flow's by attribute; empty where it is not split
	Why      Why
}

// Why is what makes a sample worth a look.
type Why string

// Why a request is a sample.
const (
	Slowest Why = "slowest" // of the last hour
	Failed  Why = "failed"  // one of the newest
	Typical Why = "typical" // of those that did not fail, lately
)

const (
	sampleAge   = time.Hour
	slowSamples = 3
	badSamples  = 5

	// Of typical requests one is taken a minute; the one shown is the middle of
	// a quarter of an hour.
	goodSamples = 15
	goodEvery   = time.Minute

	// maxSlow bounds the requests that could still be among the slowest.
	maxSlow = 32
)

// samples keeps what Samples shows, by service and name of the flow: some 4 KB
// a flow at most.
type samples struct {
	mu    sync.Mutex
	flows map[[2]string]*flowSamples
}

// flowSamples are oldest first.
type flowSamples struct{ slow, bad, good []sample }

type sample struct {
	aggr.Sample
	at     time.Time
	slower int // how many that came later were as slow
}

// add takes in what a flush found.
func (s *samples) add(f *slo.Flow, found *aggr.Samples, at time.Time) {
	if !found.Slowest.Known() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]string{f.Service, f.Name}
	of := s.flows[key]
	if of == nil {
		of = &flowSamples{}
		s.flows[key] = of
	}
	of.addSlow(sample{Sample: found.Slowest, at: at})
	if found.Bad.Known() {
		of.bad = last(append(of.bad, sample{Sample: found.Bad, at: at}), badSamples)
	}
	if n := len(of.good); found.Good.Known() && (n == 0 || at.Sub(of.good[n-1].at) >= goodEvery) {
		of.good = last(append(of.good, sample{Sample: found.Good, at: at}), goodSamples)
	}
}

// addSlow adds x and drops what can be among the slowest no more: what is too
// old, and what slowSamples later ones are as slow as.
func (f *flowSamples) addSlow(x sample) {
	for i := range f.slow {
		if x.Latency >= f.slow[i].Latency {
			f.slow[i].slower++
		}
	}
	f.slow = slices.DeleteFunc(f.slow, func(s sample) bool {
		return s.slower >= slowSamples || x.at.Sub(s.at) > sampleAge
	})
	f.slow = append(f.slow, x)
	if len(f.slow) > maxSlow {
		quickest := 0
		for i := range f.slow {
			if f.slow[i].Latency < f.slow[quickest].Latency {
				quickest = i
			}
		}
		f.slow = slices.Delete(f.slow, quickest, quickest+1)
	}
}

// last returns the last n of s, without growing it.
func last(s []sample, n int) []sample {
	if len(s) > n {
		s = slices.Delete(s, 0, len(s)-n)
	}
	return s
}

// apply forgets the flows that are gone.
func (s *samples) apply(flows []slo.Flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[[2]string]*flowSamples{}
	for i := range flows {
		key := [2]string{flows[i].Service, flows[i].Name}
		if of := s.flows[key]; of != nil {
			kept[key] = of
		}
	}
	s.flows = kept
}

// Samples returns traces of a flow's last hour: the three slowest, slowest first,
// then the five failed ones that came last, newest first, then one that is
// typical. A request comes once, for the first of these reasons. Only what this
// process saw is there, one request of each kind a flush at most, and none from
// senders that sent no trace ids.
//
// It may be called from several goroutines, at any time.
func (p *Pipeline) Samples(service, flow string) []Sample {
	return p.samples.show(service, flow, time.Now())
}

func (s *samples) show(service, flow string, now time.Time) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.flows[[2]string{service, flow}]
	if of == nil {
		return nil
	}
	shown := map[[16]byte]bool{}
	// fresh returns those of the last hour that are not shown yet.
	fresh := func(from []sample) []sample {
		return slices.DeleteFunc(slices.Clone(from), func(s sample) bool {
			return now.Sub(s.at) > sampleAge || shown[s.Trace]
		})
	}
	var out []Sample
	put := func(why Why, from ...sample) {
		for _, s := range from {
			if shown[s.Trace] {
				continue // requests of one trace
			}
			shown[s.Trace] = true
			out = append(out, Sample{
				TraceID: hex.EncodeToString(s.Trace[:]), At: s.at, Duration: time.Duration(s.Latency),
				Bad: s.Bad, Value: s.Value, Why: why,
			})
		}
	}
	slow := fresh(of.slow)
	slices.SortStableFunc(slow, func(a, b sample) int { return cmp.Compare(b.Latency, a.Latency) })
	put(Slowest, slow[:min(len(slow), slowSamples)]...)
	bad := fresh(of.bad)
	slices.Reverse(bad)
	put(Failed, bad...)
	if good := fresh(of.good); len(good) > 0 {
		slices.SortFunc(good, func(a, b sample) int { return cmp.Compare(a.Latency, b.Latency) })
		put(Typical, good[len(good)/2])
	}
	return out
}
