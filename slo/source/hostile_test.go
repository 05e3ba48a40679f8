package source

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestHostile gives files made to exhaust whoever reads them: each must be
// refused for the reason wanted, soon and in little memory.
func TestHostile(t *testing.T) {
	laughs := "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
	for c := 'b'; c <= 'i'; c++ {
		laughs += fmt.Sprintf("%c: &%c [*%c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c]\n", c, c, c-1)
	}
	fill := func(s string) string { return strings.Repeat(s, MaxBytes/len(s)) }
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
		{"too large", strings.Repeat("#", MaxBytes+1), "is larger than 1 MiB"},
		{"comments", fill("#\n"), "more than 200000 marks such as [ { : and -"},
		{"keys", keys(20_000, "a%d: 1\n"), "too long a list or map"},
		{"empty values", keys(90_000, "a%d:\n"), "more than 1000 empty values"},
		{"empty values in many maps", keys(5_000, "a%d:\n b:\n c:\n d:\n"), "more than 1000 empty values"},
		{"keys without values", "{" + strings.Repeat("a,", 90_000) + "}", "more than 1000 empty values"},
		{"empty items", strings.Repeat("-\n", 90_000), "more than 1000 empty values"},
		{"documents", strings.Repeat("---\na: b\n", 40_000), "more than 1000 documents"},
		{"merge keys", "a: " + strings.Repeat("<", 500_000), "more than 100 < in a row"},
		{"tabs in quotes", "a: \"" + strings.Repeat("\t", 500_000) + "x\"", "a tab"},
		{"a long text", "service: " + fill("x"), "is larger than 1 MiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			var c Collector
			docs := Parse("f.yaml", []byte(tc.in), &c)
			took := time.Since(began)
			runtime.ReadMemStats(&after)

			if err := c.Err(); err == nil || !strings.Contains(err.Error(), tc.want) || docs != nil {
				t.Fatalf("Parse = %d documents, %.300v, want %s", len(docs), err, tc.want)
			}
			for _, line := range strings.Split(c.Err().Error(), "\n") {
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
