package grafana

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// varied are the flows of testdata/slos.yaml.
func varied(tb testing.TB) []slo.Flow {
	tb.Helper()
	text, err := os.ReadFile("testdata/slos.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	c, err := spec.Parse("slos.yaml", text)
	if err != nil {
		tb.Fatal(err)
	}
	return c.Flows
}

// generated are their dashboards.
func generated(tb testing.TB) []Dashboard {
	tb.Helper()
	out, err := Dashboards(varied(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func TestGolden(t *testing.T) {
	all := generated(t)
	files := map[string][]byte{"provider.yaml": Provider(), "configmaps.yaml": nil}
	for _, d := range all {
		files[d.File()] = d.JSON
	}
	// One is enough to see the form.
	text, err := ConfigMaps(all[len(all)-1:], ConfigMapOptions{Namespace: "monitoring", Labels: map[string]string{"team": "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	files["configmaps.yaml"] = text
	if *update {
		old, err := filepath.Glob("testdata/*.golden")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range old {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, got := range files {
		path := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs; go test -run '^%s$' -update rewrites it\ngot:\n%s", path, t.Name(), got)
		}
	}
	if found, err := filepath.Glob("testdata/*.golden"); err != nil || len(found) != len(files) {
		t.Errorf("testdata has %d golden files (%v), want %d; go test -run '^%s$' -update removes the others", len(found), err, len(files), t.Name())
	}
}

func TestSameBytes(t *testing.T) {
	first, second := generated(t), generated(t)
	for i := range first {
		if !bytes.Equal(first[i].JSON, second[i].JSON) {
			t.Errorf("%s differs when it is written again", first[i].Title)
		}
	}
	// What another flow does leaves a flow's dashboard as it was.
	alone, err := Dashboards(varied(t)[1:2])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(alone[1].JSON, first[2].JSON) {
		t.Errorf("%s differs with fewer flows around it", first[2].Title)
	}
}

// TestSchema reads the dashboards as the SDK's schema says they are: every
// required field is there, of its type, and there is no unknown one.
func TestSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, d := range generated(t) {
		var read classic
		// The SDK returns a typed nil where nothing is wrong.
		if err := read.UnmarshalJSONStrict(d.JSON); err != nil && err.Error() != "" {
			t.Errorf("%s: %v", d.Title, err)
		}
		// Where it finds nothing wrong with a panel, it drops it: round trips are
		// for the lenient reader.
		var whole classic
		if err := json.Unmarshal(d.JSON, &whole); err != nil {
			t.Fatal(err)
		}
		again, err := marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := errors.Join(json.Unmarshal(again, &got), json.Unmarshal(d.JSON, &want)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read and written again it differs:\n%s\nwant:\n%s", d.Title, again, d.JSON)
		}
	}
	var read classic
	broken := bytes.Replace(generated(t)[0].JSON, []byte(`"expr"`), []byte(`"exbr"`), 1)
	if err := read.UnmarshalJSONStrict(broken); err == nil || !strings.Contains(err.Error(), "exbr") {
		t.Errorf("an unknown field is accepted: %v", err)
	}
}

func TestUnescaped(t *testing.T) {
	for _, text := range []string{"a > b && c < d", `a backslash \\ and \\u003e, which is text`, "\u2028 \" end\\"} {
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		plain := unescaped(raw)
		if err := json.Unmarshal(plain, &back); err != nil || back != text {
			t.Errorf("unescaped(%s) = %s, read as %q (%v), want %q", raw, plain, back, err, text)
		}
		if strings.ContainsAny(text, "<>&") && !bytes.ContainsAny(plain, "<>&") {
			t.Errorf("unescaped(%s) = %s", raw, plain)
		}
	}
}

func TestUID(t *testing.T) {
	seen := map[string]string{}
	for _, tc := range []struct{ name, service, flow, want string }{
		{"short", "shop", "checkout", "slowburn-shop-checkout-f20f3de1"},
		{"the dash elsewhere", "shop-checkout", "x", "slowburn-shop-checkout-x-0966e682"},
		{"the same slug", "shop", "checkout-x", "slowburn-shop-checkout-x-bfa060b4"},
		{"long", "gateway.example/eu", "settle-orders", "slowburn-gateway-example-eu-set-38f01b51"},
		{"nothing to write", "Ω", "订单", "slowburn-flow-5af15b3e"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := FlowUID(tc.service, tc.flow)
			if got != tc.want {
				t.Errorf("FlowUID(%q, %q) = %q, want %q", tc.service, tc.flow, got, tc.want)
			}
			if len(got) > 40 || !IsFlowFile(got+".json") || seen[got] != "" {
				t.Errorf("FlowUID(%q, %q) = %q: %d characters, IsFlowFile %t, also of %q; want at most 40, true, none",
					tc.service, tc.flow, got, len(got), IsFlowFile(got+".json"), seen[got])
			}
			seen[got] = tc.name
		})
	}
	for _, name := range []string{overviewUID + ".json", runtimeUID + ".json", "mine.json", "slowburn-my-own.json", "../slowburn-x-2aebf2b4.json"} {
		if IsFlowFile(name) {
			t.Errorf("IsFlowFile(%q) is true", name)
		}
	}
}

func TestTwice(t *testing.T) {
	flows := varied(t)
	_, err := Dashboards(append(slices.Clone(flows), flows[0]))
	if err == nil || !strings.HasSuffix(err.Error(), "(shop / checkout) is there twice; want flows that differ in service or name") {
		t.Errorf("two flows of one name: %v", err)
	}
}

// TestLeaveOut: a panel is there only where its series are.
func TestLeaveOut(t *testing.T) {
	titles := func(flow string) []string {
		for _, d := range generated(t) {
			if strings.HasSuffix(d.Title, " / "+flow) {
				var out []string
				for _, p := range panelsOf(t, d) {
					out = append(out, p.Title)
				}
				return out
			}
		}
		t.Fatalf("no dashboard of %s", flow)
		return nil
	}
	for _, tc := range []struct {
		flow string
		want []string
	}{
		{"gateway", []string{
			"Objectives", "99% good", "Budget left", "Burn rate now", "Budget lasts", "95% good", "Budget left", "Burn rate now", "Budget lasts",
			"Events", "Events: gateway-promql", "Bad events: gateway-promql", "Bad events: gateway-probe",
			"99% good over 30d", "Budget left", "Budget ahead",
			"Burn rate over 1h and 5m: page", "Burn rate over 6h and 30m: page", "Burn rate over 1d and 2h: ticket", "Burn rate over 3d and 6h: ticket",
			"95% good over 30d", "Budget left", "Budget ahead",
			"Burn rate over 1h and 5m: page", "Burn rate over 6h and 30m: page", "Burn rate over 1d and 2h: ticket", "Burn rate over 3d and 6h: ticket",
		}},
		{"minutes", []string{
			"Objectives", "99% of minutes with 95% under 300ms", "Budget left", "Burn rate now", "Budget lasts",
			"Traffic", "Requests", "Failing requests", "Latency", "How long requests take",
			"99% of minutes with 95% under 300ms over 30d", "Budget left", "Budget ahead",
			"Burn rate over 1h and 5m: page", "Burn rate over 6h and 30m: page", "Burn rate over 1d and 2h: ticket", "Burn rate over 3d and 6h: ticket",
		}},
	} {
		t.Run(tc.flow, func(t *testing.T) {
			if got := titles(tc.flow); !slices.Equal(got, tc.want) {
				t.Errorf("panels are\n%q, want\n%q", got, tc.want)
			}
		})
	}
	for _, d := range generated(t) {
		if strings.HasSuffix(d.Title, " / gateway") && bytes.Contains(d.JSON, []byte("slowburn_flow_requests_total")) {
			t.Error("the dashboard of gateway asks for requests that slowburn does not count")
		}
	}
	onlyGateway, err := Dashboards(varied(t)[4:])
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range onlyGateway {
		if bytes.Contains(d.JSON, []byte("slowburn_flow_requests_total")) || bytes.Contains(d.JSON, []byte("slowburn_flow_duration")) {
			t.Errorf("%s asks for requests that slowburn does not count", d.Title)
		}
	}
}

// TestThresholds holds lines and limits against the objectives.
func TestThresholds(t *testing.T) {
	read := func(flow, title string, n int) testPanel {
		for _, d := range generated(t) {
			if !strings.HasSuffix(d.Title, " / "+flow) {
				continue
			}
			for _, p := range panelsOf(t, d) {
				if p.Title == title {
					if n == 0 {
						return p
					}
					n--
				}
			}
		}
		t.Fatalf("%s has no panel %q", flow, title)
		return testPanel{}
	}
	steps := func(p testPanel) (out []float64) {
		for _, s := range p.FieldConfig.Defaults.Thresholds.Steps {
			if s.Value != nil {
				out = append(out, *s.Value)
			}
		}
		return out
	}
	exprs := func(p testPanel) (out []string) {
		for _, q := range p.Targets {
			out = append(out, q.LegendFormat+": "+q.Expr)
		}
		return out
	}
	if got := steps(read("checkout", "99.9% succeed", 0)); !slices.Equal(got, []float64{far, 0.999}) {
		t.Errorf("99.9%% succeed turns green at %v", got)
	}
	if got := steps(read("checkout", "Burn rate over 1h and 5m: page", 0)); !slices.Equal(got, []float64{14.4}) {
		t.Errorf("the page's limit is %v, want 14.4", got)
	}
	if got := steps(read("checkout", "Burn rate over 2h and 10m: page", 0)); !slices.Equal(got, []float64{5}) {
		t.Errorf("the limit of somebody's own tier is %v, want 5", got)
	}
	if got := steps(read("checkout", "Burn rate now", 0)); !slices.Equal(got, []float64{far, 1, 6}) {
		t.Errorf("the burn rate is coloured from %v, want 1 and the lowest that pages", got)
	}
	got := exprs(read("checkout", "Latency", 0))
	for _, want := range []string{"95% under 300ms: vector(0.3)", "90% under 1s: vector(1)"} {
		if !slices.Contains(got, want) {
			t.Errorf("latency has no line %q: %q", want, got)
		}
	}
	if !strings.Contains(strings.Join(got, "\n"), "p90: histogram_quantile(0.9,") {
		t.Errorf("latency has no p90, which is an objective: %q", got)
	}
	if got := exprs(read("checkout", "Failing requests", 0)); len(got) != 2 ||
		got[1] != `99.9% succeed: max(slo:error_budget:ratio{sloth_id="shop-checkout-availability"})` {
		t.Errorf("failing requests has the lines %q", got)
	}
}

// TestAnnotations: alerts and deploys are marked only where there can be any.
func TestAnnotations(t *testing.T) {
	names := func(flows ...slo.Flow) string {
		all, err := Dashboards(flows)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, a := range read(t, all[1]).Annotations.List {
			out = append(out, a.Name)
		}
		return strings.Join(out, ", ")
	}
	flows := varied(t)
	silent := flows[1]
	silent.Objectives = slices.Clone(silent.Objectives[3:]) // without alerts
	pages := flows[0]
	pages.Objectives = slices.Clone(pages.Objectives[2:]) // of somebody's own, pages alone
	for _, tc := range []struct {
		name string
		flow slo.Flow
		want string
	}{
		{"usual alerts", flows[0], "Pages, Tickets, Deploys"},
		{"pages alone", pages, "Pages, Deploys"},
		{"no alerts", silent, "Deploys"},
		{"not counted from spans", flows[4], "Pages, Tickets"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := names(tc.flow); got != tc.want {
				t.Errorf("marked are %s, want %s", got, tc.want)
			}
		})
	}
}

// testPanel is a panel as JSON has it.
type testPanel struct {
	ID          int
	Type, Title string
	Description string
	Collapsed   bool
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ Type, UID string }
	TimeFrom    string
	Options     json.RawMessage
	Targets     []testTarget
	FieldConfig struct {
		Defaults struct {
			Unit, NoValue string
			Min, Max      *float64
			Mappings      []json.RawMessage
			Thresholds    struct {
				Steps []struct {
					Value *float64
					Color string
				}
			}
		}
		Overrides []struct {
			Matcher    struct{ ID, Options string }
			Properties []struct {
				ID    string
				Value any
			}
		}
	}
}

type testTarget struct {
	Expr, RefID, Format, LegendFormat string
	Instant, Range                    bool
	Datasource                        struct{ Type, UID string }
}

// testDashboard is a dashboard as JSON has it.
type testDashboard struct {
	UID, Title, Description, Timezone, Refresh string
	ID                                         *int
	Editable                                   bool
	Tags                                       []string
	Panels                                     []testPanel
	Links                                      []struct {
		Title, Type, URL string
		Placement        *string
		Tags             []string
	}
	Templating struct {
		List []struct {
			Type, Name, Label, Description string
			Refresh                        int
			Multi, IncludeAll              bool
			AllValue                       string
			Query                          any
			Datasource                     struct{ UID string }
		}
	}
	Annotations struct {
		List []struct {
			Name, Expr string
			Placement  *string
			Datasource struct{ UID string }
		}
	}
}

func read(tb testing.TB, d Dashboard) testDashboard {
	tb.Helper()
	var out testDashboard
	if err := json.Unmarshal(d.JSON, &out); err != nil {
		tb.Fatal(err)
	}
	return out
}

func panelsOf(tb testing.TB, d Dashboard) []testPanel { return read(tb, d).Panels }
