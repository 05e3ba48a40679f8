package grafana

import (
	"fmt"
	"testing"

	"github.com/slowburn-slo/slowburn/slo"
)

func BenchmarkDashboards(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			flows := make([]slo.Flow, n)
			for i := range flows {
				flows[i] = varied(b)[0]
				flows[i].Name = fmt.Sprintf("flow-%d", i)
			}
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				all, err := Dashboards(flows)
				if err != nil {
					b.Fatal(err)
				}
				size = 0
				for _, d := range all {
					size += len(d.JSON)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/float64(n), "ms/flow")
			b.ReportMetric(float64(size)/float64(n), "B/flow")
		})
	}
}
