package query

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

func TestPerMinute(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"rate", `sum(rate(m{code=~"5.."}[$window]))`, `(sum(rate(m{code=~"5.."}[1m30s]))) * 60`},
		{"increase", `sum by (x) (increase(m[$window]))`, `(sum by (x) (increase(m[1m30s]))) * (60 / 90)`},
		{"samples", `sum_over_time((count(up < 1))[$window:]) or on() vector(0)`, `(sum_over_time((count(up < 1))[1m:]) or on () vector(0))`},
		{"changes", `changes(m[$window])`, `(changes(m[1m30s]))`},
		{"twice", `sum(rate(a[$window])) - sum(rate(b[$window]))`, `(sum(rate(a[1m30s])) - sum(rate(b[1m30s]))) * 60`},
		{"the innermost function counts", `sum_over_time(sum(rate(a[5m]))[$window:])`, `(sum_over_time(sum(rate(a[5m]))[1m:]))`},
		{"a range of its own stays", `sum(rate(a[$window])) and sum(rate(a[1h]) > 0)`, `(sum(rate(a[1m30s])) and sum(rate(a[1h]) > 0)) * 60`},
		{"a comment goes", "sum(rate(a[$window])) # per $window", `(sum(rate(a[1m30s]))) * 60`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := PerMinute(tc.in, DefaultScrape)
			if err != nil || got != tc.want {
				t.Errorf("PerMinute(%q) = %q, %v, want %q", tc.in, got, err, tc.want)
			}
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(got); err != nil {
				t.Errorf("PerMinute(%q) does not parse: %v", tc.in, err)
			}
		})
	}
	if got, _ := PerMinute(`increase(m[$window])`, 15*time.Second); got != `(increase(m[1m15s])) * (60 / 75)` {
		t.Errorf("PerMinute at a scrape interval of 15s = %q, want (increase(m[1m15s])) * (60 / 75)", got)
	}
}

func TestPerMinuteRefuses(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"no range", `sum(m)`, "has no range $window; want one such as rate(http_requests_total[$window])"},
		{"mixed", `sum(rate(a[$window])) + sum(increase(b[$window]))`, "reads $window by rate and by increase, whose units differ; want one of them"},
		{"an average", `avg_over_time(a[$window])`, "reads $window by avg_over_time, which counts nothing; want rate, increase, sum_over_time or count_over_time"},
		{"a bare range", `m[$window]`, "is a range vector; want a vector or a number"},
		{"an offset", `increase(a[$window] offset $window)`, "has $window where no range stands; want it in square brackets only"},
		{"a label", `rate(a{b="$window"}[$window])`, "has $window where no range stands; want it in square brackets only"},
		{"not PromQL", `sum(`, "1:5: parse error: unclosed left parenthesis"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := PerMinute(tc.in, DefaultScrape)
			if err == nil || err.Error() != tc.want {
				t.Errorf("PerMinute(%q) = %q, %v, want error %q", tc.in, got, err, tc.want)
			}
		})
	}
}

// FuzzPerMinute holds PerMinute to its word: what it returns is PromQL without
// $window.
func FuzzPerMinute(f *testing.F) {
	f.Add(`sum(rate(m{code=~"5.."}[$window]))`)
	f.Add(`sum_over_time((count(up < 1))[$window:]) or on() vector(0)`)
	f.Add(`increase(m[$window] offset 5m)`)
	f.Add("count_over_time(m[$window]) # $window")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := PerMinute(text, DefaultScrape)
		if err != nil {
			return
		}
		if _, err := parser.NewParser(parser.Options{}).ParseExpr(got); err != nil || strings.Contains(got, "$window") {
			t.Errorf("PerMinute(%q) = %q, which does not parse: %v", text, got, err)
		}
	})
}

func TestCatchUp(t *testing.T) {
	gained := `(m{a="b"} - (m{a="b"} offset 1m) and resets(m{a="b"}[1m30s]) == 0` +
		` or increase(m{a="b"}[1m30s]) * (60 / 90) and (m{a="b"} offset 1m)` +
		` or (m{a="b"} - last_over_time(m{a="b"}[1d] offset 1m)) >= 0 or m{a="b"})`
	for _, tc := range []struct{ name, in, want string }{
		{"rate", `sum(rate(m{a="b"}[$window]))`, `(sum(` + gained + `))`},
		{"increase", `sum by (x) (increase(m{a="b"}[$window]))`, `(sum by (x) (` + gained + `))`},
		{"two", `sum(rate(m{a="b"}[$window])) - sum(rate(m{a="b"}[$window]))`, `(sum(` + gained + `) - sum(` + gained + `))`},
		{"samples", `sum_over_time(up[$window])`, `(sum_over_time(up[1m]))`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := CatchUp(tc.in, DefaultScrape); err != nil || got != tc.want {
				t.Errorf("CatchUp(%q) = %q, %v\nwant %q", tc.in, got, err, tc.want)
			}
		})
	}
	if got, err := CatchUp(`rate(m[$window] offset 5m)`, DefaultScrape); err == nil || err.Error() != "reads a counter with offset or @, which cannot be caught up; want it without" {
		t.Errorf("CatchUp of an offset = %q, %v, want an error that says so", got, err)
	}
}
