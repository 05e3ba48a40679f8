package judge_test

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/slowburn-slo/slowburn/slo/judge"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

// healthy returns a judge, and a state of its SLO with traffic, after the first
// reading.
func healthy() (*judge.Judge, ledger.State) {
	c := scenario{Outage: true, Spent: []float64{0.5, 1}, RunsOut: true}
	s := c.slo()
	l := ledger.New(noon)
	l.Define([]ledger.Def{{ID: s.ID(), Windows: s.Objective.Windows()}})
	j := judge.New(s)
	for i := range 1000 {
		l.Add(noon.Add(time.Duration(i)*time.Second), []ledger.Entry{{ID: s.ID(), Good: 100}})
	}
	state, _ := l.State(s.ID())
	j.Step(noon, state, 0)
	return j, state
}

// BenchmarkStep judges SLOs that have traffic and do not burn.
func BenchmarkStep(b *testing.B) {
	for _, slos := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("slos=%d", slos), func(b *testing.B) {
			judges := make([]*judge.Judge, slos)
			var state ledger.State
			for i := range judges {
				judges[i], state = healthy()
				if i > 0 {
					continue
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			at := noon
			n := 0
			for b.Loop() {
				if n%slos == 0 {
					at = at.Add(2 * time.Second)
					state.Events += 200
				}
				judges[n%slos].Step(at, state, 0)
				n++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "slos/s")
		})
	}
}

// TestStepCosts holds a judge to its price.
func TestStepCosts(t *testing.T) {
	j, state := healthy()
	at := noon
	if n := testing.AllocsPerRun(1000, func() {
		at = at.Add(2 * time.Second)
		state.Events += 200
		j.Step(at, state, 0)
	}); n != 0 {
		t.Errorf("a step allocates %g times, want none", n)
	}
	if n := unsafe.Sizeof(*j); n > 640 {
		t.Errorf("a judge has %d bytes, want 640 at most", n)
	}
}
