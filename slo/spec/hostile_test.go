package spec

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestHostile gives files made to exhaust whoever reads them: each must be
// refused for the reason wanted, soon and in little memory.
func TestHostile(t *testing.T) {
	const mib = 1 << 20
	keys := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	query := func(q string) string { return promise("{target: 99%, promql: {ratio: '" + q + "'}}") }
	flows := func(n int) string {
		return "service: s\nflows:\n" + keys(n, "  f%d: {match: /x, slos: [9%% succeed]}\n")
	}
	for _, tc := range []struct{ name, in, want string }{
		{"[", strings.Repeat("[", mib), "more than 200000 marks such as [ { : and -"},
		{"billion laughs", "a: &a [lol, lol]\nb: &b [*a, *a]\nc: [*b, *b]\n", "an anchor (&), which is not supported"},
		{"a text of a mebibyte", "service: " + strings.Repeat("x", mib-20), "flows: is missing"},
		{"words", "service: " + strings.Repeat("x y ", mib/4-20), "flows: is missing"},
		{"lines", "service: " + strings.Repeat("x\n ", mib/3-20), "flows: is missing"},
		{"block", "service: |\n" + strings.Repeat(" x\n", mib/3-20), "holds a line break"},
		{"quoted", "service: \"" + strings.Repeat("x\\n", mib/3-20) + "\"", "holds a line break"},
		{"a long key", strings.Repeat("x", mib/2) + ": 1", "unknown key"},
		{"a long number", "flows: " + strings.Repeat("1", mib/2), "is the text \"1111"},
		{"a long share", promise(strings.Repeat("1", mib/2) + "% succeed"), "is not a percentage"},
		{"a long comparison", checkout("match: {a: '>" + strings.Repeat("x", mib/2) + "'}"), "xxx…; want a number after >"},
		{"a long comment", "slack: #" + strings.Repeat("x", mib/2), "is empty"},
		{"brackets in a query", query(strings.Repeat("(", maxQuery)), "has more than 1000 words and signs"},
		{"sums in a query", query("1" + strings.Repeat("+1", maxQuery/2-1)), "has more than 1000 words and signs"},
		{"many sums", "service: s\nflows:\n" + keys(900, "  f%d: {slos: [{target: 99%%, promql: {ratio: '1"+strings.Repeat("+1", maxWords/2-1)+"'}}]}\n"), "has no range $window"},
		{"many brackets", "service: s\nflows:\n" + keys(900, "  f%d: {slos: [{target: 99%%, promql: {ratio: '"+strings.Repeat("(", maxWords/2-1)+"1"+strings.Repeat(")", maxWords/2-1)+"'}}]}\n"), "has no range $window"},
		{"a long query", query(strings.Repeat("x", mib/2)), "is longer than 16384 bytes"},
		{"templates", promise("{succeed: 99%, alerts: {annotations: {a: '" + strings.Repeat("{{if 1}}", mib/40) + "'}}}"), "is not a template of Prometheus"},
		{"zones", "service: s\nflows:\n" + keys(5_000, "  f%d: {match: /x, window: week, timezone: Z%[1]d, slos: [9%% succeed]}\n"), "is not a time zone"},
		{"flows of excludes that are none", flows(4_000) + "exclude:\n" + strings.Repeat("- {from: 2026-12-01, for: 1h, flows: ["+strings.Repeat("x1234,", 400)+"x]}\n", 180), "more than 1000 faults"},
		{
			"overlaps of excludes", flows(1_000) + "exclude:\n" + strings.Repeat("- {every: day, at: 02:00, for: 22h}\n", maxRecurring) +
				strings.Repeat("- {from: 2026-12-01, for: 400d}\n", maxExcludes-maxRecurring), "more than 1000 faults",
		},
		{"faults", "service: s\nflows:\n" + keys(5_000, "  A%d: 1\n"), "more than 1000 faults"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := Parse("f.yaml", []byte(tc.in))
			took := time.Since(began)
			runtime.ReadMemStats(&after)

			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("Parse reports %.300v, want %s", err, tc.want)
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				if len(line) > 500 {
					t.Errorf("a message of %d bytes, want one that can be read: %.100s…", len(line), line)
				}
			}
			// A second when the machine has nothing else to do; without the
			// bounds, some of these take minutes and hours.
			if took > 30*time.Second {
				t.Errorf("Parse takes %v, want about a second", took)
			}
			// Garbage included; what is held at once is less.
			if sum := (after.TotalAlloc - before.TotalAlloc) >> 20; sum > 1024 {
				t.Errorf("Parse allocates %d MiB in all, want at most 1024", sum)
			}
		})
	}
}

// TestManyExcludes: flows that differ in the excludes they have do not each
// take as much memory as all excludes of the file.
func TestManyExcludes(t *testing.T) {
	var b strings.Builder
	b.WriteString("service: s\nflows:\n")
	for i := range 5_000 {
		fmt.Fprintf(&b, "  f%d: {match: /x/%[1]d, slos: [9%% succeed]}\n", i)
	}
	b.WriteString("exclude:\n")
	for i := range maxExcludes {
		fmt.Fprintf(&b, "- {from: 2026-01-%02d %02d:00, for: 5m}\n", 1+i/24, i%24)
	}
	began := time.Now()
	config, err := Parse("f.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	first, last := config.Flows[0].Exclude, config.Flows[len(config.Flows)-1].Exclude
	if len(first) != maxExcludes || len(last) != maxExcludes || &first[0] != &last[0] {
		t.Errorf("the first and the last flow have %d and %d excludes of their own, want %d between them", len(first), len(last), maxExcludes)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("Parse takes %v, want about a second", took)
	}
}

// TestMaxFlows reads as many flows as may be, and one more.
func TestMaxFlows(t *testing.T) {
	const each = 500
	fsys := fstest.MapFS{}
	for i := range maxFlows / each {
		var b strings.Builder
		b.WriteString("service: s\nflows:\n")
		for j := range each {
			fmt.Fprintf(&b, "  a%d-%d:\n    match: POST /api/%d/%d\n    slos: [99%% succeed]\n", i, j, i, j)
		}
		fsys[fmt.Sprintf("%d.yaml", i)] = &fstest.MapFile{Data: []byte(b.String())}
	}
	config, err := Load(fsys, ".")
	if err != nil || len(config.Flows) != maxFlows {
		t.Errorf("Load = %d flows, %.300v, want %d", len(config.Flows), err, maxFlows)
	}
	fsys["last.yaml"] = &fstest.MapFile{Data: []byte("service: s\nflows: {last: {match: /x, slos: [99% succeed]}}\n")}
	_, err = Load(fsys, ".")
	want := "last.yaml:2:9: flows.last: is one more than the 10000 flows a configuration may hold; want fewer flows, split by an attribute with by:"
	if err == nil || err.Error() != want {
		t.Errorf("Load = %.300v, want %s", err, want)
	}
}
