package where

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// epoch is when histories begin: at an even hour.
var epoch = time.Unix(1_790_000_000/3600*3600, 0)

func newFinder(tb testing.TB, seed uint64, flows ...slo.Flow) *Finder {
	tb.Helper()
	f, err := New(Options{})
	if err != nil {
		tb.Fatal(err)
	}
	f.rand = rand.New(rand.NewPCG(seed, 7))
	f.Apply(flows)
	return f
}

// request is one that a test makes up: its values by attribute of slo.DefaultWhere.
type request struct {
	at      time.Time
	values  [slo.MaxWhere]string
	latency time.Duration
	bad     bool
}

// observer has a finder see requests of its first flow, in batches of a second.
type observer struct {
	*Finder
	batch *Batch
	at    time.Time
}

func observe(f *Finder) *observer { return &observer{Finder: f, batch: f.Batch()} }

func (o *observer) see(r *request) {
	if at := r.at.Truncate(time.Second); !at.Equal(o.at) {
		o.done()
		o.at = at
		o.batch.Begin(uint64(at.UnixNano()))
	}
	if o.batch.See(0, uint64(r.latency), r.bad) {
		for a, v := range r.values {
			o.batch.Put(a, []byte(v))
		}
	}
}

// done commits the second in hand.
func (o *observer) done() {
	o.Commit(o.batch)
	o.batch.Begin(uint64(o.at.UnixNano()))
}

// The attributes of a world, in the order of slo.DefaultWhere.
const (
	version = iota
	route
	statusCode
	errorType
	environment
	instance
	host
	region
	peer
	address
	tenant
)

// world is a shop that requests come to, and one incident of it.
type world struct {
	*rand.Rand
	perSecond float64
	before    time.Duration // of normal traffic
	lasts     time.Duration // the incident

	hosts   []place
	names   [slo.MaxWhere][]string // values that requests choose among
	weights [slo.MaxWhere][]float64
	base    float64                          // share of requests that fail in normal times
	worse   [slo.MaxWhere]map[string]float64 // factor by which a value fails more often, always
	slow    bool                             // the incident is of latency
	worseBy float64                          // without a culprit: factor in the incident
	rate    float64                          // and share that fails besides
	culprit []Value
	share   float64 // of traffic that the culprit has
	drift   float64 // how much the mix of traffic changes when the incident begins
}

// place is where a process runs.
type place struct{ version, instance, host, region string }

func (w *world) weighted(weights []float64) int {
	sum := 0.0
	for _, x := range weights {
		sum += x
	}
	x := w.Float64() * sum
	for i, weight := range weights {
		if x -= weight; x < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// mix returns n weights, some far larger than others.
func (w *world) mix(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 0.2 + w.ExpFloat64()
	}
	return out
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 3))}
	w.perSecond = []float64{0.5, 2, 5, 20, 50}[w.IntN(5)]
	w.before = time.Duration(30+w.IntN(150)) * time.Minute
	if w.perSecond > 10 {
		w.before = min(w.before, 30*time.Minute) // for the sake of the test's time
		w.lasts = min(w.lasts, 8*time.Minute)
	}
	w.lasts = time.Duration(3+w.IntN(20)) * time.Minute
	regions := []string{"eu-central-1", "us-east-1", "ap-south-1"}[:1+w.IntN(3)]
	newer := 0.05 + 0.5*w.Float64() // of the instances
	for i, n := 0, 4+w.IntN(16); i < n; i++ {
		p := place{"1.41.0", fmt.Sprintf("shop-%d", i), fmt.Sprintf("node-%d", i), regions[i%len(regions)]}
		if w.Float64() < newer || i < 2 && len(regions) == 1 && i == 0 {
			p.version = "1.42.0"
		}
		w.hosts = append(w.hosts, p)
	}
	for _, h := range w.hosts {
		w.names[instance] = append(w.names[instance], h.instance)
	}
	for i := range 3 + w.IntN(8) {
		w.names[route] = append(w.names[route], fmt.Sprintf("/api/v1/things-%d/{id}", i))
	}
	for i := range 5 + w.IntN(60) {
		w.names[tenant] = append(w.names[tenant], fmt.Sprintf("tenant-%d", i))
	}
	w.names[peer] = []string{"payments", "stock", "mail", "search"}
	for a := range w.names {
		w.weights[a] = w.mix(len(w.names[a]))
	}
	w.base = []float64{0.0005, 0.002, 0.005, 0.01}[w.IntN(4)]
	// Some values always fail more often than others.
	for range 3 {
		a := []int{route, tenant, peer, instance}[w.IntN(4)]
		w.worse[a] = map[string]float64{w.names[a][w.IntN(len(w.names[a]))]: 2 + 4*w.Float64()}
	}
	w.drift = w.Float64() * 0.5
	w.slow = w.IntN(4) == 0
	return w
}

// draw returns a request without its outcome.
func (w *world) draw(at time.Time) request {
	p := w.hosts[w.weighted(w.weights[instance])]
	r := request{at: at, latency: time.Duration(20+w.ExpFloat64()*40) * time.Millisecond}
	r.values = [slo.MaxWhere]string{
		version: p.version, environment: "production", instance: p.instance, host: p.host, region: p.region,
		address: "shop.example.com", statusCode: "200",
	}
	for _, a := range []int{route, tenant, peer} {
		r.values[a] = w.names[a][w.weighted(w.weights[a])]
	}
	if w.IntN(3) == 0 {
		r.values[peer] = "" // not all of them call out
	}
	return r
}

func (w *world) blames(r *request) bool {
	for _, v := range w.culprit {
		a := 0
		for slo.DefaultWhere[a] != v.Attribute {
			a++
		}
		if r.values[a] != v.Text {
			return false
		}
	}
	return len(w.culprit) > 0
}

// outcome decides how a request ends.
func (w *world) outcome(r *request, incident bool) {
	p := w.base
	for a, worse := range w.worse {
		if factor, ok := worse[r.values[a]]; ok {
			p *= factor
		}
	}
	switch {
	case incident && w.blames(r):
		p += w.rate
	case incident && len(w.culprit) == 0:
		p = p*w.worseBy + w.rate
	}
	if w.Float64() >= p {
		return
	}
	if w.slow {
		r.latency = time.Second + time.Duration(w.IntN(1000))*time.Millisecond
		return
	}
	r.bad = true
	r.values[statusCode], r.values[errorType] = "500", []string{"Error", "TimeoutError", "ECONNREFUSED"}[w.weighted([]float64{5, 2, 1})]
}

// run has o see all requests and returns when the incident began and ended.
func (w *world) run(o *observer) (from, to time.Time) {
	defer o.done()
	from = epoch.Add(w.before)
	to = from.Add(w.lasts)
	drifted := false
	for at := epoch; ; {
		at = at.Add(time.Duration(w.ExpFloat64() / w.perSecond * float64(time.Second)))
		if !at.Before(to) {
			return from, to
		}
		if incident := !at.Before(from); incident && !drifted {
			drifted = true
			for a := range w.weights {
				for i := range w.weights[a] {
					w.weights[a][i] *= 1 - w.drift + 2*w.drift*w.Float64()
				}
			}
		}
		r := w.draw(at)
		w.outcome(&r, !at.Before(from))
		o.see(&r)
	}
}

// blame chooses a culprit of n values that 5 to 60 percent of the traffic
// has. It returns false if there is none.
func (w *world) blame(n int) bool {
	sample := make([]request, 2000)
	for i := range sample {
		sample[i] = w.draw(epoch)
	}
	attributes := []int{version, route, instance, region, peer, tenant}
	share := func(conds map[int]string) float64 {
		k := 0
		for i := range sample {
			all := true
			for a, v := range conds {
				all = all && sample[i].values[a] == v
			}
			if all {
				k++
			}
		}
		return float64(k) / float64(len(sample))
	}
	for range 300 {
		r := sample[w.IntN(len(sample))]
		conds := map[int]string{}
		for len(conds) < n {
			a := attributes[w.IntN(len(attributes))]
			conds[a] = r.values[a]
		}
		if _, ok := conds[instance]; ok && n == 2 {
			_, v := conds[version]
			_, g := conds[region]
			if v || g {
				continue // an instance has one of each
			}
		}
		empty := false
		for _, v := range conds {
			empty = empty || v == ""
		}
		w.share = share(conds)
		if empty || w.share < 0.05 || w.share > 0.6 {
			continue
		}
		// A value is only to blame where another would not do as well.
		if n == 2 {
			own := true
			for a, v := range conds {
				own = own && w.share < 0.7*share(map[int]string{a: v})
			}
			if !own {
				continue
			}
		}
		w.culprit = nil
		for a, key := range slo.DefaultWhere {
			if v, ok := conds[a]; ok {
				w.culprit = append(w.culprit, Value{key, v})
			}
		}
		return true
	}
	return false
}

func (c Culprit) String() string {
	var b strings.Builder
	for i, v := range c.Values {
		if i > 0 {
			b.WriteString(" and ")
		}
		fmt.Fprintf(&b, "%s=%s", v.Attribute, v.Text)
	}
	fmt.Fprintf(&b, " (%.0f%% of bad, normally %.0f%%, %d bad, %d good, lift %.1f", 100*c.Bad, 100*c.Normal, c.BadCount, c.GoodCount, c.Lift)
	if c.Before {
		b.WriteString(", before")
	}
	b.WriteString(")")
	return b.String()
}

// causes are the culprits that are no symptoms.
func causes(found []Culprit) []Culprit {
	var out []Culprit
	for _, c := range found {
		if !c.Symptom {
			out = append(out, c)
		}
	}
	return out
}

var shopFlow = slo.Flow{
	Name: "checkout", Service: "shop",
	Objectives: []slo.Objective{{Name: "availability"}, {Name: "latency", Kind: slo.FasterThan, Threshold: 500 * time.Millisecond}},
}

// TestIncidents holds the finder against 100 incidents with a culprit, half of
// them a pair of values, and 100 without one.
func TestIncidents(t *testing.T) {
	right, pairs, rightPairs := 0, 0, 0
	for seed := range uint64(100) {
		n := 1 + int(seed%2)
		var w *world
		// An incident is what alerts: at least fifteen requests more than usual
		// fail, and three times as many.
		for try := seed * 1000; ; try++ {
			w = newWorld(try)
			if !w.blame(n) {
				continue
			}
			w.rate = 0.03 * [...]float64{1, 3, 10, 33}[w.IntN(4)] * (0.6 + 0.4*w.Float64()) / 0.8
			w.rate = min(w.rate, 1)
			extra := w.rate * w.share * w.perSecond * w.lasts.Seconds()
			if extra < 15 || w.rate*w.share < 2*w.base*2 {
				continue
			}
			break
		}
		f := newFinder(t, seed, shopFlow)
		from, to := w.run(observe(f))
		found := causes(f.Find("shop", "checkout", w.slow, from, to))
		ok := len(found) > 0 && fmt.Sprint(found[0].Values) == fmt.Sprint(w.culprit)
		if n == 2 {
			pairs++
		}
		if ok {
			right++
			if n == 2 {
				rightPairs++
			}
		} else {
			t.Logf("seed %d: %.1f/s for %v, %v, slow %t, has %.0f%% of traffic, %.1f%% of it fail, others %.2f%%: found %v",
				seed, w.perSecond, w.lasts, w.culprit, w.slow, 100*w.share, 100*w.rate, 100*w.base, found)
		}
	}
	silent := 0
	for seed := range uint64(100) {
		w := newWorld(1_000_000 + seed)
		// All requests fail more often: by a factor, by a share, or both.
		kind := seed % 3
		if w.worseBy = 1; kind != 0 {
			w.worseBy = 3 + 7*w.Float64()
		}
		if kind != 1 {
			w.rate = []float64{0.02, 0.1, 0.4, 0.97}[w.IntN(4)]
		}
		f := newFinder(t, seed, shopFlow)
		from, to := w.run(observe(f))
		found := causes(f.Find("shop", "checkout", w.slow, from, to))
		if len(found) == 0 {
			silent++
		} else {
			t.Logf("none %d: %.1f/s for %v, base %.2f%%, by %.1f, rate %.2f, drift %.1f: found %v", seed, w.perSecond, w.lasts, 100*w.base, w.worseBy, w.rate, w.drift, found)
		}
	}
	t.Logf("the right culprit first in %d of 100 (%d of %d pairs), silent in %d of 100 without one", right, rightPairs, pairs, silent)
	if right < 95 {
		t.Errorf("the right culprit came first in %d of 100 incidents, want at least 95", right)
	}
	if silent < 95 {
		t.Errorf("of 100 incidents without a culprit %d named none, want at least 95", silent)
	}
}
