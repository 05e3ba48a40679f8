package spec

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkParse reads files of 10, 1,000 and 10,000 SLOs. An editor that
// validates at each key wants 1,000 in under 100 ms.
func BenchmarkParse(b *testing.B) {
	for _, slos := range []int{10, 1000, 10_000} {
		var file strings.Builder
		file.WriteString("service: shop\nslack: \"#shop\"\nflows:\n")
		for i := range slos / 2 {
			fmt.Fprintf(&file, "  flow-%d:\n    match: POST /api/flow/%d\n    slos:\n      - 99.9%% succeed\n      - 95%% under 300ms\n", i, i)
		}
		data := []byte(file.String())
		b.Run(fmt.Sprintf("slos=%d", slos), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse("slos.yaml", data); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(time.Millisecond)/float64(b.N), "ms/file")
		})
	}
}
