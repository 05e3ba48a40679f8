package slo

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func near(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-9 }

func TestBurnRate(t *testing.T) {
	for _, tc := range []struct {
		name                string
		ratio, target, want float64
	}{
		{name: "fast page", ratio: 0.0144, target: 0.999, want: 14.4},
		{name: "as fast as earned", ratio: 0.05, target: 0.95, want: 1},
		{name: "total outage", ratio: 1, target: 0.999, want: 1000},
		{name: "no errors", ratio: 0, target: 0.99, want: 0},
		{name: "no budget", ratio: 0.5, target: 1, want: math.Inf(1)},
		{name: "no budget, no errors", ratio: 0, target: 1, want: 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := BurnRate(tc.ratio, tc.target); !near(got, tc.want) {
				t.Errorf("BurnRate(%g, %g) = %g, want %g", tc.ratio, tc.target, got, tc.want)
			}
		})
	}
}

// TestTiersAreTheWorkbooks checks the factors against table 5-8 of the SRE
// Workbook, and that every tier of every target can be reached.
func TestTiers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		target float64
		window time.Duration
		want   []float64
	}{
		{name: "the Workbook's", target: 0.999, window: 30 * day, want: []float64{14.4, 6, 3, 1}},
		{name: "four weeks", target: 0.999, window: 28 * day, want: []float64{13.44, 5.6, 2.8, 1}},
		{name: "a week", target: 0.999, window: 7 * day, want: []float64{13.44, 3.5, 1.4, 1}},
		{name: "95% reaches half bad", target: 0.95, window: 30 * day, want: []float64{10, 6, 3, 1}},
		{name: "90%", target: 0.90, window: 30 * day, want: []float64{5, 5, 3, 1}},
		{name: "a day has no three-day tier", target: 0.999, window: day, want: []float64{1.92, 1, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Tiers(tc.target, tc.window)
			if len(got) != len(tc.want) {
				t.Fatalf("Tiers(%g, %v) = %v; want %d tiers", tc.target, tc.window, got, len(tc.want))
			}
			for i, tier := range got {
				if math.Abs(tier.Factor-tc.want[i]) > 1e-6 {
					t.Errorf("tier %d has factor %g, want %g", i, tier.Factor, tc.want[i])
				}
				if worst := BurnRate(1, tc.target); tier.Factor >= worst {
					t.Errorf("tier %d wants a burn of %g; a total outage burns %g", i, tier.Factor, worst)
				}
			}
		})
	}
}

// TestDetection checks the formula against the scenarios of the Workbook.
func TestDetection(t *testing.T) {
	tier := Tier{Severity: Page, Factor: 14.4, Long: time.Hour, Short: 5 * time.Minute}
	for _, tc := range []struct {
		burn float64
		want time.Duration
		ok   bool
	}{
		{burn: 1000, want: 51840 * time.Millisecond, ok: true},
		{burn: 20, want: 43*time.Minute + 12*time.Second, ok: true},
		{burn: 14.3, ok: false},
	} {
		if got, ok := tier.Detection(tc.burn); got != tc.want || ok != tc.ok {
			t.Errorf("Detection(%g) = %v, %t, want %v, %t", tc.burn, got, ok, tc.want, tc.ok)
		}
	}
	if got, want := tier.Reset(20), 84*time.Second; got != want {
		t.Errorf("Reset(20) = %v, want %v", got, want)
	}
}

func TestWindows(t *testing.T) {
	o := Objective{Window: 30 * day, Tiers: []Tier{{Long: 2 * time.Minute, Short: 20 * time.Second}}}
	want := "20s 2m 5m 30m 1h 2h 6h 1d 3d 30d"
	var got []string
	for _, w := range o.Windows() {
		got = append(got, Duration(w))
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("Windows() = %s, want %s", s, want)
	}
	o = Objective{Window: 6 * time.Hour}
	if got := o.Windows(); got[len(got)-1] != 6*time.Hour {
		t.Errorf("Windows() of a 6h period = %v; want 6h last", got)
	}
}

func TestWords(t *testing.T) {
	f := Flow{Name: "checkout", Service: "shop", Objectives: []Objective{
		{Name: "availability", Target: 0.999, Window: 30 * day},
		{Name: "latency-300ms", Kind: FasterThan, Target: 0.95, Threshold: 300 * time.Millisecond, Window: 90 * time.Minute},
	}}
	slos := f.SLOs()
	for _, tc := range []struct{ got, want string }{
		{slos[0].ID(), "shop-checkout-availability"},
		{slos[1].Name(), "checkout-latency-300ms"},
		{slos[0].Objective.Words(), "99.9% succeed over 30d"},
		{slos[1].Objective.Words(), "95% under 300ms over 1h30m"},
		{Percent(0.99999), "99.999%"},
		{Percent(0.5), "50%"},
		{Duration(0), "0s"},
		{Duration(26 * time.Hour), "26h"},
		{Duration(24 * time.Hour), "1d"},
		{Duration(49 * time.Hour), "2d1h"},
		{Duration(-1500 * time.Microsecond), "-1ms500us"},
		{Pos{File: "shop.yaml", Line: 4, Column: 3}.String(), "shop.yaml:4:3"},
		{Pos{File: "shop.yaml", Line: 4}.String(), "shop.yaml:4"},
		{Pos{File: "shop.yaml"}.String(), "shop.yaml"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestPatternFits(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"/api/checkout", "/api/checkout", true},
		{"/api/checkout", "/api/checkout/", false},
		{"/api/*", "/api/a/b", true},
		{"*", "", true},
		{"*/b", "/a/b", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c", false},
		{">=500", "500", true},
		{">=500", "499", false},
		{">500", "500", false},
		{"<=2.5", "2.5", true},
		{"<0", "-1", true},
		{">=500", "five hundred", false},
	} {
		p, err := ParsePattern(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Fits(tc.text); got != tc.want {
			t.Errorf("pattern %q fits %q: %t, want %t", tc.pattern, tc.text, got, tc.want)
		}
	}
	for _, bad := range []string{">=", ">x", "<NaN"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("ParsePattern(%q) is accepted; want an error", bad)
		}
	}
}

func TestConditionNot(t *testing.T) {
	c := Condition{Any: []Pattern{{Text: "a"}, {Text: "b*"}}, Not: true}
	for value, want := range map[string]bool{"a": false, "bb": false, "c": true} {
		if got := c.Fits(value, true); got != want {
			t.Errorf("not [a, b*] fits %q: %t, want %t", value, got, want)
		}
	}
	if !c.Fits("", false) {
		t.Error("not [a, b*] does not fit a span without the attribute; want it to")
	}
}

// FuzzPattern: what ParsePattern reads, String writes back to the same pattern.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"/api/*", ">=500", "<1e3", "> 2"} {
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, s, text string) {
		p, err := ParsePattern(s)
		if err != nil {
			return
		}
		back, err := ParsePattern(p.String())
		if err != nil || back != p {
			t.Errorf("%q parses to %+v, written %q, parses to %+v, %v", s, p, p, back, err)
		}
		if p.Literal() && p.Fits(text) != (p.Text == text) {
			t.Errorf("literal %q fits %q: %t", p.Text, text, p.Fits(text))
		}
	})
}

func TestAllKeepsOrder(t *testing.T) {
	flows := []Flow{
		{Name: "a", Objectives: []Objective{{Name: "x"}, {Name: "y"}}},
		{Name: "b", Objectives: []Objective{{Name: "x"}}},
	}
	var got []string
	for _, s := range All(flows) {
		got = append(got, s.Name())
	}
	if want := []string{"a-x", "a-y", "b-x"}; !slices.Equal(got, want) {
		t.Errorf("All = %v, want %v", got, want)
	}
}

func TestCompared(t *testing.T) {
	asked := []Objective{{Kind: PromQL}}
	for _, tc := range []struct {
		name string
		flow Flow
		want []string
	}{
		{"unless it says", Flow{}, DefaultWhere},
		{"its own", Flow{Where: []string{"tenant.id"}}, []string{"tenant.id"}},
		{"none", Flow{Where: []string{}}, nil},
		{"no spans", Flow{Objectives: asked}, nil},
		{"some spans", Flow{Objectives: append(asked, Objective{Kind: Fresh})}, DefaultWhere},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.flow.Compared(); !slices.Equal(got, tc.want) {
				t.Errorf("Compared = %v, want %v", got, tc.want)
			}
		})
	}
	if len(DefaultWhere) > MaxWhere {
		t.Errorf("%d attributes are compared by default, want at most %d", len(DefaultWhere), MaxWhere)
	}
}

func TestAlerts(t *testing.T) {
	for _, tc := range []struct {
		name         string
		o            Objective
		page, ticket bool
	}{
		{"none", Objective{}, false, false},
		{"the usual ones", Objective{Tiers: Tiers(0.99, DefaultWindow)}, true, true},
		{"tickets by burn rate", Objective{Tiers: []Tier{{Severity: Ticket}}}, false, true},
		{"outages", Objective{Outage: true}, true, false},
		{"shares of the budget", Objective{Spent: []float64{0.5}}, false, true},
		{"a budget that runs out", Objective{RunsOut: true}, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if page, ticket := tc.o.Alerts(Page), tc.o.Alerts(Ticket); page != tc.page || ticket != tc.ticket {
				t.Errorf("Alerts = %t of pages and %t of tickets, want %t and %t", page, ticket, tc.page, tc.ticket)
			}
		})
	}
}
