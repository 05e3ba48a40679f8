package where

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// traffic has o see n requests evenly over d from at on.
func (o *observer) traffic(at time.Time, d time.Duration, n int, fill func(i int, r *request)) {
	for i := range n {
		r := request{at: at.Add(d * time.Duration(i) / time.Duration(n)), latency: 10 * time.Millisecond}
		fill(i, &r)
		o.see(&r)
	}
	o.done()
}

func fail(r *request) {
	r.bad = true
	r.values[statusCode], r.values[errorType] = "503", "ECONNREFUSED"
}

func TestFind(t *testing.T) {
	const hour = time.Hour
	// well is an hour of requests, of which about one in a hundred fails: 30% are of
	// version 2, a tenth of each of ten tenants, half of each route.
	dice := rand.New(rand.NewPCG(1, 1))
	well := func(i int, r *request) {
		r.values[version] = []string{"1", "2"}[min(1, i%10/7)]
		r.values[tenant] = "t" + strconv.Itoa(i/10%10)
		r.values[route] = []string{"/a", "/b"}[i/100%2]
		r.values[statusCode] = "200"
		if dice.IntN(100) == 0 {
			r.bad = true
			r.values[statusCode] = "500"
		}
	}
	for _, tc := range []struct {
		name string
		fill func(i int, r *request) // what the incident adds, over well
		slow bool
		want []string
	}{
		{name: "nothing", fill: func(int, *request) {}},
		{
			name: "a value and how it fails",
			fill: func(i int, r *request) {
				if r.values[version] == "2" && i%2 == 0 {
					fail(r)
				}
			},
			want: []string{"service.version=2", "!http.response.status_code=503", "!error.type=ECONNREFUSED"},
		},
		{
			name: "a pair",
			fill: func(_ int, r *request) {
				if r.values[version] == "2" && r.values[route] == "/b" {
					fail(r)
				}
			},
			want: []string{"service.version=2 http.route=/b", "!http.response.status_code=503", "!error.type=ECONNREFUSED"},
		},
		{
			name: "two independent values, the larger first",
			fill: func(i int, r *request) {
				if r.values[tenant] == "t3" || r.values[tenant] == "t5" && i%10 > 2 {
					fail(r)
				}
			},
			want: []string{"tenant.id=t3", "tenant.id=t5", "!http.response.status_code=503", "!error.type=ECONNREFUSED"},
		},
		{
			name: "everything alike",
			fill: func(_ int, r *request) { fail(r) },
			want: []string{"!http.response.status_code=503", "!error.type=ECONNREFUSED"},
		},
		{
			name: "a version that is rolled out",
			fill: func(i int, r *request) {
				if r.values[version] = "3"; i%7 == 0 {
					fail(r)
				}
			},
			want: []string{"service.version=3", "!http.response.status_code=503", "!error.type=ECONNREFUSED"},
		},
		{
			name: "of twins the one that is listed first",
			fill: func(_ int, r *request) {
				if r.values[tenant] == "t4" {
					r.values[instance], r.values[host] = "i4", "h4"
					fail(r)
				}
			},
			want: []string{"service.instance.id=i4", "!http.response.status_code=503", "!error.type=ECONNREFUSED"},
		},
		{
			name: "too little to tell",
			fill: func(i int, r *request) {
				if r.values[tenant] == "t4" && i < 40 {
					fail(r)
				}
			},
		},
		{
			name: "slow, not bad",
			fill: func(_ int, r *request) {
				if r.values[tenant] == "t6" {
					r.latency = time.Second
				}
			},
			slow: true,
			want: []string{"tenant.id=t6"},
		},
		{
			name: "slow is not asked for",
			fill: func(_ int, r *request) {
				if r.values[tenant] == "t6" {
					r.latency = time.Second
				}
			},
		},
		{
			name: "not valid UTF-8, and long",
			fill: func(_ int, r *request) {
				if r.values[tenant] == "t6" {
					r.values[tenant] = "\xff" + strings.Repeat("x", 200)
					fail(r)
				}
			},
			want: []string{"tenant.id=\uFFFD" + strings.Repeat("x", 121), "!http.response.status_code=503", "!error.type=ECONNREFUSED"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := observe(newFinder(t, 1, shopFlow))
			o.traffic(epoch, hour, 6000, well)
			from := epoch.Add(hour)
			o.traffic(from, 10*time.Minute, 1000, func(i int, r *request) {
				well(i, r)
				tc.fill(i, r)
			})
			var got []string
			for _, c := range o.Find("shop", "checkout", tc.slow, from, from.Add(10*time.Minute)) {
				var s []string
				for _, v := range c.Values {
					s = append(s, v.Attribute+"="+v.Text)
				}
				text := strings.Join(s, " ")
				if c.Symptom {
					text = "!" + text
				}
				got = append(got, text)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("Find = %q, want %q", got, tc.want)
			}
			// What came before is not in the window.
			if found := causes(o.Find("shop", "checkout", tc.slow, epoch, from)); found != nil {
				t.Errorf("the hour before: Find = %v, want none", found)
			}
		})
	}
}

// TestFindFigures holds the figures of a culprit against the counts they are of.
func TestFindFigures(t *testing.T) {
	o := observe(newFinder(t, 1, shopFlow))
	from := epoch
	// 3,000 requests a minute, 30% of version 2; of these half fail, of the others 1%.
	o.traffic(from, 10*time.Minute, 30_000, func(i int, r *request) {
		r.values[version] = []string{"1", "2"}[min(1, i%10/7)]
		if r.values[version] == "2" && i/10%2 == 0 || i%100 == 0 {
			fail(r) // i%100 == 0 is of version 1
		}
	})
	found := o.Find("shop", "checkout", false, from, from.Add(10*time.Minute))
	if len(found) == 0 {
		t.Fatal("Find names none")
	}
	c := found[0]
	near := func(name string, got, want float64) {
		if math.Abs(got-want) > 0.1*want {
			t.Errorf("%s is %g, want %g within a tenth", name, got, want)
		}
	}
	near("Bad", c.Bad, 4500./4800)
	near("Normal", c.Normal, 0.3)
	near("BadCount", float64(c.BadCount), 4500)
	near("GoodCount", float64(c.GoodCount), 4500)
	if c.Lift < 20 || c.Lift > 80 || c.Before || c.Symptom {
		t.Errorf("found %+v, want a lift near 35 within the window", c)
	}
}

// TestFindKnowsWhatAlwaysFails pins that a value which fails more often at
// all times is not blamed for an incident of all.
func TestFindKnowsWhatAlwaysFails(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before time.Duration
		want   int
	}{
		{name: "known for six hours", before: 6 * time.Hour},
		{name: "new", before: time.Second, want: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := observe(newFinder(t, 1, shopFlow))
			r := rand.New(rand.NewPCG(1, 1))
			requests := func(rate float64) func(int, *request) {
				return func(i int, x *request) {
					x.values[tenant] = "t" + strconv.Itoa(i%10)
					p := rate
					if i%10 == 3 {
						p *= 8 // as ever
					}
					if r.Float64() < p {
						fail(x)
					}
				}
			}
			o.traffic(epoch, tc.before, int(tc.before/time.Second)*5, requests(0.002))
			from := epoch.Add(tc.before)
			o.traffic(from, 20*time.Minute, 6000, requests(0.03))
			if found := causes(o.Find("shop", "checkout", false, from, from.Add(20*time.Minute))); len(found) != tc.want {
				t.Errorf("Find = %v, want %d", found, tc.want)
			}
		})
	}
}

// TestFindLooksBack pins that incidents of hours ago can still be asked about,
// beside the one of now.
func TestFindLooksBack(t *testing.T) {
	o := observe(newFinder(t, 1, shopFlow))
	for m := range 20 * 60 {
		o.traffic(epoch.Add(time.Duration(m)*time.Minute), time.Minute, 100, func(i int, r *request) {
			r.values[tenant] = "t" + strconv.Itoa(i%10)
			hit := ""
			switch {
			case m >= 5*60 && m < 7*60:
				hit = "t3"
			case m >= 19*60 && m < 19*60+20:
				hit = "t5"
			case m >= 20*60-5:
				hit = "t7"
			}
			if r.values[tenant] == hit {
				fail(r)
			}
		})
	}
	at := func(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }
	for _, tc := range []struct {
		from, to int // minutes
		want     string
	}{
		{0, 4 * 60, ""},
		{5 * 60, 7 * 60, "t3"},
		{8 * 60, 18 * 60, ""},
		{19 * 60, 19*60 + 20, "t5"},
		{19*60 + 30, 20*60 - 10, ""},
		{20*60 - 5, 20 * 60, "t7"},
		{21 * 60, 22 * 60, ""},
	} {
		got := ""
		if found := o.Find("shop", "checkout", false, at(tc.from), at(tc.to)); len(found) > 0 {
			got = found[0].Values[0].Text
		}
		if got != tc.want {
			t.Errorf("minutes %d to %d: found %q, want %q", tc.from, tc.to, got, tc.want)
		}
	}
	if n := len(o.flows[0].slices); n > 80 {
		t.Errorf("20 hours are in %d slices, want 80 at most", n)
	}
}

// TestSamplesAreFair pins that every request of a day is a sample with about
// equal chances within its slice, however much came in and however often slices
// were merged.
func TestSamplesAreFair(t *testing.T) {
	f := newFinder(t, 1, shopFlow)
	o := observe(f)
	r := rand.New(rand.NewPCG(2, 2))
	total := 0
	for m := range 26 * 60 {
		n := []int{1, 10, 300, 2000}[r.IntN(4)]
		total += n
		o.traffic(epoch.Add(time.Duration(m)*time.Minute), time.Minute, n, func(i int, x *request) {
			// Half of a minute's requests are of its second half.
			x.values[route] = strconv.Itoa(2 * i / n)
			x.values[tenant] = strconv.Itoa(n)
		})
	}
	var have, all, busy, counted float64
	for _, s := range f.flows[0].slices {
		st := &s.strata[0]
		counted += float64(st.n)
		if st.kept != int(min(st.n, kept[0])) {
			t.Errorf("a slice of %d requests keeps %d, want %d or all", st.n, st.kept, kept[0])
		}
		for i := range st.kept {
			w := float64(st.n) / float64(st.kept)
			all += w
			if f.texts.get(st.row(i)[route]) == "1" {
				have += w
			}
			if f.texts.get(st.row(i)[tenant]) == "2000" {
				busy += w
			}
		}
	}
	if counted < 0.95*float64(total)*25/26 || counted > float64(total) {
		t.Errorf("slices count %g requests, want those of 25 hours of 26: %d", counted, total*25/26)
	}
	if got := have / all; math.Abs(got-0.5) > 0.04 {
		t.Errorf("%.3f of the samples are of the second half of a minute, want 0.5", got)
	}
	if got := busy / all; math.Abs(got-2000./2311) > 0.04 {
		t.Errorf("%.3f of the samples are of minutes with 2,000 requests, want %.3f", got, 2000./2311)
	}
}

// TestMemoryIsBounded pins what a million values of each attribute take.
func TestMemoryIsBounded(t *testing.T) {
	flows := make([]slo.Flow, 20)
	for i := range flows {
		flows[i] = shopFlow
		flows[i].Name = strconv.Itoa(i)
	}
	const limit = 1 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f, err := New(Options{MaxBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	f.Apply(flows)
	b := f.Batch()
	at := epoch
	value := []byte("value-0000000000")
	for i := range 1_000_000 {
		if i%100 == 0 {
			f.Commit(b)
			at = at.Add(500 * time.Millisecond)
			b.Begin(uint64(at.UnixNano()))
		}
		if b.See(int32(i%len(flows)), uint64(time.Duration(i%3)*time.Second), i%2 == 0) {
			for a := range slo.DefaultWhere {
				b.Put(a, strconv.AppendInt(value[:6], int64(i*16+a), 10))
			}
		}
	}
	f.Commit(b)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(f)
	chunks := 0
	for i, fl := range f.flows {
		held := 0
		for _, s := range fl.slices {
			for _, st := range s.strata {
				held += (st.kept + chunkRows - 1) / chunkRows
			}
		}
		if held != fl.held {
			t.Errorf("flow %d holds %d chunks, but counts %d", i, held, fl.held)
		}
		if held == 0 {
			t.Errorf("flow %d has no samples", i)
		}
		chunks += held
	}
	if got := (chunks + len(f.pool.free) + f.pool.left) * chunkBytes; got > limit {
		t.Errorf("samples take %d bytes, want %d at most", got, limit)
	}
	// Samples, texts, 17 KB a flow, and a batch.
	const want = limit + 2<<20 + 20*17<<10 + 2<<20
	if got := int(after.HeapAlloc) - int(before.HeapAlloc); got > want {
		t.Errorf("a finder that saw 11 million values takes %d bytes, want %d at most", got, want)
	}
}

// TestCommonValuesKeepTheirText pins that values which are made up do not push
// out those that are common.
func TestCommonValuesKeepTheirText(t *testing.T) {
	o := observe(newFinder(t, 1, shopFlow))
	for m := range 300 {
		o.traffic(epoch.Add(time.Duration(m)*time.Minute), time.Minute, 400, func(i int, r *request) {
			for a := range slo.DefaultWhere {
				r.values[a] = fmt.Sprintf("made-up-%d-%d-%d", m, i, a)
			}
			r.values[region] = "eu"
			if i%10 == 0 {
				r.values[region] = "us"
				fail(r)
			}
		})
	}
	to := epoch.Add(300 * time.Minute)
	found := causes(o.Find("shop", "checkout", false, to.Add(-10*time.Minute), to))
	if len(found) != 1 || found[0].Values[0] != (Value{"cloud.region", "us"}) {
		t.Errorf("Find = %v, want the region us alone", found)
	}
}

func TestApply(t *testing.T) {
	other := slo.Flow{Name: "search", Service: "shop"}
	changed := func(change func(*slo.Flow)) slo.Flow {
		f := shopFlow
		change(&f)
		return f
	}
	for _, tc := range []struct {
		name  string
		flows []slo.Flow
		kept  bool
	}{
		{name: "the same, elsewhere", flows: []slo.Flow{other, shopFlow}, kept: true},
		{name: "another target", flows: []slo.Flow{changed(func(f *slo.Flow) { f.Owner = "me" })}, kept: true},
		{name: "other attributes", flows: []slo.Flow{changed(func(f *slo.Flow) { f.Where = []string{"x"} })}},
		{name: "no attributes", flows: []slo.Flow{changed(func(f *slo.Flow) { f.Where = []string{} })}},
		{name: "another threshold", flows: []slo.Flow{changed(func(f *slo.Flow) { f.Objectives = nil })}},
		{
			name:  "another meaning of bad",
			flows: []slo.Flow{changed(func(f *slo.Flow) { f.BadWhen = slo.Selector{{Key: "x", Any: []slo.Pattern{{Text: "y"}}}} })},
		},
		{name: "gone", flows: []slo.Flow{other}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := observe(newFinder(t, 1, shopFlow, other))
			o.traffic(epoch, 10*time.Minute, 1000, func(i int, r *request) {
				if r.values[tenant] = strconv.Itoa(i % 10); i%10 == 3 {
					fail(r)
				}
			})
			used := o.pool.left
			o.Apply(tc.flows)
			found := o.Find("shop", "checkout", false, epoch, epoch.Add(10*time.Minute))
			if got := len(found) > 0; got != tc.kept {
				t.Errorf("after Apply, Find = %v, want one to be found: %t", found, tc.kept)
			}
			held := DefaultMaxBytes/chunkBytes - used
			if got := len(o.pool.free) == held; got == tc.kept {
				t.Errorf("%d of %d chunks are free, want all of a flow that is gone and none of one that stays", len(o.pool.free), held)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, size := range []int{-1, 1, 1<<20 - 1} {
		if _, err := New(Options{MaxBytes: size}); err == nil {
			t.Errorf("New with %d bytes: no error", size)
		}
	}
}

// TestHotPathDoesNotAllocate pins that requests cost no memory, looked at or not,
// once slices and buffers exist.
func TestHotPathDoesNotAllocate(t *testing.T) {
	f := newFinder(t, 1, shopFlow)
	b := f.Batch()
	values := make([][]byte, 50)
	for i := range values {
		values[i] = []byte("value-" + strconv.Itoa(i))
	}
	at, looks := epoch, 0
	run := func() {
		at = at.Add(10 * time.Millisecond)
		b.Begin(uint64(at.UnixNano()))
		for i := range 100 {
			if b.See(0, uint64(time.Duration(i%2)*time.Second), i%7 == 0) {
				looks++
				for a := range slo.DefaultWhere {
					b.Put(a, values[(i+a)%len(values)])
				}
			}
		}
		f.Commit(b)
	}
	for range 500 {
		run()
	}
	looks = 0
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("100 requests allocate %g times, want 0", n)
	}
	if looks == 0 || looks > 10_000 {
		t.Errorf("%d of 100,000 requests were looked at, want some and no more than one in ten", looks)
	}
}

// TestConcurrently is for the race detector.
func TestConcurrently(t *testing.T) {
	f := newFinder(t, 1, shopFlow)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			b := f.Batch()
			for i := range 300 {
				b.Begin(uint64(epoch.Add(time.Duration(i) * time.Second).UnixNano()))
				for j := range 20 {
					if b.See(0, 0, j == g) {
						b.Put(tenant, []byte{'t', byte('0' + j%10)})
					}
				}
				f.Commit(b)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			f.Find("shop", "checkout", false, epoch, epoch.Add(time.Hour))
		}
	})
	wg.Wait()
	var n uint64
	for _, s := range f.flows[0].slices {
		n += s.strata[0].n + s.strata[isBad].n
	}
	if n != 4*300*20 {
		t.Errorf("%d requests were counted, want %d", n, 4*300*20)
	}
}

// TestAtLeast holds Fisher's exact test against tables worked out by hand.
func TestAtLeast(t *testing.T) {
	for _, tc := range []struct {
		a, n, c, m float64
		want       float64
	}{
		{3, 4, 1, 4, 17. / 70}, // the lady tasting tea
		{4, 4, 0, 4, 1. / 70},
		{0, 4, 4, 4, 1},
		{2, 2, 0, 0, 1},
		{5, 5, 5, 5, 1},
	} {
		if got := math.Exp(atLeast(tc.a, tc.n, tc.c, tc.m)); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("atLeast(%g of %g, %g of %g) = %g, want %g", tc.a, tc.n, tc.c, tc.m, got, tc.want)
		}
	}
}
