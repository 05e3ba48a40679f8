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
	laughs := "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
	for c := 'b'; c <= 'i'; c++ {
		laughs += fmt.Sprintf("%c: &%c [*%c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c]\n", c, c, c-1)
	}
	fill := func(s string) string { return strings.Repeat(s, mib/len(s)) }
	keys := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for _, tc := range []struct{ name, in, want string }{
		{"billion laughs", laughs, "an anchor (&), which is not supported"},
		{"[", fill("["), "more than 200000 marks such as [ { : and -"},
		{"[ within the marks", strings.Repeat("[", maxMarks), "lists and maps nested more than 32 deep"},
		{"{", strings.Repeat("{a: ", maxMarks/2), "lists and maps nested more than 32 deep"},
		{"- on one line", strings.Repeat("- ", maxMarks), "lists and maps nested more than 32 deep"},
		{"indentation", func() string {
			var b strings.Builder
			for i := range 1000 {
				b.WriteString(strings.Repeat(" ", i) + "a:\n")
			}
			return b.String()
		}(), "lists and maps nested more than 32 deep"},
		{"too large", strings.Repeat("#", mib+1), "is larger than 1 MiB"},
		{"comments", fill("#\n"), "more than 200000 marks such as [ { : and -"},
		{"keys", keys(20_000, "a%d: 1\n"), "too long a list or map"},
		{"empty values", keys(90_000, "a%d:\n"), "more than 1000 empty values"},
		{"empty values in many maps", keys(5_000, "a%d:\n b:\n c:\n d:\n"), "more than 1000 empty values"},
		{"keys without values", "{" + strings.Repeat("a,", 90_000) + "}", "more than 1000 empty values"},
		{"empty items", strings.Repeat("-\n", 90_000), "more than 1000 empty values"},
		{"documents", strings.Repeat("---\na: b\n", 40_000), "a second document"},
		{"merge keys", "a: " + strings.Repeat("<", 500_000), "more than 100 < in a row"},
		{"tabs in quotes", "a: \"" + strings.Repeat("\t", 500_000) + "x\"", "a tab"},
		{"a long text", "service: " + fill("x"), "is larger than 1 MiB"},
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

// TestMaxFlows reads as many flows as may be, and one more.
func TestMaxFlows(t *testing.T) {
	const each = 500
	fsys := fstest.MapFS{}
	for i := range maxFlows / each {
		var b strings.Builder
		b.WriteString("service: s\nflows:\n")
		for j := range each {
			fmt.Fprintf(&b, "  a%d-%d:\n    match: POST /api/%d\n    slos: [99%% succeed]\n", i, j, j)
		}
		fsys[fmt.Sprintf("%d.yaml", i)] = &fstest.MapFile{Data: []byte(b.String())}
	}
	flows, err := Load(fsys, ".")
	if err != nil || len(flows) != maxFlows {
		t.Errorf("Load = %d flows, %.300v, want %d", len(flows), err, maxFlows)
	}
	fsys["last.yaml"] = &fstest.MapFile{Data: []byte("service: s\nflows: {last: {match: /x, slos: [99% succeed]}}\n")}
	_, err = Load(fsys, ".")
	want := "last.yaml:2:9: flows.last: is one more than the 10000 flows a configuration may hold; want fewer flows, split by an attribute with by:"
	if err == nil || err.Error() != want {
		t.Errorf("Load = %.300v, want %s", err, want)
	}
}
