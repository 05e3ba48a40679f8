package collector

import (
	"encoding/hex"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	otlptracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// traced returns a search of a trace whose id ends in id.
func traced(id byte, latency time.Duration, failed bool) *otlptracepb.ResourceSpans {
	rs := from("shop", "", "/api/search")
	s := rs.ScopeSpans[0].Spans[0]
	s.TraceId = append(make([]byte, 15), id)
	s.StartTimeUnixNano = s.EndTimeUnixNano - uint64(latency)
	if failed {
		s.Status = &otlptracepb.Status{Code: otlptracepb.Status_STATUS_CODE_ERROR}
	}
	return rs
}

func TestSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Options{Flows: shop(), Dir: t.TempDir(), Store: &board{}})
		defer p.end()
		began := time.Now()
		show := func() string {
			var out []string
			for _, s := range p.Samples("shop", "search") {
				bad := ""
				if s.Bad {
					bad = " bad"
				}
				out = append(out, fmt.Sprintf("%s %s %v%s", s.Why, s.TraceID[30:], s.Duration, bad))
			}
			return fmt.Sprint(out)
		}
		want := func(when, want string) {
			t.Helper()
			if got := show(); got != want {
				t.Errorf("%s: samples are %s\nwant %s", when, got, want)
			}
		}
		next := func() { time.Sleep(DefaultFlush); synctest.Wait() }
		const ms = time.Millisecond

		time.Sleep(DefaultFlush / 2) // not when a flush is due
		want("at first", "[]")
		sendAll(t, p.Pipeline, traced(0, time.Second, true)) // no trace id
		next()
		want("without trace ids", "[]")

		sendAll(t, p.Pipeline, traced(1, 10*ms, false), traced(2, 500*ms, false), traced(3, 20*ms, true))
		next()
		want("one flush", "[slowest 02 500ms failed 03 20ms bad typical 01 10ms]")
		if s := p.Samples("shop", "search")[0]; s.At.Before(began) || s.At.After(time.Now()) || len(s.TraceID) != 32 {
			t.Errorf("the slowest is %+v, want it since %v and 32 digits", s, began)
		}

		for i := byte(10); i < 16; i++ {
			sendAll(t, p.Pipeline, traced(i, time.Duration(i)*10*ms, true))
			next()
		}
		want("failures", "[slowest 02 500ms slowest 0f 150ms bad slowest 0e 140ms bad failed 0d 130ms bad failed 0c 120ms bad failed 0b 110ms bad typical 01 10ms]")

		time.Sleep(50 * time.Minute)
		for i := byte(20); i < 26; i++ { // one a minute
			sendAll(t, p.Pipeline, traced(i, time.Duration(i)*ms, false))
			time.Sleep(time.Minute)
		}
		want("later", "[slowest 02 500ms slowest 0f 150ms bad slowest 0e 140ms bad failed 0d 130ms bad failed 0c 120ms bad failed 0b 110ms bad typical 16 22ms]")

		time.Sleep(30 * time.Minute)
		want("failures are past", "[slowest 19 25ms slowest 18 24ms slowest 17 23ms typical 15 21ms]")
		time.Sleep(time.Hour)
		want("all is past", "[]")

		sendAll(t, p.Pipeline, traced(30, ms, false))
		if err := p.Apply(shop()); err != nil {
			t.Fatal(err)
		}
		want("the same flows applied", "[slowest 1e 1ms]")
		if err := p.Apply(shop()[:1]); err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(shop()); err != nil {
			t.Fatal(err)
		}
		want("gone and back", "[]")
	})
}

// TestSlowestOfAnHour holds the samples against all requests of the hour.
func TestSlowestOfAnHour(t *testing.T) {
	f := &flowSamples{}
	flow := &shop()[1]
	s := samples{flows: map[[2]string]*flowSamples{{flow.Service, flow.Name}: f}}
	type one struct {
		at      time.Time
		latency uint64
	}
	var all []one
	began := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	state := uint64(1)
	for i := range 5000 {
		state = state*6364136223846793005 + 1442695040888963407
		x := one{began.Add(time.Duration(i) * 2 * time.Second), state >> 40}
		all = append(all, x)
		f.addSlow(newSample(i, x.latency, x.at))
		if len(f.slow) > maxSlow {
			t.Fatalf("%d requests are kept, want at most %d", len(f.slow), maxSlow)
		}
		if i%100 != 99 {
			continue
		}
		var want [3]uint64
		for _, y := range all {
			if x.at.Sub(y.at) > sampleAge {
				continue
			}
			for j := range want {
				if y.latency > want[j] {
					copy(want[j+1:], want[j:])
					want[j] = y.latency
					break
				}
			}
		}
		var got [3]uint64
		for j, s := range s.show(flow.Service, flow.Name, x.at) {
			got[j] = uint64(s.Duration)
		}
		if got != want {
			t.Fatalf("after %d requests the slowest are %v, want %v", i+1, got, want)
		}
	}
}

func newSample(id int, latency uint64, at time.Time) (s sample) {
	s.Trace[0], s.Trace[1], s.Trace[2] = 1, byte(id>>8), byte(id)
	s.Latency, s.at = latency, at
	return s
}

// TestExemplars: the store gives out the traces that the samples name, on the
// histogram they were counted in.
func TestExemplars(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	flows := shop()
	flows[1].By = "http.request.method"
	p, err := New(Options{Flows: flows, Dir: t.TempDir(), Store: st})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	now := time.Now()
	for i := range byte(3) {
		sendAll(t, p, traced(10*i+1, 10*time.Millisecond, false), traced(10*i+2, 500*time.Millisecond, false), traced(10*i+3, 20*time.Millisecond, true))
		if err := p.flush(now.Add(time.Duration(i) * 6 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	q, err := st.ExemplarQuerier(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, err := q.Select(0, now.Add(time.Hour).UnixMilli(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", series.FlowDuration)})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, s := range found {
		got += s.SeriesLabels.String() + "\n"
		for _, e := range s.Exemplars {
			id, err := hex.DecodeString(e.Labels.Get("trace_id"))
			if err != nil || len(id) != 16 || e.Labels.Len() != 1 {
				t.Errorf("exemplar %s, want a trace id alone", e.Labels)
			}
			got += fmt.Sprintf("%d: %d %gs\n", (e.Ts-now.UnixMilli())/1000, id[15], e.Value)
		}
	}
	// The first flush writes its own, the third those since.
	want := `{__name__="slowburn_flow_duration_seconds", by="GET", flow="search", service="shop"}
0: 3 0.02s
0: 2 0.5s
6: 12 0.5s
12: 23 0.02s
`
	if got != want {
		t.Errorf("exemplars:\n%s\nwant:\n%s", got, want)
	}
}

// TestExemplarsTakeTurns: more flows than get exemplars at a time.
func TestExemplarsTakeTurns(t *testing.T) {
	var flows []slo.Flow
	for i := range 3*maxExemplars - 2 {
		f := shop()[1]
		f.Name, f.Match = fmt.Sprint("flow-", i), slo.Selector{{Key: slo.KeyRoute, Any: []slo.Pattern{{Text: fmt.Sprint("/", i)}}}}
		flows = append(flows, f)
	}
	st := openStore(t, t.TempDir())
	defer st.Close()
	p, err := New(Options{Flows: flows, Dir: t.TempDir(), Store: st})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	now := time.Now()
	for i := range flows {
		rs := from("shop", "", fmt.Sprint("/", i))
		rs.ScopeSpans[0].Spans[0].TraceId = append(make([]byte, 15), byte(i+1))
		sendAll(t, p, rs)
	}
	for round, want := range []int{maxExemplars, 2 * maxExemplars, len(flows), len(flows)} {
		now = now.Add(slow)
		if err := p.flush(now); err != nil {
			t.Fatal(err)
		}
		q, err := st.ExemplarQuerier(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found, err := q.Select(0, now.UnixMilli(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", series.FlowDuration)})
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != want {
			t.Errorf("round %d: %d flows have exemplars, want %d", round, len(found), want)
		}
	}
}
