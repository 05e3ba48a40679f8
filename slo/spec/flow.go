package spec

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// level holds what a file's defaults and a flow may both say. A flow starts
// with a copy of its file's.
type level struct {
	service      string
	page, ticket string // Slack channels
	owner        string
	runbook      *value // as written, with placeholders
	window       time.Duration
	minEvents    int
	tiers        []tier // nil: slo.Tiers
}

var (
	fileKeys     = []string{"service", "slack", "defaults", "flows"}
	defaultsKeys = []string{"window", "slack", "runbook", "owner", "min_events", "alerts"}
	flowKeys     = []string{
		"service", "match", "by", "bad_when", "slos", "slack", "alerts", "min_events", "owner", "runbook", "description", "labels",
	}
	alertsKeys = []string{"page", "ticket", "tiers"}
	tierKeys   = []string{"severity", "burn_rate", "long", "short"}
	byKeys     = []string{"attribute", "limit"}

	// laterInFile are keys of the language that are still to come.
	laterInFile = map[string]string{
		"exclude": "want a silence for the maintenance; its errors count until excludes are supported",
	}
)

// readFile reads the flows of one file and reports its faults.
func readFile(name string, data []byte, faults *collector) []slo.Flow {
	root := parse(name, data, faults)
	if root == nil {
		return nil
	}
	const want = "want a map with service: and flows:"
	top := value{root, "", faults}
	if top.kind != table {
		top.path = "file"
		top.refuse(want)
		return nil
	}
	keys, _ := top.keys(want, fileKeys, laterInFile)
	base := level{window: slo.DefaultWindow, minEvents: slo.DefaultMinEvents}
	if v, ok := keys["service"]; ok {
		base.service = service(v)
	}
	base.read(keys)
	if v, ok := keys["defaults"]; ok {
		defaults, _ := v.keys("want a map such as {window: 30d}", defaultsKeys, nil)
		if top.has("slack") && v.has("slack") {
			defaults["slack"].fault("the file has slack: as well", "want it once")
		}
		base.read(defaults)
	}
	flows, ok := keys["flows"]
	if !ok {
		if top.lacks("flows", fileKeys) {
			top.missing("flows", "want a map of at least one flow")
		}
		return nil
	}
	entries, _ := flows.entries("want a map of at least one flow")
	out := make([]slo.Flow, 0, len(entries))
	for _, e := range entries {
		out = append(out, readFlow(e, base, top.lacks("service", fileKeys)))
	}
	return out
}

// read takes over what keys say; what they do not say stays.
func (l *level) read(keys map[string]value) {
	if v, ok := keys["slack"]; ok {
		l.page = channel(v)
		l.ticket = l.page
	}
	if v, ok := keys["owner"]; ok {
		l.owner, _ = v.line("want a name, such as team-shop")
	}
	if v, ok := keys["runbook"]; ok {
		l.runbook = &v
	}
	if v, ok := keys["window"]; ok {
		l.window = window(v)
	}
	if v, ok := keys["min_events"]; ok {
		l.minEvents = minEvents(v)
	}
	if v, ok := keys["alerts"]; ok {
		alerts, _ := v.keys(`want a map such as {page: "#oncall", ticket: "#shop"}`, alertsKeys, nil)
		if v, ok := alerts["page"]; ok {
			l.page = channel(v)
		}
		if v, ok := alerts["ticket"]; ok {
			l.ticket = channel(v)
		}
		if v, ok := alerts["tiers"]; ok {
			l.tiers = tiers(v)
		}
	}
}

// readFlow reads one flow. needsService is whether the file names no service
// for it, not even a wrong one.
func readFlow(e entry, l level, needsService bool) slo.Flow {
	f := slo.Flow{Name: e.key, Pos: e.pos}
	if !slug.MatchString(f.Name) {
		e.faultAt(e.pos, e.path, "the flow's name is not a slug", wantSlug)
	}
	keys, ok := e.keys("want a map with match: and slos:", flowKeys, nil)
	if !ok {
		return f
	}
	here := e.value
	here.pos = e.pos // what a flow lacks is reported at its name
	l.read(keys)
	if v, ok := keys["service"]; ok {
		l.service = service(v)
	} else if needsService && e.lacks("service", flowKeys) {
		here.missing("service", "want it in the flow or at the top of the file")
	}
	f.Service, f.Owner, f.PageChannel, f.TicketChannel = l.service, l.owner, l.page, l.ticket
	if l.runbook != nil {
		f.Runbook = runbook(*l.runbook, f)
	}
	if v, ok := keys["description"]; ok {
		f.Description, _ = v.prose("want a text")
	}
	if v, ok := keys["labels"]; ok {
		f.Labels = labels(v)
	}
	if v, ok := keys["match"]; ok {
		f.Match = match(v)
	} else if e.lacks("match", flowKeys) {
		here.missing("match", "want one such as POST /api/checkout")
	}
	if v, ok := keys["bad_when"]; ok {
		f.BadWhen = selector(v, `want a map such as {http.response.status_code: ">=500"}`)
	}
	if v, ok := keys["by"]; ok {
		f.By, f.ByLimit = by(v)
	}
	if v, ok := keys["slos"]; ok {
		f.Objectives = objectives(v, l)
	} else if e.lacks("slos", flowKeys) {
		here.missing("slos", "want a list of at least one, such as [99.9% succeed]")
	}
	return f
}

var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

const wantSlug = "want 1 to 64 of a-z, 0-9, - and _, such as checkout"

// service reads the service.name of the spans.
func service(v value) string {
	const want = "want the service.name of its spans, such as shop"
	s, ok := v.line(want)
	if ok && strings.Contains(s, "*") {
		v.fault(quote(s)+" is a pattern", want)
	}
	return s
}

var slackID = regexp.MustCompile(`^[CDGUW][A-Z0-9]{7,}$`)

// channel reads where in Slack a message goes.
func channel(v value) string {
	const want = `want "#channel", "@person" or an ID such as C024BE91L`
	s, ok := v.line(want)
	named := len(s) > 1 && (s[0] == '#' || s[0] == '@') && !strings.ContainsAny(s, " ,")
	if ok && !named && !slackID.MatchString(s) {
		v.fault(quote(s)+" is not a Slack channel", want)
	}
	return s
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// runbook reads a URL and fills in the flow.
func runbook(v value, f slo.Flow) string {
	const want = "want one such as https://wiki.example/{flow}"
	s, ok := v.line(want)
	if !ok {
		return ""
	}
	known := true
	s = placeholder.ReplaceAllStringFunc(s, func(name string) string {
		switch name {
		case "{flow}":
			return url.PathEscape(f.Name)
		case "{service}":
			return url.PathEscape(f.Service)
		}
		if known {
			v.fault("unknown placeholder "+quote(name), "want {flow} or {service}")
		}
		known = false
		return name
	})
	u, err := url.Parse(s)
	if known && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		v.fault(quote(s)+" is not an http or https URL", want)
	}
	return s
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// labels reads the labels added to a flow's alerts.
func labels(v value) map[string]string {
	entries, _ := v.entries("want a map such as {team: shop}")
	out := make(map[string]string, len(entries))
	for _, e := range entries {
		switch {
		case !labelName.MatchString(e.key):
			e.faultAt(e.pos, e.path, "is not a label name", "want letters, digits and _, such as team")
			continue
		case e.key == "alertname", e.key == "severity", strings.HasPrefix(e.key, "__"),
			strings.HasPrefix(e.key, "sloth_"), strings.HasPrefix(e.key, "slowburn_"):
			e.faultAt(e.pos, e.path, "this label is set by slowburn", "want another name")
			continue
		}
		out[e.key], _ = e.line("want a text")
	}
	return out
}

// maxByLimit is how many values of one attribute can be told apart: at about
// 4 KB a value, 40 MB a flow.
const maxByLimit = 10_000

// by reads the attribute a flow is split by, and into how many values at most.
func by(v value) (attribute string, limit int) {
	const want = "want an attribute such as tenant.id, or {attribute: tenant.id, limit: 50}"
	limit = slo.DefaultByLimit
	if v.kind == table {
		keys, _ := v.keys(want, byKeys, nil)
		if l, ok := keys["limit"]; ok {
			limit, _ = l.whole(1, maxByLimit)
		}
		name, ok := keys["attribute"]
		if !ok {
			if v.lacks("attribute", byKeys) {
				v.missing("attribute", "want one such as tenant.id")
			}
			return "", limit
		}
		v = name
	}
	s, ok := v.line(want)
	if ok && strings.ContainsFunc(s, notInName) {
		v.fault(quote(s)+" is not the name of an attribute", want)
	}
	return current(s), limit
}

// window reads the period of an SLO.
func window(v value) time.Duration {
	s, ok := v.line("want a rolling window such as 30d")
	if !ok {
		return slo.DefaultWindow
	}
	d, bad := period(s)
	if v.flawed(bad) {
		return slo.DefaultWindow // no tier is to be refused for it
	}
	return d
}

// minEvents reads how many bad events an alert needs at least.
func minEvents(v value) int {
	n, _ := v.whole(1, 1_000_000)
	return n
}

// tier is an alert tier and, for suit, where parts of it were written.
type tier struct {
	slo.Tier
	factor, long value
}

// tiers reads the alerts of objectives. What depends on the objective, such as
// whether its target can burn that fast, is checked by suit.
func tiers(v value) []tier {
	const want = "want a list of tiers such as {severity: page, burn_rate: 14.4, long: 1h, short: 5m}"
	items, _ := v.elements(want)
	out := []tier{}
	for _, item := range items {
		before := len(v.faults.list)
		keys, ok := item.keys(want, tierKeys, nil)
		if !ok {
			continue
		}
		for _, key := range tierKeys {
			if item.lacks(key, tierKeys) {
				item.missing(key, want)
			}
		}
		t := tier{factor: keys["burn_rate"], long: keys["long"]}
		if v, ok := keys["severity"]; ok {
			s, _ := v.line("want page or ticket")
			t.Severity = slo.Severity(s)
			if s != "" && t.Severity != slo.Page && t.Severity != slo.Ticket {
				v.fault(quote(s)+" is not a severity", "want page or ticket")
			}
		}
		if v, ok := keys["burn_rate"]; ok {
			t.Factor, ok = decimal(v.text)
			if !ok || t.Factor == 0 {
				v.refuse("want a number above 0 such as 14.4")
			}
		}
		t.Long = lookbackOf(keys["long"])
		t.Short = lookbackOf(keys["short"])
		if t.Long > 0 && t.Short >= t.Long {
			keys["short"].fault(fmt.Sprintf("%s is not shorter than long: %s", slo.Duration(t.Short), slo.Duration(t.Long)),
				"want less than "+slo.Duration(t.Long))
		}
		if len(v.faults.list) == before {
			out = append(out, t)
		}
	}
	return out
}

func lookbackOf(v value) time.Duration {
	if v.node == nil {
		return 0
	}
	s, ok := v.line("want a duration such as 1h")
	if !ok {
		return 0
	}
	d, bad := lookback(s)
	v.flawed(bad)
	return d
}

// suit returns the tiers for an objective of the given target and window, and
// reports those that do not suit it.
func suit(tiers []tier, target float64, window time.Duration) []slo.Tier {
	out := make([]slo.Tier, len(tiers))
	for i, t := range tiers {
		out[i] = t.Tier
		if t.Long > window {
			t.long.fault(fmt.Sprintf("%s is longer than the window of %s", slo.Duration(t.Long), slo.Duration(window)),
				"want at most "+slo.Duration(window))
		}
		// An alert fires above its burn rate, so the highest burn itself, with
		// every event bad, is out of reach.
		if budget := slo.Budget(target); t.Factor*budget >= 1 {
			highest := fmt.Sprintf("%.6g", 1/budget)
			t.factor.fault(fmt.Sprintf("%s can never be reached: with every event bad, %s burns at %s",
				brief(t.factor.text), slo.Percent(target), highest), "want less than "+highest)
		}
	}
	return out
}
