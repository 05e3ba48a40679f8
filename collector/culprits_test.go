package collector

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// TestCulprits holds what is found against spans as they came in.
func TestCulprits(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	defer p.Close()
	now := time.Now()
	for minute := range 10 {
		at := now.Add(time.Duration(minute-9) * time.Minute)
		var reqs []req
		for i := range 200 {
			r := req{route: "/api/checkout", tenant: fmt.Sprintf("tenant-%d", i%5), latency: 20 * time.Millisecond, end: at}
			if minute >= 5 {
				r.failed = i%5 == 3 && i%4 != 0
				if i%5 == 1 {
					r.latency = time.Second
				}
			}
			reqs = append(reqs, r)
		}
		if rejected, err := p.traces(body(t, reqs...), at); err != nil || rejected.Spans > 0 {
			t.Fatal(rejected, err)
		}
	}
	for _, tc := range []struct {
		name, flow string
		slow       bool
		want       string
	}{
		{name: "bad", flow: "checkout", want: "tenant.id=tenant-3"},
		{name: "slow", flow: "checkout", slow: true, want: "tenant.id=tenant-1"},
		{name: "another flow", flow: "search"},
		{name: "no such flow", flow: "x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			for _, c := range p.Culprits("shop", tc.flow, tc.slow, now.Add(-4*time.Minute), now.Add(time.Minute)) {
				for _, v := range c.Values {
					got += v.Attribute + "=" + v.Text
				}
			}
			if got != tc.want {
				t.Errorf("Culprits = %q, want %q", got, tc.want)
			}
		})
	}
}

// TestCulpritsWhileFlowsChange is for the race detector: requests, questions and
// new flows at the same time.
func TestCulpritsWhileFlowsChange(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	defer p.Close()
	b := body(t, req{route: "/api/checkout", tenant: "a", failed: true}, req{route: "/api/search", tenant: "b"})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 200 {
				if _, err := p.Traces(b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 10 {
			flows := shop()
			if i%2 == 0 {
				slices.Reverse(flows)
				flows[1].Where = []string{slo.KeyRoute}
			}
			if err := p.Apply(flows); err != nil {
				t.Error(err)
			}
			p.Culprits("shop", "checkout", false, time.Now().Add(-time.Minute), time.Now())
		}
	})
	wg.Wait()
}
