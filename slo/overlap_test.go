package slo

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// is makes a condition of patterns as people write them.
func is(key string, patterns ...string) Condition {
	c := Condition{Key: key}
	for _, p := range patterns {
		parsed, err := ParsePattern(p)
		if err != nil {
			panic(err)
		}
		c.Any = append(c.Any, parsed)
	}
	return c
}

func isNot(key string, patterns ...string) Condition {
	c := is(key, patterns...)
	c.Not = true
	return c
}

func TestOverlap(t *testing.T) {
	checkout := Selector{is(KeyMethod, "POST"), is(KeyRoute, "/api/checkout")}
	for _, tc := range []struct {
		name string
		a, b Selector
		want string // the example; "-" for none
	}{
		{"everything", nil, nil, "map[]"},
		{"everything and a flow", nil, checkout, "map[http.request.method:POST http.route:/api/checkout]"},
		{"another method", checkout, Selector{is(KeyMethod, "GET"), is(KeyRoute, "/api/checkout")}, "-"},
		{"another route", checkout, Selector{is(KeyMethod, "POST"), is(KeyRoute, "/api/search")}, "-"},
		{"one of a list", checkout, Selector{is(KeyRoute, "/", "/api/checkout")}, "map[http.request.method:POST http.route:/api/checkout]"},
		{"a glob", checkout, Selector{is(KeyRoute, "/api/*")}, "map[http.request.method:POST http.route:/api/checkout]"},
		{"a glob without it", checkout, Selector{is(KeyRoute, "/api/*"), isNot(KeyRoute, "/api/check*")}, "-"},
		{"another attribute", checkout, Selector{is("tenant.id", "acme")}, "map[http.request.method:POST http.route:/api/checkout tenant.id:acme]"},

		{"globs side by side", Selector{is("k", "/a/*")}, Selector{is("k", "/b/*")}, "-"},
		{"other ends", Selector{is("k", "*/edit")}, Selector{is("k", "*/view")}, "-"},
		{"a glob in a glob", Selector{is("k", "/a/*")}, Selector{is("k", "/a/*/edit")}, "map[k:/a/x/edit]"},
		{"beginning and end", Selector{is("k", "/a/*")}, Selector{is("k", "*/edit")}, "map[k:/a/edit]"},
		{"beginning and end in one", Selector{is("k", "ab*")}, Selector{is("k", "*bc")}, "map[k:abc]"},
		{"middles", Selector{is("k", "a*b*")}, Selector{is("k", "a*b*c")}, "map[k:axbxbxc]"},
		{"stars", Selector{is("k", "*")}, Selector{is("k", "**")}, "map[k:x]"},

		{"not it", Selector{is("k", "a")}, Selector{isNot("k", "a")}, "-"},
		{"not another", Selector{is("k", "a")}, Selector{isNot("k", "b*")}, "map[k:a]"},
		{"both not", Selector{isNot("k", "a")}, Selector{isNot("k", "*")}, "map[]"},
		{"there and not there", Selector{is("k", "*")}, Selector{isNot("k", "*")}, "-"},
		{"a hole in a glob", Selector{is("k", "a*")}, Selector{isNot("k", "a", "ax", "a*x*")}, "map[k:ay]"},
		{"a glob of nothing but holes", Selector{is("k", "a*")}, Selector{isNot("k", "a", "a*")}, "-"},
		{"a name is always there", Selector{isNot(KeyName, "*")}, nil, "-"},
		{"a name", Selector{isNot(KeyName, "GET*")}, nil, "map[name:x]"},

		{"kinds", Selector{is(KeyKind, "server", "consumer")}, Selector{isNot(KeyKind, "server")}, "map[kind:consumer]"},
		{"no kind is left", Selector{isNot(KeyKind, "server", "consumer")}, Selector{isNot(KeyKind, "client", "producer", "internal")}, "-"},
		{"status codes", Selector{is(KeyStatusCode, "5*")}, Selector{is(KeyStatusCode, "<502"), isNot(KeyStatusCode, "500")}, "map[http.response.status_code:501]"},
		{"no status code is left", Selector{is(KeyStatusCode, ">=500")}, Selector{isNot(KeyStatusCode, "5*")}, "-"},
		{"no status code at all", Selector{isNot(KeyStatusCode, "1*", "2*", "3*")}, Selector{isNot(KeyStatusCode, ">=400")}, "map[]"},

		{"numbers apart", Selector{is("k", ">10")}, Selector{is("k", "<=10")}, "-"},
		{"numbers that meet", Selector{is("k", ">=10")}, Selector{is("k", "<=10")}, "map[k:10]"},
		{"numbers between", Selector{is("k", ">10")}, Selector{is("k", "<11")}, "map[k:10.5]"},
		{"numbers without one", Selector{is("k", ">=10")}, Selector{is("k", "<=10"), isNot("k", "10")}, "-"},
		{"a number and a text", Selector{is("k", ">10")}, Selector{is("k", "11", "a")}, "map[k:11]"},
		{"a number too small", Selector{is("k", ">10")}, Selector{is("k", "9", "a")}, "-"},
		{"a number and a glob", Selector{is("k", ">=450")}, Selector{is("k", "4*9")}, "map[k:459]"},
		{"a number that no glob is", Selector{is("k", ">=450")}, Selector{is("k", "x*")}, "-"},
		{"a large number and a glob", Selector{is("k", ">=1000000")}, Selector{is("k", "5*")}, "map[k:5000000]"},
		{"not a number", Selector{is("k", "5*")}, Selector{isNot("k", ">=0")}, "map[k:5x]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, turn := range [][2]Selector{{tc.a, tc.b}, {tc.b, tc.a}} {
				example, ok := Common(turn[0], turn[1])
				got := fmt.Sprint(example)
				if !ok {
					got = "-"
				}
				if got != tc.want {
					t.Errorf("Common(%v, %v) = %s, want %s", turn[0], turn[1], got, tc.want)
				}
				if Overlap(turn[0], turn[1]) != ok {
					t.Errorf("Overlap(%v, %v) = %t", turn[0], turn[1], !ok)
				}
			}
		})
	}
}

// TestOverlapExactly compares with trying out every text of up to 6 letters, on
// random patterns of up to 4.
func TestOverlapExactly(t *testing.T) {
	texts := []string{""}
	for i := 0; i < len(texts); i++ {
		if len(texts[i]) < 6 {
			for _, letter := range "abx" {
				texts = append(texts, texts[i]+string(letter))
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	condition := func() Condition {
		c := Condition{Key: "k", Not: r.IntN(3) == 0}
		for range 1 + r.IntN(3) {
			var p strings.Builder
			for range 1 + r.IntN(4) {
				p.WriteByte("ab**"[r.IntN(4)])
			}
			c.Any = append(c.Any, Pattern{Text: p.String()})
		}
		return c
	}
	both := 0
	for range 3000 {
		a, b := Selector{condition()}, Selector{condition(), condition()}
		all := slices.Concat(a, b)
		holds := func(text string, present bool) bool {
			return !slices.ContainsFunc(all, func(c Condition) bool { return !c.Fits(text, present) })
		}
		want := holds("", false) || slices.ContainsFunc(texts[1:], func(s string) bool { return holds(s, true) })
		example, got := Common(a, b)
		if got != want {
			t.Fatalf("Overlap(%v, %v) = %t (%v), want %t", a, b, got, example, want)
		}
		text, present := example["k"]
		if got && !holds(text, present) {
			t.Fatalf("Common(%v, %v) = %q, which does not fit", a, b, example)
		}
		if got {
			both++
		}
	}
	if both < 500 || both > 2500 {
		t.Errorf("%d of 3000 pairs overlap: the patterns are too much alike", both)
	}
}

func BenchmarkOverlap(b *testing.B) {
	for _, bc := range []struct {
		name string
		a, b Selector
	}{
		{"routes", Selector{is(KeyMethod, "GET"), is(KeyRoute, "/api/a")}, Selector{is(KeyMethod, "GET"), is(KeyRoute, "/api/b")}},
		{"globs", Selector{is(KeyRoute, "/api/*/a")}, Selector{is(KeyRoute, "/api/*/b")}},
		{"holes", Selector{is(KeyRoute, "/api/*"), isNot(KeyRoute, "/api/v1/*", "/api/*/internal")}, Selector{is(KeyRoute, "/api/v1/*")}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Overlap(bc.a, bc.b)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
		})
	}
}

func TestNormal(t *testing.T) {
	for _, tc := range []struct {
		name string
		a, b Selector
		want bool
	}{
		{"order", Selector{is("a", "1", "2"), is("b", "3")}, Selector{is("b", "3"), is("a", "2", "1")}, true},
		{"twice", Selector{is("a", "1", "1")}, Selector{is("a", "1"), is("a", "1")}, true},
		{"stars", Selector{is("a", "1**2")}, Selector{is("a", "1*2")}, true},
		{"not", Selector{is("a", "1")}, Selector{isNot("a", "1")}, false},
		{"number and text", Selector{is("a", ">1")}, Selector{{Key: "a", Any: []Pattern{{Text: ">1"}}}}, false},
		{"keys", Selector{is("a", "1"), is("b", "2")}, Selector{is("a", "2"), is("b", "1")}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.a.Normal() == tc.b.Normal(); got != tc.want {
				t.Errorf("%s and %s: same is %t, want %t", tc.a.Normal(), tc.b.Normal(), got, tc.want)
			}
		})
	}
}
