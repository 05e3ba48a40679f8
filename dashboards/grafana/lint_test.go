package grafana

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/units"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// substitute puts values in the place of Grafana's variables: macros by their
// names, and a variable by a regular expression that may stand in a matcher.
func substitute(expr string) string {
	expr = strings.NewReplacer("$__rate_interval", "8869990787ms", "$__interval", "4867856611ms").Replace(expr)
	return regexp.MustCompile(`\$\{?[a-z_]+\}?`).ReplaceAllString(expr, "x")
}

func parse(expr string) (parser.Expr, error) {
	return parser.NewParser(parser.Options{}).ParseExpr(substitute(expr))
}

// calls walks the selectors of an expression, each with what is around it, the
// nearest last.
func calls(expr parser.Expr, visit func(s *parser.VectorSelector, around []parser.Node)) {
	_ = parser.Walk(inspect(func(n parser.Node, around []parser.Node) {
		if s, ok := n.(*parser.VectorSelector); ok {
			visit(s, around)
		}
	}), expr, nil)
}

type inspect func(parser.Node, []parser.Node)

func (f inspect) Visit(n parser.Node, path []parser.Node) (parser.Visitor, error) {
	f(n, path)
	return f, nil
}

// caller returns the function that is called with a selector as its range.
func caller(around []parser.Node) (name string, window *parser.MatrixSelector) {
	if len(around) < 2 {
		return "", nil
	}
	m, ok := around[len(around)-1].(*parser.MatrixSelector)
	if !ok {
		return "", nil
	}
	if c, ok := around[len(around)-2].(*parser.Call); ok {
		return c.Func.Name, m
	}
	return "", m
}

// TestLint holds the rules of Grafana's dashboard-linter, for panels of every
// type rather than those it knows, with these exceptions:
//
//   - target-rate-interval-rule: rates over 5 minutes are of now, and say the
//     same whatever time is shown.
//   - template-job-rule, target-job-rule, template-instance-rule,
//     target-instance-rule: the series of flows and SLOs are of whole services;
//     they have no job and no instance. The runtime's do: instance is a variable
//     there, and job is chosen as its service.
//   - target-logql-rule, target-logql-auto-rule: there is no LogQL.
//
// A unit in an override of a column, as tables have them, is a valid one too.
func TestLint(t *testing.T) {
	rules := map[string]func(d testDashboard) error{
		"template-datasource-rule": func(d testDashboard) error {
			v := d.Templating.List[0]
			if v.Type != "datasource" || v.Name != "datasource" || v.Label != "Data source" || v.Query != "prometheus" {
				return fmt.Errorf("the first variable is %+v", v)
			}
			return nil
		},
		"template-label-promql-rule": func(d testDashboard) error {
			for _, v := range d.Templating.List[1:] {
				query, _ := v.Query.(map[string]any)
				m := regexp.MustCompile(`^label_values\((.+), [a-z_]+\)$`).FindStringSubmatch(fmt.Sprint(query["query"]))
				if m == nil {
					return fmt.Errorf("variable %s: query %v", v.Name, v.Query)
				}
				if _, err := parse(m[1]); err != nil {
					return fmt.Errorf("variable %s: %w", v.Name, err)
				}
				if query["qryType"] == nil || query["refId"] == nil {
					return fmt.Errorf("variable %s: query %v has no type or id", v.Name, query)
				}
				if v.Datasource.UID != "${datasource}" || v.Label == "" || v.Description == "" {
					return fmt.Errorf("variable %s: %+v", v.Name, v)
				}
			}
			return nil
		},
		"template-on-time-change-reload-rule": func(d testDashboard) error {
			for _, v := range d.Templating.List[1:] {
				if v.Refresh != 2 {
					return fmt.Errorf("variable %s is refreshed by %d", v.Name, v.Refresh)
				}
			}
			return nil
		},
		"panel-datasource-rule": eachPanel(func(p testPanel) error {
			for _, of := range append([]testTarget{{Datasource: p.Datasource}}, p.Targets...) {
				if of.Datasource.UID != "${datasource}" || of.Datasource.Type != "prometheus" {
					return fmt.Errorf("data source is %+v", of.Datasource)
				}
			}
			return nil
		}),
		"panel-title-description-rule": eachPanel(func(p testPanel) error {
			if p.Title == "" || len(p.Description) < 40 || !strings.HasSuffix(p.Description, ".") {
				return fmt.Errorf("description is %q, want sentences", p.Description)
			}
			return nil
		}),
		"panel-units-rule": eachPanel(func(p testPanel) error {
			found := []string{p.FieldConfig.Defaults.Unit}
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					if property.ID == "unit" {
						found = append(found, property.Value.(string))
					}
				}
			}
			for _, u := range found {
				if !slices.Contains([]string{units.PercentUnit, units.Seconds, units.RequestsPerSecond, units.CountsPerSecond, units.BytesIEC, units.Number, "string"}, u) {
					return fmt.Errorf("unit is %q", u)
				}
			}
			return nil
		}),
		"panel-no-targets-rule": eachPanel(func(p testPanel) error {
			if len(p.Targets) == 0 {
				return errors.New("no query")
			}
			return nil
		}),
		"target-promql-rule": eachExpr(func(parser.Expr) error { return nil }),
		"target-rate-interval-rule": eachExpr(func(expr parser.Expr) (err error) {
			calls(expr, func(s *parser.VectorSelector, around []parser.Node) {
				name, m := caller(around)
				if name == "rate" && m.Range.Milliseconds() != 8869990787 && m.Range.String() != "5m0s" {
					err = fmt.Errorf("%s is over %s, want the interval or 5m", s.Name, m.Range)
				}
			})
			return err
		}),
		"target-counter-agg-rule": eachExpr(func(expr parser.Expr) (err error) {
			calls(expr, func(s *parser.VectorSelector, around []parser.Node) {
				name, _ := caller(around)
				counter := strings.HasSuffix(s.Name, "_total") || strings.HasSuffix(s.Name, "_sum") || strings.HasSuffix(s.Name, "_duration_seconds")
				// Starts of processes are told by counters that appear or reset.
				starts := s.Name == loopTime && name != "rate"
				if counter && name != "rate" && !starts {
					err = fmt.Errorf("%s is under %q, want rate", s.Name, name)
				}
			})
			return err
		}),
		"uneditable-dashboard": func(d testDashboard) error {
			if d.Editable {
				return errors.New("it is editable")
			}
			return nil
		},
		"target-instance-rule": eachExpr(func(expr parser.Expr) (err error) {
			calls(expr, func(s *parser.VectorSelector, _ []parser.Node) {
				ours := regexp.MustCompile(`^(slowburn_|slo_|slo:|sloth_|ALERTS)`).MatchString(s.Name)
				has := slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == "instance" }) &&
					slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == "job" })
				if ours == has {
					err = fmt.Errorf("%s has job and instance: %t", s, has)
				}
			})
			return err
		}),
	}
	for _, d := range generated(t) {
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			if err := rules[name](read(t, d)); err != nil {
				t.Errorf("%s: %s: %v", d.Title, name, err)
			}
		}
	}
}

// eachPanel makes a rule of one for panels.
func eachPanel(rule func(p testPanel) error) func(testDashboard) error {
	return func(d testDashboard) (err error) {
		for _, p := range d.Panels {
			if p.Type == "row" {
				continue
			}
			if fault := rule(p); fault != nil {
				err = errors.Join(err, fmt.Errorf("panel %d, %q: %w", p.ID, p.Title, fault))
			}
		}
		return err
	}
}

// eachExpr makes a rule of one for the queries of panels and annotations.
func eachExpr(rule func(expr parser.Expr) error) func(testDashboard) error {
	return func(d testDashboard) error {
		check := func(text string) error {
			expr, err := parse(text)
			if err == nil {
				err = rule(expr)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
			return nil
		}
		var faults []error
		for _, a := range d.Annotations.List {
			faults = append(faults, check(a.Expr))
		}
		return errors.Join(append(faults, eachPanel(func(p testPanel) error {
			var faults []error
			for _, q := range p.Targets {
				faults = append(faults, check(q.Expr))
			}
			return errors.Join(faults...)
		})(d))...)
	}
}

// TestRules holds what else makes a dashboard one that people keep open.
func TestRules(t *testing.T) {
	uids, titles := map[string]bool{}, map[string]bool{}
	for _, generated := range generated(t) {
		d := read(t, generated)
		fault := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s: %s", d.Title, fmt.Sprintf(format, args...))
		}
		if d.UID != generated.UID || d.Title != generated.Title || len(d.UID) > 40 || uids[d.UID] || titles[d.Title] || d.ID != nil {
			fault("uid %q, title %q, id %v; want them unique, short and without an id", d.UID, d.Title, d.ID)
		}
		uids[d.UID], titles[d.Title] = true, true
		if !slices.Contains(d.Tags, Tag) || d.Description == "" || d.Timezone != "browser" || d.Refresh != "30s" {
			fault("tags %q, description %q, time zone %q, refresh %q", d.Tags, d.Description, d.Timezone, d.Refresh)
		}
		for _, l := range d.Links {
			if l.Placement != nil || (l.Type == "link") != (l.URL != "") || (l.Type == "dashboards") != (len(l.Tags) > 0) {
				fault("link %+v; want it in the bar, with an address or tags", l)
			}
		}
		for _, a := range d.Annotations.List {
			if a.Placement != nil || a.Datasource.UID != "${datasource}" {
				fault("annotation %+v; want it in the bar, of the data source that is chosen", a)
			}
		}
		if len(d.Annotations.List) < 2 || len(d.Links) < 2 {
			fault("%d annotations and %d links", len(d.Annotations.List), len(d.Links))
		}

		ids := map[int]bool{}
		filled := map[int]int{} // width by line
		for _, p := range d.Panels {
			if ids[p.ID] || p.ID == 0 {
				fault("panel %q has id %d twice, or none", p.Title, p.ID)
			}
			ids[p.ID] = true
			if p.GridPos.X != filled[p.GridPos.Y] {
				fault("panel %q begins at %d, want %d", p.Title, p.GridPos.X, filled[p.GridPos.Y])
			}
			filled[p.GridPos.Y] += p.GridPos.W
			if p.Type == "row" {
				if p.Collapsed {
					fault("row %q is collapsed", p.Title)
				}
				continue
			}
			config := p.FieldConfig.Defaults
			if config.NoValue == "" {
				fault("panel %q says nothing where it has no data", p.Title)
			}
			for i, s := range config.Thresholds.Steps {
				if (i == 0) != (s.Value == nil) || i > 1 && *s.Value <= *config.Thresholds.Steps[i-1].Value {
					fault("panel %q: thresholds do not ascend from a base", p.Title)
				}
				// The base colours a panel without data.
				if i == 0 && s.Color != neutral {
					fault("panel %q: the base of its thresholds is %s, want %s", p.Title, s.Color, neutral)
				}
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if q.RefID == "" || refs[q.RefID] {
					fault("panel %q has query %q twice, or without a name", p.Title, q.RefID)
				}
				refs[q.RefID] = true
				now := p.Type == "stat" || p.Type == "table"
				if q.Instant != now || q.Range == now {
					fault("panel %q (%s): query %s is instant %t, range %t", p.Title, p.Type, q.RefID, q.Instant, q.Range)
				}
				if want := map[string]string{"table": "table", "heatmap": "heatmap"}[p.Type]; q.Format != want {
					fault("panel %q (%s): format is %q, want %q", p.Title, p.Type, q.Format, want)
				}
				if p.Type == "timeseries" && q.LegendFormat == "" {
					fault("panel %q: query %s has no legend", p.Title, q.RefID)
				}
			}
			if p.Type == "timeseries" && config.Unit == units.PercentUnit && config.Min == nil && config.Max == nil {
				fault("panel %q: a ratio has no bounds", p.Title)
			}
			if p.Type == "heatmap" && !strings.Contains(string(p.Options), `"mode": "single"`) {
				fault("heatmap %q has no tooltip: %s", p.Title, p.Options)
			}
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					if property.ID != "links" {
						continue
					}
					for _, l := range property.Value.([]any) {
						if l.(map[string]any)["type"] != "link" {
							fault("panel %q: link %v has no type", p.Title, l)
						}
					}
				}
			}
		}
		for y, w := range filled {
			if w != width {
				fault("the line at %d is %d wide, want %d", y, w, width)
			}
		}
	}
}

// TestRankingLeads: the key of each flow is mapped to the uid of its dashboard.
func TestRankingLeads(t *testing.T) {
	all := generated(t)
	known := map[string]bool{}
	for _, d := range all {
		known[d.UID] = true
	}
	mapped := map[string]string{}
	for _, p := range panelsOf(t, all[0]) {
		for _, o := range p.FieldConfig.Overrides {
			if o.Matcher.Options != "key" {
				continue
			}
			for _, property := range o.Properties {
				if property.ID != "mappings" {
					continue
				}
				raw, err := json.Marshal(property.Value)
				if err != nil {
					t.Fatal(err)
				}
				var maps []struct {
					Options map[string]struct{ Text string }
				}
				if err := json.Unmarshal(raw, &maps); err != nil {
					t.Fatal(err)
				}
				for key, to := range maps[0].Options {
					mapped[key] = to.Text
				}
			}
		}
	}
	for _, f := range varied(t) {
		if uid := mapped[f.Service+"/"+f.Name]; !known[uid] || uid != FlowUID(f.Service, f.Name) {
			t.Errorf("%s/%s leads to %q, which is no dashboard of it", f.Service, f.Name, uid)
		}
	}
	if len(mapped) != len(varied(t)) {
		t.Errorf("%d keys are mapped, want one for each flow", len(mapped))
	}
}
