package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/alerts/rulegen"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// rule is a recording or an alert rule, loaded by the server or wanted.
type rule struct {
	name     string
	alert    bool
	text     string      // of the expression, in one way, however it was written
	expr     parser.Expr // nil where it does not parse
	labels   map[string]string
	group    string
	interval time.Duration // of the group

	// id is that of the one SLO the rule is for, as its labels or all its
	// selectors say.
	id string
	// selects are the matchers of an SLO's id and service in each selector
	// that has some.
	selects [][]*labels.Matcher

	// Of a loaded rule.
	file      string
	health    v1.RuleHealth
	lastError string
	took      time.Duration // the last evaluation of its group
}

// maxText is how long an expression is looked at: those of a generator take a
// few kilobytes.
const maxText = 64 << 10

func newRule(name string, alert bool, text string, set map[string]string) *rule {
	r := &rule{name: name, alert: alert, text: text, labels: set, id: set[series.ID]}
	if len(text) > maxText {
		return r
	}
	expr, err := dialect.ParseExpr(text)
	if err != nil {
		return r
	}
	r.expr, r.text = expr, expr.String()
	ids := map[string]bool{}
	for _, matchers := range parser.ExtractSelectors(expr) {
		var of []*labels.Matcher
		id := ""
		for _, m := range matchers {
			if m.Name == series.ID || m.Name == series.SLOServ {
				of = append(of, m)
			}
			if m.Name == series.ID && m.Type == labels.MatchEqual {
				id = m.Value
			}
		}
		if len(of) > 0 {
			r.selects = append(r.selects, of)
			ids[id] = true
		}
	}
	if r.id == "" && len(ids) == 1 {
		for id := range ids {
			r.id = id
		}
	}
	return r
}

// of reports whether the rule is for an SLO: by its labels, or by what it
// selects.
func (r *rule) of(id, service string) bool {
	if r.id != "" {
		return r.id == id
	}
	return slices.ContainsFunc(r.selects, func(ms []*labels.Matcher) bool {
		return !slices.ContainsFunc(ms, func(m *labels.Matcher) bool {
			if m.Name == series.ID {
				return !m.Matches(id)
			}
			return service == "" || !m.Matches(service)
		})
	})
}

// ruleset is rules in order.
type ruleset struct {
	all    []*rule
	own    map[string][]*rule // by id
	shared []*rule            // the others that select SLOs
}

func (x *ruleset) add(r *rule) {
	x.all = append(x.all, r)
	switch {
	case r.id != "":
		if x.own == nil {
			x.own = map[string][]*rule{}
		}
		x.own[r.id] = append(x.own[r.id], r)
	case len(r.selects) > 0:
		x.shared = append(x.shared, r)
	}
}

// of returns the rules of an SLO: its own, and then those it shares.
func (x *ruleset) of(id, service string) []*rule {
	out := slices.Clone(x.own[id])
	for _, r := range x.shared {
		if r.of(id, service) {
			out = append(out, r)
		}
	}
	return out
}

// loadRules asks which rules the server has loaded.
func (d *doctor) loadRules(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	d.count()
	answer, err := d.api.Rules(ctx, nil)
	if err != nil {
		if absent(err) {
			d.general.warn("rules", "slowburn doctor --prometheus URL # of the ruler", "this server does not tell its rules (404): whether they are loaded is not known")
		} else {
			d.fail("the loaded rules", plain(err))
		}
		return
	}
	d.ruled = true
	for _, g := range answer.Groups {
		var took float64
		first := len(d.rules.all)
		for _, one := range g.Rules {
			var r *rule
			switch one := one.(type) {
			case v1.AlertingRule:
				r = newRule(one.Name, true, one.Query, plainLabels(one.Labels))
				r.health, r.lastError = one.Health, one.LastError
				took += one.EvaluationTime
			case v1.RecordingRule:
				r = newRule(one.Name, false, one.Query, plainLabels(one.Labels))
				r.health, r.lastError = one.Health, one.LastError
				took += one.EvaluationTime
			default:
				continue
			}
			r.group, r.file, r.interval = g.Name, g.File, inSeconds(g.Interval)
			d.rules.add(r)
		}
		for _, r := range d.rules.all[first:] {
			r.took = inSeconds(took)
		}
	}
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func plainLabels(set model.LabelSet) map[string]string {
	out := make(map[string]string, len(set))
	for k, v := range set {
		out[string(k)] = string(v)
	}
	return out
}

// want generates the rules of all SLOs, plain and with catch-up, and takes
// those that the loaded ones are like: which was chosen is not known here.
func (d *doctor) want() {
	type key struct{ name, text string }
	loaded := map[key]bool{}
	for _, r := range d.rules.all {
		loaded[key{r.name, r.text}] = true
	}
	most := -1
	for _, catchUp := range []bool{false, true} {
		groups, _, err := rulegen.Record(d.Flows, rulegen.RecordOptions{Scrape: d.Scrape, CatchUp: catchUp})
		if err != nil {
			d.general.fault("rules", "slowburn generate "+d.slosFlags()+" --to prometheus --out rules", "the rules cannot be generated: %v", err)
			return
		}
		var set ruleset
		alike := 0
		for _, g := range groups {
			for _, one := range g.Rules {
				r := newRule(cmp.Or(one.Record, one.Alert), one.Alert != "", one.Expr, one.Labels)
				r.group, r.interval = g.Name, time.Duration(g.Interval)
				set.add(r)
				if loaded[key{r.name, r.text}] {
					alike++
				}
			}
		}
		if alike > most {
			d.wanted, most = set, alike
		}
	}
}

// compareRules holds the rules of an SLO against those that are loaded.
func (d *doctor) compareRules(s *sheet, o slo.SLO) {
	if !d.ruled {
		return
	}
	id, service := o.ID(), o.Flow.Service
	loaded := d.rules.of(id, service)
	byName := map[string][]*rule{}
	for _, l := range loaded {
		byName[l.name] = append(byName[l.name], l)
	}
	var missing, differ []string
	var mine []*rule
	example := ""
	wanted := d.wanted.of(id, service)
	for _, w := range wanted {
		like := closest(w, byName[w.name])
		switch {
		case like == nil || like.text != w.text && !ours(like.group):
			missing = append(missing, w.name)
			continue
		case like.text != w.text:
			differ = append(differ, w.name)
			example = cmp.Or(example, difference(like.text, w.text))
		case like.interval > 0 && like.interval != w.interval:
			s.fault("rules", fmt.Sprintf("interval: %s # of group %s in %s", slo.Duration(w.interval), like.group, like.file),
				"group %s is evaluated every %s, not every %s: its sums are wrong by that factor", like.group, slo.Duration(like.interval), slo.Duration(w.interval))
		}
		mine = append(mine, like)
	}
	all := len(wanted)
	generate := fmt.Sprintf("slowburn generate %s --to prometheus --out rules && curl -X POST %s", d.slosFlags(), shell(d.url+"/-/reload"))
	switch {
	case all == 0:
		return
	case len(missing) == all && d.recorded.objectives[id] > 0 && len(loaded) == 0:
		s.ok("rules", "its series are written to this server from outside, so that it needs no rules here")
	case len(missing) == all && len(loaded) > 0:
		s.fault("rules", generate, "none of its %d rules is loaded, only those of %s", all, groupsOf(loaded))
	case len(missing) == all:
		s.fault("rules", generate, "none of its %d rules is loaded: nothing is recorded and nobody is alerted", all)
	case len(missing) > 0:
		s.fault("rules", generate, "%d of its %d rules are not loaded: %s", len(missing), all, list(unique(missing)))
	}
	if len(differ) > 0 {
		s.fault("rules", generate, "%d of its %d rules are loaded as another version: %s; the first has %s", len(differ), all, list(unique(differ)), example)
	}
	d.health(s, mine)
	if len(missing)+len(differ) == 0 {
		s.ok("rules", "all of its %d rules are loaded in this version", all)
	}
}

// closest returns the loaded rule that is the wanted one, or else the one that
// stands in its place: slowburn's rather than another generator's.
func closest(w *rule, loaded []*rule) *rule {
	var best *rule
	for _, l := range loaded {
		if l.alert != w.alert || l.labels[series.Window] != w.labels[series.Window] {
			continue
		}
		if l.text == w.text {
			return l
		}
		if best == nil || ours(l.group) {
			best = l
		}
	}
	return best
}

// difference writes where two expressions begin to differ.
func difference(is, wants string) string {
	const before, after = 20, 60
	same := 0
	for same < min(len(is), len(wants)) && is[same] == wants[same] {
		same++
	}
	cut := func(s string) string {
		from, to := max(0, same-before), min(len(s), same+after)
		text := s[from:to]
		if from > 0 {
			text = "…" + text
		}
		if to < len(s) {
			text += "…"
		}
		return text
	}
	return cut(is) + " where it should have " + cut(wants)
}

// ours reports whether a group was generated by slowburn.
func ours(group string) bool { return strings.HasPrefix(group, "slowburn-") }

// health looks at how rules were evaluated last.
func (d *doctor) health(s *sheet, rules []*rule) {
	slow := map[string]bool{}
	for _, l := range rules {
		if l.health == v1.RuleHealthBad {
			s.fault("rules", promtool(d.url, l.text), "rule %s of group %s is not healthy: %s", l.name, l.group, l.lastError)
		}
		if l.interval == 0 || slow[l.group+l.file] {
			continue
		}
		fix := promtool(d.url, fmt.Sprintf("topk(5, prometheus_rule_group_last_duration_seconds{rule_group=~%q})", ".*"+l.group))
		switch {
		case l.took > l.interval:
			s.fault("rules", fix, "group %s takes %s and is to be evaluated every %s: it leaves instants out", l.group, l.took.Round(time.Millisecond), slo.Duration(l.interval))
		case l.took > l.interval/2:
			s.warn("rules", fix, "group %s takes %s of the %s until its next evaluation", l.group, l.took.Round(time.Millisecond), slo.Duration(l.interval))
		}
		slow[l.group+l.file] = true
	}
}

// duplicates looks for two groups that record the same series, and for series
// that are there twice.
func (d *doctor) duplicates(s *sheet, id, service string) {
	type record struct{ name, window, labels string }
	by := map[record][]*rule{}
	for _, l := range d.rules.of(id, service) {
		if !l.alert {
			// Rules that tell SLOs apart by more labels record other series.
			r := record{l.name, l.labels[series.Window], distinct(l.labels)}
			by[r] = append(by[r], l)
		}
	}
	var twice []*rule
	var names []string
	for _, r := range slices.SortedFunc(maps.Keys(by), func(a, b record) int { return cmp.Compare(a.name+a.window, b.name+b.window) }) {
		if len(by[r]) > 1 {
			twice = append(twice, by[r]...)
			names = append(names, r.name)
		}
	}
	if len(twice) > 0 {
		remove := twice[0]
		for _, l := range twice {
			if !ours(l.group) {
				remove = l
			}
		}
		s.fault("rules", fmt.Sprintf("grep -n %s %s # delete the groups of one generator, then: curl -X POST %s", shell("name: "+remove.group), shell(remove.file), shell(d.url+"/-/reload")),
			"%d series are recorded twice, by %s: %s", len(unique(names)), groupsOf(twice), list(unique(names)))
		return
	}
	if n := d.recorded.objectives[id]; n > 1 {
		s.warn("series", promtool(d.url, fmt.Sprintf("%s{%s=%q}", series.Objective, series.ID, id)),
			"%s is there %s times for this SLO: whoever sums it up gets it multiplied", series.Objective, words.Number(n, 0))
	}
}

// distinct returns the labels of a rule that are not Sloth's or ours: rules
// that differ in them record different series on purpose.
func distinct(set map[string]string) string {
	var out []string
	for k, v := range set {
		if !strings.HasPrefix(k, "sloth_") && !strings.HasPrefix(k, "slowburn_") {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// groupsOf names the groups of rules with their files.
func groupsOf(rules []*rule) string {
	var out []string
	for _, l := range rules {
		out = append(out, fmt.Sprintf("group %s (%s)", l.group, l.file))
	}
	return strings.Join(unique(out), ", ")
}

// filesOf names the files of rules.
func filesOf(rules []*rule) string {
	var out []string
	for _, l := range rules {
		out = append(out, l.file)
	}
	return strings.Join(unique(out), ", ")
}

func unique(in []string) []string { return slices.Compact(sorted(in)) }

// slosFlags writes the flags that name the configuration.
func (d *doctor) slosFlags() string {
	var out []string
	for _, p := range d.Paths {
		out = append(out, "--slos "+shell(p))
	}
	return cmp.Or(strings.Join(out, " "), "--slos slos.yaml")
}
