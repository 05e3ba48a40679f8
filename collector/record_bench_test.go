package collector

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

var benchSLOs = flag.Int("slos", 10_000, "how many SLOs BenchmarkLedgerTick ticks at most")

// BenchmarkLedgerTick is what happens every 30 s to SLOs with eight windows
// each: their events are counted, and their 21 series are written. Its heap is
// that of the ledger, the recorder and the storage's newest samples.
//
// %core@100k multiplies what one SLO takes by 100,000: processor time of the whole
// process, so garbage collection on another core counts. 100,000 SLOs themselves
// take 10 GB:
//
//	go test -run '^$' -bench LedgerTick -benchtime 10x ./collector -slos 100000
func BenchmarkLedgerTick(b *testing.B) {
	for _, n := range []int{100, *benchSLOs} {
		b.Run(fmt.Sprintf("slos=%d", n), func(b *testing.B) {
			opts := tsdb.DefaultOptions()
			opts.RetentionDuration = 0
			db, err := tsdb.Open(b.TempDir(), nil, nil, opts, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			heap := func() uint64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			start := heap()
			now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
			flows := make([]slo.Flow, n)
			for i := range flows {
				o := slo.Objective{Name: "availability", Target: 0.999, Window: slo.DefaultWindow, Tiers: slo.Tiers(0.999, slo.DefaultWindow)}
				flows[i] = slo.Flow{Name: fmt.Sprintf("flow-%d", i), Service: "shop", Objectives: []slo.Objective{o}}
			}
			book, rec := ledger.New(now), newRecorder(flows, "bench")
			defs, entries := make([]ledger.Def, n), make([]ledger.Entry, n)
			for i, s := range slo.All(flows) {
				defs[i] = ledger.Def{ID: s.ID(), Windows: s.Objective.Windows()}
				entries[i] = ledger.Entry{ID: s.ID(), Good: 1000, Bad: 1}
			}
			book.Define(defs)
			kept := heap()
			tick := func() {
				now = now.Add(30 * time.Second)
				book.Add(now, entries)
				app := db.Appender(context.Background())
				for i := range defs {
					state, _ := book.State(defs[i].ID)
					if err := rec.slo(app, now.UnixMilli(), i, state, true); err != nil {
						b.Fatal(err)
					}
				}
				if err := app.Commit(); err != nil {
					b.Fatal(err)
				}
			}
			tick() // the series exist from here on
			b.ReportAllocs()
			ticks, cpu := 0, processorTime(b)
			for b.Loop() {
				tick()
				ticks++
			}
			perSLO := float64((processorTime(b) - cpu).Nanoseconds()) / float64(ticks) / float64(n)
			b.ReportMetric(perSLO, "cpu-ns/slo")
			b.ReportMetric(perSLO*100_000/30e9*100, "%core@100k")
			b.ReportMetric(float64(kept-start)/float64(n), "B/slo-ledger")
			b.ReportMetric(float64(heap()-start)/float64(n), "B/slo-all")
			runtime.KeepAlive(book)
		})
	}
}

// processorTime returns the time the process spent on all cores until now.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
