package probe

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/slo"
)

// BenchmarkMinute counts one minute of many objectives in the embedded store.
func BenchmarkMinute(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("slos=%d", n), func(b *testing.B) {
			st, err := store.Open(store.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer st.Close()
			end := time.Now().Truncate(time.Minute)
			app := st.Appender(b.Context())
			s := newShop(end, 12)
			for i, at := range s.times {
				for _, p := range s.pods {
					series := labels.FromStrings("__name__", "http_requests_total", "code", p.code, "pod", p.name)
					if _, err := app.Append(0, series, at.UnixMilli(), p.values[i]); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := app.Commit(); err != nil {
				b.Fatal(err)
			}
			var flows []slo.Flow
			for i := range n {
				flows = append(flows, counted(fmt.Sprintf("flow-%d", i), queries["rate"]))
			}
			p, err := New(Options{Flows: flows, Query: rules.EngineQueryFunc(st.RulesEngine(), st), Count: newLedger().count})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				for _, c := range p.counters {
					c.account.Until = end.Add(-time.Minute)
				}
				p.round(b.Context(), end)
			}
			if f := p.Failing(); f.Err != nil {
				b.Fatal(f.Err)
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "slos/s")
		})
	}
}
