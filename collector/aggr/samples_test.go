package aggr

import (
	"fmt"
	"testing"

	"github.com/slowburn-slo/slowburn/slo"
)

// TestSamples: each flush tells of the slowest request, a failed and a good one,
// whichever shard counted them, with the value they were counted under.
func TestSamples(t *testing.T) {
	a := newAggregator(t, Options{Shards: 2},
		slo.Flow{Name: "search", Objectives: []slo.Objective{succeed}},
		slo.Flow{Name: "checkout", By: "tenant", ByLimit: 1, Objectives: []slo.Objective{succeed}})
	show := func() (out string) {
		a.Flush(func(d FlowDelta) {
			for _, s := range []Sample{d.Samples.Slowest, d.Samples.Bad, d.Samples.Good} {
				if !s.Known() {
					out += "- "
					continue
				}
				out += fmt.Sprintf("%d%s@%dms ", s.Trace[0], s.Value, s.Latency/ms)
			}
		})
		return out
	}
	of := func(flow int32, trace byte, latency uint64, bad bool, by string) Event {
		return Event{Flow: flow, Trace: &[16]byte{trace}, Latency: latency * ms, Bad: bad, By: []byte(by)}
	}
	for _, tc := range []struct {
		name      string
		one, more []Event // in two shards
		want      string
	}{
		{name: "nothing", want: "- - - - - - "},
		{name: "one good", one: []Event{of(0, 1, 5, false, "")}, want: "1@5ms - 1@5ms - - - "},
		{name: "one bad", one: []Event{of(0, 1, 5, true, "")}, want: "1@5ms 1@5ms - - - - "},
		{
			name: "two shards",
			one:  []Event{of(0, 1, 5, true, ""), of(0, 2, 9, false, "")},
			more: []Event{of(0, 3, 10, true, ""), of(0, 4, 3, false, "")},
			want: "3@10ms 1@5ms 2@9ms - - - ",
		},
		{
			name: "values",
			one:  []Event{of(1, 1, 5, true, "a"), of(1, 2, 9, false, "b")},
			want: "- - - 2__overflow__@9ms 1a@5ms 2__overflow__@9ms ",
		},
		{name: "no trace ids", one: []Event{{Latency: 99 * ms}, of(0, 0, 50, true, ""), of(0, 7, 1, true, "")}, want: "7@1ms 7@1ms - - - - "},
		{name: "nothing again", want: "- - - - - - "},
	} {
		a.shards[0].mu.Lock()
		a.shards[0].commit(tc.one)
		a.shards[0].mu.Unlock()
		a.shards[1].mu.Lock()
		a.shards[1].commit(tc.more)
		a.shards[1].mu.Unlock()
		if got := show(); got != tc.want {
			t.Errorf("%s: samples are %s, want %s", tc.name, got, tc.want)
		}
	}
}
