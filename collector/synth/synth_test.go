package synth

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// noon is a Wednesday.
var noon = time.Date(2026, 9, 16, 12, 0, 0, 0, time.UTC)

const (
	day  = 24 * time.Hour
	step = 5 * time.Minute
)

func flowOf(t testing.TB, m *Model, name string) Flow {
	t.Helper()
	for _, f := range m.Flows {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("the model has no flow %s", name)
	return Flow{}
}

// history returns 30 days of a flow in steps of 5 minutes.
func history(m *Model, f Flow, now time.Time) Counts {
	var out Counts
	for at := now.Add(-30 * day); at.Before(now); at = at.Add(step) {
		out.add(m.Counts(f, at, at.Add(step)))
	}
	return out
}

// TestShopBudgets keeps the promise of Shop: every budget partly spent, none
// overspent, whatever the day.
func TestShopBudgets(t *testing.T) {
	for _, now := range []time.Time{
		noon,
		noon.Add(3*day - 9*time.Hour), // Saturday night: other incidents fall on a weekend
		time.Date(2026, 1, 5, 23, 59, 59, 0, time.FixedZone("", -8*3600)),
	} {
		m := Shop(now)
		counts := map[string]Counts{}
		for _, f := range m.Flows {
			counts[f.Name] = history(m, f, now)
		}
		for _, o := range []struct {
			flow   string
			target float64
			under  time.Duration // 0: succeed
		}{
			{flow: "checkout", target: 0.999},
			{flow: "checkout", target: 0.95, under: 300 * time.Millisecond},
			{flow: "search", target: 0.995},
			{flow: "product", target: 0.99, under: 500 * time.Millisecond},
			{flow: "login", target: 0.999},
		} {
			c := counts[o.flow]
			bad := c.Bad
			if o.under > 0 {
				bad = c.Over(o.under)
			}
			left := 1 - float64(bad)/float64(c.Total)/(1-o.target)
			if !(left > 0.2 && left < 0.99) {
				t.Errorf("%v: %s, %g under %v: %.3f of the budget left, want between 0.2 and 0.99", now, o.flow, o.target, o.under, left)
			}
			t.Logf("%v: %s, %g under %v: %d of %d bad, %.3f left", now, o.flow, o.target, o.under, bad, c.Total, left)
		}
		// An alert looks back three days.
		for _, i := range m.Incidents {
			if end := i.From.Add(i.For); now.Sub(end) < 4*day || now.Sub(i.From) > 30*day {
				t.Errorf("%v: incident of %s from %v to %v; want it older than 4 days and within 30", now, i.Flow, i.From, end)
			}
		}
	}
}

func TestCounts(t *testing.T) {
	m := Shop(noon)
	for _, tc := range []struct {
		name     string
		flow     string
		from     time.Time
		length   time.Duration
		incident Incident

		errors, over300 float64 // expected shares
	}{
		{name: "a good day", flow: "checkout", from: noon, length: 6 * time.Hour, errors: 0.0003, over300: 0.0209},
		{name: "outage", flow: "checkout", from: noon, length: time.Hour, incident: Incident{From: noon, ErrorRatio: 1}, errors: 1, over300: 0.0209},
		{name: "more than all fail", flow: "checkout", from: noon, length: time.Hour, incident: Incident{From: noon, ErrorRatio: 2}, errors: 1, over300: 0.0209},
		{name: "half of the time", flow: "checkout", from: noon, length: time.Hour, incident: Incident{From: noon.Add(17 * time.Minute), For: 30 * time.Minute, ErrorRatio: 0.2}, errors: 0.1, over300: 0.0209},
		{name: "over before", flow: "checkout", from: noon, length: time.Hour, incident: Incident{From: noon.Add(-time.Hour), For: time.Hour, ErrorRatio: 1}, errors: 0.0003, over300: 0.0209},
		{name: "of another flow", flow: "search", from: noon, length: time.Hour, incident: Incident{From: noon, ErrorRatio: 1}, errors: 0.0006, over300: 0.0138},
		{name: "slow", flow: "checkout", from: noon, length: time.Hour, incident: Incident{From: noon, LatencyFactor: 2.5}, errors: 0.0003, over300: 0.5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := *m
			tc.incident.Flow = "checkout"
			m.Incidents = []Incident{tc.incident}
			f := flowOf(t, &m, tc.flow)

			var c Counts
			for at := tc.from; at.Before(tc.from.Add(tc.length)); at = at.Add(step) {
				s := m.Counts(f, at, at.Add(step))
				checkSamples(t, s)
				c.add(s)
			}
			total := float64(c.Total)
			var expected float64
			for s := time.Duration(0); s < tc.length; s += time.Minute {
				expected += m.Rate(f, tc.from.Add(s)) * 60
			}
			if math.Abs(total-expected) > 4*math.Sqrt(expected) {
				t.Errorf("%d requests, want about %.0f", c.Total, expected)
			}
			if got, slack := float64(c.Bad)/total, 4*math.Sqrt(tc.errors/total); math.Abs(got-tc.errors) > slack {
				t.Errorf("error ratio %g, want %g give or take %g", got, tc.errors, slack)
			}
			// Slices of the distribution are a tenth of sigma wide.
			if got := float64(c.Over(300*time.Millisecond)) / total; math.Abs(got-tc.over300) > 0.05*tc.over300+0.0005 {
				t.Errorf("share over 300ms %g, want %g", got, tc.over300)
			}
		})
	}
}

// checkSamples reports latencies that do not add up.
func checkSamples(t *testing.T, c Counts) {
	t.Helper()
	var total, bad uint64
	for _, s := range c.Latencies {
		if s.Total == 0 || s.Bad > s.Total || s.Latency <= 0 {
			t.Errorf("sample %+v: want a latency, requests, and no more bad ones than there are", s)
		}
		total += s.Total
		bad += s.Bad
	}
	if total != c.Total || bad != c.Bad {
		t.Errorf("latencies of %d requests with %d bad, want %d with %d", total, bad, c.Total, c.Bad)
	}
}

// TestCountsAddUp tries small numbers, where rounding could go wrong.
func TestCountsAddUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2_000 {
		f := Flow{Name: "f", Peak: rng.ExpFloat64(), ErrorRatio: rng.Float64() * 1.2, Median: time.Millisecond, Sigma: rng.Float64()}
		m := &Model{Flows: []Flow{f}, Seed: rng.Uint64()}
		checkSamples(t, m.Counts(f, noon, noon.Add(time.Duration(rng.IntN(200))*time.Second)))
	}
	if got := Shop(noon).Counts(Flow{Peak: 5}, noon, noon); !reflect.DeepEqual(got, Counts{}) {
		t.Errorf("counts of no time = %+v, want none", got)
	}
}

// TestSmallCountsAreFair counts so little at a time that every step is rounded:
// half of all requests, and half of those that failed, still take longer than
// the median.
func TestSmallCountsAreFair(t *testing.T) {
	f := Flow{Name: "f", Peak: 1, ErrorRatio: 0.3, Median: 100 * time.Millisecond, Sigma: 0.5}
	m := &Model{Flows: []Flow{f}, PeakHour: 14}
	var total, over, bad, badOver uint64
	for at := noon; at.Before(noon.Add(4 * time.Hour)); at = at.Add(2 * time.Second) {
		c := m.Counts(f, at, at.Add(2*time.Second))
		total += c.Total
		bad += c.Bad
		over += c.Over(f.Median)
		for _, s := range c.Latencies {
			if s.Latency > f.Median {
				badOver += s.Bad
			}
		}
	}
	for _, tc := range []struct {
		name        string
		over, total uint64
	}{{"all", over, total}, {"failed", badOver, bad}} {
		slack := 3 / math.Sqrt(float64(tc.total))
		if got := float64(tc.over) / float64(tc.total); !(math.Abs(got-0.5) < slack) {
			t.Errorf("%s: %d of %d over the median, %.3f, want half", tc.name, tc.over, tc.total, got)
		}
	}
}

func TestRateFollowsTheDay(t *testing.T) {
	m := Shop(noon)
	f := flowOf(t, m, "checkout")
	zurich := time.FixedZone("CEST", 2*3600)
	local := *m
	local.Location = zurich
	at := func(day, hour int, loc *time.Location) time.Time { return time.Date(2026, 9, day, hour, 0, 0, 0, loc) }
	for _, tc := range []struct {
		name  string
		model *Model
		t     time.Time
		want  float64 // of the peak
	}{
		{name: "peak", model: m, t: at(16, 14, time.UTC), want: 1},
		{name: "night", model: m, t: at(16, 2, time.UTC), want: 0.15},
		{name: "morning", model: m, t: at(16, 8, time.UTC), want: 0.575},
		{name: "evening", model: m, t: at(16, 20, time.UTC), want: 0.575},
		{name: "Saturday's peak", model: m, t: at(19, 14, time.UTC), want: 0.6},
		{name: "Sunday night", model: m, t: at(20, 2, time.UTC), want: 0.09},
		{name: "peak elsewhere", model: &local, t: at(16, 12, time.UTC), want: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.model.Rate(f, tc.t) / f.Peak; math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("rate at %v = %g of the peak, want %g", tc.t, got, tc.want)
			}
		})
	}
	noLocation := *m
	noLocation.Location = nil
	if got, want := noLocation.Rate(f, noon), m.Rate(f, noon); got != want {
		t.Errorf("rate without a location = %g, want UTC's %g", got, want)
	}
}

// TestIncidentsEnd plays the demo's story: a bad deployment, and its rollback at
// a time nobody knew before.
func TestIncidentsEnd(t *testing.T) {
	m := Shop(noon)
	bad := noon.Add(time.Minute)
	back := bad.Add(90 * time.Second)
	m.Add(Incident{Flow: "checkout", From: bad, ErrorRatio: 1, Version: BadVersion, Why: "1.42.0 cannot reach the payment service"})

	state := func() string {
		var s []string
		for _, at := range []time.Time{bad.Add(-1), bad, back.Add(-1), back, back.Add(day)} {
			ratio, _ := m.state(flowOf(t, m, "checkout"), at)
			s = append(s, fmt.Sprintf("%s %g", m.VersionAt(at), ratio))
		}
		return strings.Join(s, ", ")
	}
	if got, want := state(), "1.41.0 0.0003, 1.42.0 1, 1.42.0 1, 1.42.0 1, 1.42.0 1"; got != want {
		t.Errorf("before the rollback: %s, want %s", got, want)
	}
	history := len(m.Incidents)
	m.End("search", back)
	m.End("checkout", back)
	m.End("checkout", back.Add(time.Hour)) // ended already
	if got, want := state(), "1.41.0 0.0003, 1.42.0 1, 1.42.0 1, 1.41.0 0.0003, 1.41.0 0.0003"; got != want {
		t.Errorf("after the rollback: %s, want %s", got, want)
	}
	if len(m.Incidents) != history {
		t.Errorf("%d incidents, want all %d kept", len(m.Incidents), history)
	}
	m.Add(Incident{Flow: "checkout", From: back, ErrorRatio: 1})
	m.End("checkout", back)
	if got, want := state(), "1.41.0 0.0003, 1.42.0 1, 1.42.0 1, 1.41.0 0.0003, 1.41.0 0.0003"; got != want {
		t.Errorf("after an incident of no time: %s, want %s", got, want)
	}
}

func TestNext(t *testing.T) {
	m := Shop(noon)
	from := noon.Add(2 * time.Hour) // the peak
	m.Add(Incident{Flow: "login", From: from, ErrorRatio: 0.5, LatencyFactor: 2})
	play := func(seed uint64) (out []Request) {
		rng := rand.New(rand.NewPCG(seed, 0))
		for at := from; ; {
			r := m.Next(rng, at)
			if !r.Start.After(at) {
				t.Fatalf("request at %v, want it after %v", r.Start, at)
			}
			if at = r.Start; at.After(from.Add(10 * time.Minute)) {
				return out
			}
			out = append(out, r)
		}
	}
	requests := play(1)
	if !reflect.DeepEqual(requests, play(1)) {
		t.Error("the same seed gives other requests")
	}
	if reflect.DeepEqual(requests, play(2)) {
		t.Error("another seed gives the same requests")
	}

	count := map[string]int{}
	failed := map[string]int{}
	var login time.Duration
	for _, r := range requests {
		f := flowOf(t, m, r.Flow)
		count[r.Flow]++
		if r.Failed {
			failed[r.Flow]++
		}
		if r.Flow == "login" {
			login += r.Latency
		}
		if (r.Status == 500) != r.Failed || r.Method != f.Method || r.Route != f.Route || r.Version != GoodVersion {
			t.Errorf("request %+v does not fit its flow %+v", r, f)
		}
		if strings.Contains(r.Path, "{") || strings.HasSuffix(f.Route, "/{id}") != (r.Path != f.Route) {
			t.Errorf("path %s of route %s", r.Path, r.Route)
		}
		if !r.End().Equal(r.Start.Add(r.Latency)) {
			t.Errorf("request %+v ends at %v", r, r.End())
		}
	}
	for _, f := range m.Flows {
		want := f.Peak * 600
		if got := float64(count[f.Name]); math.Abs(got-want) > 4*math.Sqrt(want) {
			t.Errorf("%s: %g requests in 10 minutes, want about %g", f.Name, got, want)
		}
	}
	if got := float64(failed["login"]) / float64(count["login"]); math.Abs(got-0.5) > 0.05 {
		t.Errorf("%g of logins failed, want half", got)
	}
	// The mean of a lognormal distribution is median × exp(sigma²/2).
	mean := login.Seconds() / float64(count["login"])
	if want := 2 * 0.150 * math.Exp(0.4*0.4/2); math.Abs(mean/want-1) > 0.05 {
		t.Errorf("mean login takes %g s, want about %g", mean, want)
	}
}

func TestBatch(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    BatchOptions
	}{
		{name: "entry spans only", o: BatchOptions{Requests: 1000, Every: time.Millisecond}},
		{name: "inner spans and former names", o: BatchOptions{Requests: 500, Every: 20 * time.Millisecond, Inner: 5, OldNames: true}},
		{name: "none", o: BatchOptions{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Start = noon
			m := Shop(noon)
			m.Add(Incident{Flow: "checkout", From: noon.Add(200 * time.Millisecond), ErrorRatio: 0.7, LatencyFactor: 3, Version: BadVersion})
			body, tally, err := m.Batch(tc.o)
			if err != nil {
				t.Fatal(err)
			}
			again, _, _ := m.Batch(tc.o)
			if !bytes.Equal(body, again) {
				t.Error("the same options give other bytes")
			}
			other := tc.o
			other.Seed++
			if b, _, _ := m.Batch(other); tc.o.Requests > 0 && bytes.Equal(b, body) {
				t.Error("another seed gives the same bytes")
			}

			// Count again from the bytes alone.
			var req tracecollector.ExportTraceServiceRequest
			if err := proto.Unmarshal(body, &req); err != nil {
				t.Fatal(err)
			}
			flows := map[string]string{}
			for _, f := range m.Flows {
				flows[f.Method+" "+f.Route] = f.Name
			}
			method, status := "http.request.method", "http.response.status_code"
			if tc.o.OldNames {
				method, status = "http.method", "http.status_code"
			}
			got := map[string]Counts{}
			versions := map[string]int{}
			ids := map[string]bool{}
			spans := 0
			var last time.Time
			for _, rs := range req.ResourceSpans {
				res := attributes(rs.Resource.Attributes)
				if res["service.name"] != "shop" {
					t.Errorf("service.name = %s, want shop", res["service.name"])
				}
				for _, s := range rs.ScopeSpans[0].Spans {
					spans++
					ids[string(s.SpanId)] = true
					if s.Kind != trace.Span_SPAN_KIND_SERVER {
						continue
					}
					versions[res["service.version"]]++
					a := attributes(s.Attributes)
					latency := time.Duration(s.EndTimeUnixNano - s.StartTimeUnixNano)
					sample := Sample{Latency: latency, Total: 1}
					if s.Status.Code == trace.Status_STATUS_CODE_ERROR {
						sample.Bad = 1
					}
					if want := []string{"200", "500"}[sample.Bad]; a[status] != want {
						t.Errorf("%s = %s, want %s", status, a[status], want)
					}
					c := got[flows[a[method]+" "+a["http.route"]]]
					c.add(Counts{Total: 1, Bad: sample.Bad, Latencies: []Sample{sample}})
					got[flows[a[method]+" "+a["http.route"]]] = c
					if end := time.Unix(0, int64(s.EndTimeUnixNano)); end.After(last) {
						last = end
					}
				}
			}
			for _, f := range m.Flows {
				g, w := got[f.Name], tally[f.Name]
				if g.Total != w.Total || g.Bad != w.Bad || g.Over(300*time.Millisecond) != w.Over(300*time.Millisecond) {
					t.Errorf("%s: %d requests, %d bad, %d over 300ms in the bytes, tally says %d, %d, %d",
						f.Name, g.Total, g.Bad, g.Over(300*time.Millisecond), w.Total, w.Bad, w.Over(300*time.Millisecond))
				}
			}
			if want := tc.o.Requests * (1 + tc.o.Inner); spans != want || len(ids) != want {
				t.Errorf("%d spans with %d ids, want %d", spans, len(ids), want)
			}
			if tc.o.Requests == 0 {
				return
			}
			if want := noon.Add(time.Duration(tc.o.Requests-1) * tc.o.Every); !last.Equal(want) {
				t.Errorf("last request ends at %v, want %v", last, want)
			}
			before := int(200 * time.Millisecond / tc.o.Every)
			if want := map[string]int{GoodVersion: before, BadVersion: tc.o.Requests - before}; !reflect.DeepEqual(versions, want) {
				t.Errorf("requests by version %v, want %v", versions, want)
			}
		})
	}
}

func TestBatchRefuses(t *testing.T) {
	_, _, err := Shop(noon).Batch(BatchOptions{Requests: 1, Inner: -1})
	if want := "synth: a batch of 1 requests with -1 spans inside; want 0 or more of both"; err == nil || err.Error() != want {
		t.Errorf("Batch = %v, want %q", err, want)
	}
	m := Shop(noon)
	m.Service = "shop\xff"
	if _, _, err := m.Batch(BatchOptions{Requests: 1, Start: noon}); err == nil || !strings.HasPrefix(err.Error(), "synth: encode batch: ") {
		t.Errorf("Batch of a service that is not UTF-8 = %v, want an error", err)
	}
}

func attributes(kvs []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range kvs {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = fmt.Sprint(v.IntValue)
		}
	}
	return out
}

func TestCountsAreDeterministic(t *testing.T) {
	m, other := Shop(noon), Shop(noon)
	other.Seed++
	f := flowOf(t, m, "search")
	a, b := m.Counts(f, noon, noon.Add(time.Hour)), m.Counts(f, noon, noon.Add(time.Hour))
	if !reflect.DeepEqual(a, b) {
		t.Error("the same model gives other counts")
	}
	if c := other.Counts(f, noon, noon.Add(time.Hour)); reflect.DeepEqual(a, c) {
		t.Error("another seed gives the same counts")
	}
}

// BenchmarkHistory fills in what the demo starts with.
func BenchmarkHistory(b *testing.B) {
	m := Shop(noon)
	b.ReportAllocs()
	for b.Loop() {
		for _, f := range m.Flows {
			for at := noon.Add(-30 * day); at.Before(noon); at = at.Add(step) {
				m.Counts(f, at, at.Add(step))
			}
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/30d")
}

func BenchmarkBatch(b *testing.B) {
	m := Shop(noon)
	o := BatchOptions{Requests: 1000, Start: noon, Every: time.Millisecond, Inner: 4}
	for b.Loop() {
		if _, _, err := m.Batch(o); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(5000*float64(b.N)/b.Elapsed().Seconds(), "spans/s")
}
