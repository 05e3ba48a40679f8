package web

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

func TestGone(t *testing.T) {
	monday := time.Date(2026, 11, 23, 14, 2, 0, 0, time.UTC)
	for _, tc := range []struct {
		name       string
		left, burn float64
		want       string
	}{
		{"lasts", 0.5, 1, ""},
		{"spent", 0, 31, ""},
		{"unknown burn", 0.5, math.NaN(), ""},
		{"unknown budget", math.NaN(), 31, ""},
		{"endless burn", 0.5, math.Inf(1), "gone in 1 min"},
		{"within the hour", 0.5, 500, "gone in 43 min"},
		{"within hours", 0.31, 31, "gone in 7 h"},
		{"within days", 0.5, 5, "gone on Thursday"},
		{"within weeks", 1, 2, "gone on 8 Dec"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := gone(slo.Objective{Window: slo.DefaultWindow}, tc.left, tc.burn, monday); got != tc.want {
				t.Errorf("gone(%g, %g) = %q, want %q", tc.left, tc.burn, got, tc.want)
			}
		})
	}
}

func TestOutOf(t *testing.T) {
	succeed := func(target float64) slo.Objective { return slo.Objective{Target: target} }
	faster := slo.Objective{Kind: slo.FasterThan, Target: 0.95, Threshold: 300 * time.Millisecond}
	for _, tc := range []struct {
		name      string
		objective slo.Objective
		ratio     float64
		want      string
	}{
		{"many", succeed(0.999), 0.031, "31 of every 1,000 requests fail; 1 may."},
		{"one", succeed(0.999), 0.001, "1 of every 1,000 requests fails; 1 may."},
		{"few", succeed(0.9995), 0.00024, "2.4 of every 10,000 requests fail; 5 may."},
		{"next to none", succeed(0.99), 0.0001, "fewer than 0.1 of every 100 requests fail; 1 may."},
		{"none", succeed(0.99), 0, "0 of every 100 requests fail; 1 may."},
		{"slow", faster, 0.059, "5.9 of every 100 requests take longer than 300ms; 5 may."},
		{"one slow", faster, 0.01, "1 of every 100 requests takes longer than 300ms; 5 may."},
		{"no requests", faster, math.NaN(), "5 of every 100 requests may take longer than 300ms."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := outOf(tc.objective, tc.ratio); got != tc.want {
				t.Errorf("outOf(%s, %g) = %q, want %q", tc.objective.Sentence(), tc.ratio, got, tc.want)
			}
		})
	}
}

func TestJudged(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	succeed := slo.Objective{Target: 0.999, Tiers: slo.Tiers(0.999, slo.DefaultWindow)}
	faster := slo.Objective{Kind: slo.FasterThan, Threshold: time.Second, Target: 0.95}
	for _, tc := range []struct {
		name   string
		o      slo.Objective
		j      Judgement
		firing bool
		want   []string
	}{
		{"nothing", succeed, Judgement{}, true, nil},
		{"too little", succeed, Judgement{TooLittle: true, Bad: 3, Total: 21}, false, []string{"Too little traffic to judge: 3 of 21 failed."}},
		{"too little of another kind", faster, Judgement{TooLittle: true, Bad: 3, Total: 21}, false, []string{"Too little traffic to judge: 3 of 21 were bad."}},
		{"too little without counts", succeed, Judgement{TooLittle: true}, false, []string{"Too little traffic to judge."}},
		{"learning", succeed, Judgement{Learning: true}, false, []string{"Learning: it is younger than the 1h that its first alert looks back over."}},
		{"learning without alerts", faster, Judgement{Learning: true}, false, []string{"Learning: it is too young to be judged."}},
		{"data missing", succeed, Judgement{DataMissingSince: ago(27 * time.Minute)}, false, []string{"Data missing since 12:03 UTC."}},
		{"data missing while it fires", succeed, Judgement{DataMissingSince: ago(27 * time.Minute)}, true, []string{"Data missing since 12:03 UTC, the alert is held."}},
		{"traffic missing", succeed, Judgement{TrafficMissingSince: ago(20 * time.Minute), Expected: 12840}, false, []string{"Traffic missing since 12:10 UTC: 12,840 requests in 15 min would be usual."}},
		{"quiet", succeed, Judgement{QuietSince: ago(5 * time.Minute), KeptUntil: ago(-10 * time.Minute)}, true, []string{"Quiet since 12:25 UTC; the alert is kept until 12:40 UTC, should it come back."}},
		{
			"all", succeed,
			Judgement{TooLittle: true, Bad: 3, Total: 21, Learning: true, DataMissingSince: ago(time.Minute)},
			false,
			[]string{"Data missing since 12:29 UTC.", "Too little traffic to judge: 3 of 21 failed.", "Learning: it is younger than the 1h that its first alert looks back over."},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := judged(tc.o, tc.j, tc.firing, now); !slices.Equal(got, tc.want) {
				t.Errorf("judged(%+v) = %q, want %q", tc.j, got, tc.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	is := func(key string, patterns ...string) slo.Condition {
		c := slo.Condition{Key: key}
		for _, s := range patterns {
			p, err := slo.ParsePattern(s)
			if err != nil {
				t.Fatal(err)
			}
			c.Any = append(c.Any, p)
		}
		return c
	}
	not := is("tenant.id", "test", "probe-*")
	not.Not = true
	for _, tc := range []struct {
		sel  slo.Selector
		want string
	}{
		{nil, "every request"},
		{slo.Selector{is(slo.KeyMethod, "POST"), is(slo.KeyRoute, "/api/checkout")}, "POST /api/checkout"},
		{slo.Selector{is(slo.KeyRoute, "/api/*"), not}, "/api/*, tenant.id not test or probe-*"},
		{slo.Selector{is(slo.KeyKind, "consumer"), is(slo.KeyMethod, "PUT", "POST")}, "kind consumer, http.request.method PUT or POST"},
		{slo.Selector{is(slo.KeyStatusCode, ">=500")}, "http.response.status_code >=500"},
	} {
		if got := conditions(tc.sel); got != tc.want {
			t.Errorf("conditions(%v) = %q, want %q", tc.sel, got, tc.want)
		}
	}
}

// TestContrast computes the contrast of every text and state colour on the
// page in both themes: at least 4.5 to 1, which is WCAG's AA.
func TestContrast(t *testing.T) {
	css, err := os.ReadFile("assets/app.css")
	if err != nil {
		t.Fatal(err)
	}
	themes := regexp.MustCompile(`(?s)--page:.*?--idle: #[0-9a-f]{6}`).FindAllString(string(css), -1)
	if len(themes) != 2 {
		t.Fatalf("themes in the style sheet = %d, want 2", len(themes))
	}
	for i, theme := range themes {
		tokens := map[string]float64{}
		for _, m := range regexp.MustCompile(`--(\w+): #(\w{6})`).FindAllStringSubmatch(theme, -1) {
			tokens[m[1]] = luminance(t, m[2])
		}
		for _, name := range []string{"ink", "muted", "calm", "spending", "burning", "idle"} {
			a, b := tokens[name]+0.05, tokens["page"]+0.05
			if got := max(a, b) / min(a, b); got < 4.5 {
				t.Errorf("contrast of %s in %s theme = %.1f, want at least 4.5", name, [...]string{"the light", "the dark"}[i], got)
			}
		}
	}
}

// luminance is WCAG's relative luminance of a colour.
func luminance(t *testing.T, rrggbb string) float64 {
	t.Helper()
	v, err := strconv.ParseUint(rrggbb, 16, 32)
	if err != nil {
		t.Fatal(fmt.Errorf("colour %q: %w", rrggbb, err))
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(v>>(16-8*i)&0xff) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
