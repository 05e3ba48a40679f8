package spec

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// level holds what a file's defaults, a flow and an objective may all say. Each
// starts with a copy of the one around it.
type level struct {
	service   string
	framework string
	owner     string
	runbook   *source.Value // as written, with placeholders
	labels    map[string]string
	badWhen   slo.Selector
	where     []string // nil: slo.DefaultWhere
	window    time.Duration
	calendar  slo.Unit
	zone      *zone // nil: none is named
	minEvents int
	alerts    alerts

	zones zones
}

var (
	fileKeys     = []string{"service", "slack", "defaults", "flows", "exclude"}
	defaultsKeys = []string{
		"window", "timezone", "slack", "alerts", "min_events", "owner", "runbook", "labels", "bad_when",
		"where", "framework",
	}
	flowKeys = []string{
		"service", "match", "by", "bad_when", "where", "slos", "window", "timezone", "slack", "alerts", "min_events",
		"owner", "runbook", "description", "labels", "framework",
	}
	byKeys = []string{"attribute", "limit"}
)

// readFile reads the flows of one file and reports its faults.
func readFile(name string, data []byte, others *formats, zones zones, faults *source.Collector) []slo.Flow {
	const want = "want a map with service: and flows:"
	before := faults.Len()
	docs := source.Parse(name, data, faults)
	if len(docs) == 0 {
		if faults.Len() == before {
			faults.Add(source.Fault{Pos: slo.Pos{File: name, Line: 1, Column: 1}, Fact: "no flows", Want: want})
		}
		return nil
	}
	if isForeign(docs) {
		return others.read(docs, faults)
	}
	if len(docs) > 1 {
		faults.Add(source.Fault{Pos: docs[1].Pos, Fact: "a second document", Want: "want one document in each file"})
		return nil
	}
	top := source.Value{Node: docs[0], Faults: faults}
	if top.Kind != source.Table {
		top.Path = "file"
		top.Refuse(want)
		return nil
	}
	keys, _ := top.Keys(want, fileKeys)
	base := level{window: slo.DefaultWindow, minEvents: slo.DefaultMinEvents, zones: zones}
	if v, ok := keys["service"]; ok {
		base.service = service(v)
	}
	base.read(keys)
	if v, ok := keys["defaults"]; ok {
		defaults, _ := v.Keys("want a map such as {window: 30d}", defaultsKeys)
		if top.Has("slack") && v.Has("slack") {
			defaults["slack"].Fault("the file has slack: as well", "want it once")
		}
		base.read(defaults)
	}
	var out []slo.Flow
	if v, ok := keys["flows"]; ok {
		entries, _ := v.Entries("want a map of at least one flow")
		out = make([]slo.Flow, 0, len(entries))
		for _, e := range entries {
			out = append(out, readFlow(e, base, top.Lacks("service", fileKeys)))
		}
	} else if top.Lacks("flows", fileKeys) {
		top.Missing("flows", "want a map of at least one flow")
	}
	if v, ok := keys["exclude"]; ok {
		readExcludes(v, out, base)
	}
	if slices.ContainsFunc(out, func(f slo.Flow) bool { return len(f.Objectives) > 0 }) {
		base.zone.unused()
		base.alerts.outage.unused()
	}
	return out
}

// read takes over what keys say; what they do not say stays.
func (l *level) read(keys map[string]source.Value) {
	if v, ok := keys["slack"]; ok {
		l.alerts.page = channel(v)
		l.alerts.ticket = l.alerts.page
	}
	if v, ok := keys["framework"]; ok {
		l.framework = frameworkName(v)
	}
	if v, ok := keys["owner"]; ok {
		l.owner, _ = v.Line("want a name, such as team-shop")
	}
	if v, ok := keys["runbook"]; ok {
		l.runbook = &v
	}
	if v, ok := keys["labels"]; ok {
		l.labels = merged(l.labels, labels(v))
	}
	if v, ok := keys["bad_when"]; ok {
		l.badWhen = selector(v, `want a map such as {http.response.status_code: ">=500"}`)
	}
	if v, ok := keys["where"]; ok {
		l.where = where(v)
	}
	if v, ok := keys["min_events"]; ok {
		l.minEvents = minEvents(v)
	}
	if v, ok := keys["alerts"]; ok {
		l.alerts.read(v, false)
	}
	l.readWindow(keys)
}

// readWindow takes over the window and the zone that keys name.
func (l *level) readWindow(keys map[string]source.Value) {
	if v, ok := keys["timezone"]; ok {
		l.zone = l.zones.read(v)
	}
	if v, ok := keys["window"]; ok {
		l.window, l.calendar, ok = window(v)
		if !ok && l.zone != nil {
			l.zone.used = true // by whatever window is meant
		}
	}
}

// readFlow reads one flow. needsService is whether the file names no service
// for it, not even a wrong one.
func readFlow(e source.Entry, around level, needsService bool) slo.Flow {
	l := around
	f := slo.Flow{Name: e.Key, Pos: e.Pos}
	if !slug.MatchString(f.Name) {
		e.FaultAt(e.Pos, e.Path, "the flow's name is not a slug", wantSlug)
	}
	keys, ok := e.Keys("want a map with match: and slos:", flowKeys)
	if !ok {
		return f
	}
	here := e.Value
	here.Pos = e.Pos // what a flow lacks is reported at its name
	l.read(keys)
	if v, ok := keys["service"]; ok {
		l.service = service(v)
	} else if needsService && e.Lacks("service", flowKeys) {
		here.Missing("service", "want it in the flow or at the top of the file")
	}
	f.Service, f.Owner, f.PageChannel, f.TicketChannel = l.service, l.owner, l.alerts.page, l.alerts.ticket
	f.Labels, f.BadWhen, f.Where, f.Framework = l.labels, l.badWhen, l.where, l.framework
	if l.runbook != nil {
		f.Runbook = runbook(*l.runbook, f)
	}
	if v, ok := keys["description"]; ok {
		f.Description, _ = v.Prose("want a text")
	}
	if v, ok := keys["match"]; ok {
		f.Match = match(v)
	} else if e.Lacks("match", flowKeys) && counts(keys["slos"]) {
		here.Missing("match", "want one such as POST /api/checkout")
	}
	if v, ok := keys["by"]; ok {
		f.By, f.ByLimit = by(v)
	}
	if v, ok := keys["slos"]; ok {
		f.Objectives = objectives(v, l)
	} else if e.Lacks("slos", flowKeys) {
		here.Missing("slos", "want a list of at least one, such as [99.9% succeed]")
	}
	if l.zone != around.zone && len(f.Objectives) > 0 {
		l.zone.unused()
	}
	if l.alerts.outage != around.alerts.outage && len(f.Objectives) > 0 {
		l.alerts.outage.unused()
	}
	return f
}

// counts reports whether slos hold an objective about spans, as far as can be
// seen without reading them: one that is not PromQL.
func counts(slos source.Value) bool {
	if slos.Node == nil || len(slos.Items) == 0 {
		return true
	}
	return slices.ContainsFunc(slos.Items, func(n *source.Node) bool {
		return !source.Value{Node: n}.Has("promql")
	})
}

var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// maxSlug is how long a slug may be.
const maxSlug = 64

// slugOf returns the slug that is nearest to a name with a letter or digit.
func slugOf(name string) string {
	s := strings.TrimLeft(notInSlug.ReplaceAllString(strings.ToLower(name), "-"), "-_")
	return s[:min(len(s), maxSlug)]
}

var notInSlug = regexp.MustCompile(`[^a-z0-9_-]+`)

const wantSlug = "want 1 to 64 of a-z, 0-9, - and _, such as checkout"

// service reads the service.name of the spans.
func service(v source.Value) string {
	const want = "want the service.name of its spans, such as shop"
	s, ok := v.Line(want)
	if ok && strings.Contains(s, "*") {
		v.Fault(source.Quote(s)+" is a pattern", want)
	}
	return s
}

// placeholder is one, or a brace that is left over: no URL holds any.
var placeholder = regexp.MustCompile(`\{[^{}]*\}|[{}]`)

// runbook reads a URL and fills in the flow.
func runbook(v source.Value, f slo.Flow) string {
	const want = "want one such as https://wiki.example/{flow}"
	s, ok := v.Line(want)
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
			v.Fault("unknown placeholder "+source.Quote(name), "want {flow} or {service}")
		}
		known = false
		return name
	})
	u, err := url.Parse(s)
	if known && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		v.Fault(source.Quote(s)+" is not an http or https URL", want)
	}
	return s
}

// maxByLimit is how many values of one attribute can be told apart: at about
// 4 KB a value, 40 MB a flow.
const maxByLimit = 10_000

// by reads the attribute a flow is split by, and into how many values at most.
func by(v source.Value) (key string, limit int) {
	const want = "want an attribute such as tenant.id, or {attribute: tenant.id, limit: 50}"
	limit = slo.DefaultByLimit
	if v.Kind == source.Table {
		keys, _ := v.Keys(want, byKeys)
		if l, ok := keys["limit"]; ok {
			limit, _ = l.Whole(1, maxByLimit)
		}
		name, ok := keys["attribute"]
		if !ok {
			if v.Lacks("attribute", byKeys) {
				v.Missing("attribute", "want one such as tenant.id")
			}
			return "", limit
		}
		v = name
	}
	key, _ = attribute(v, want)
	return key, limit
}

// attribute reads the name of an attribute, as it is called today.
func attribute(v source.Value, want string) (string, bool) {
	s, ok := v.Line(want)
	if ok && strings.ContainsFunc(s, source.NotInName) {
		v.Fault(source.Quote(s)+" is not the name of an attribute", want)
		ok = false
	}
	return current(s), ok
}

// where reads the attributes whose values are compared among good and bad
// requests. The result is not nil.
func where(v source.Value) []string {
	const want = "want a list of attributes such as [service.version, tenant.id], or off"
	out := []string{}
	if isOff(v) {
		return out
	}
	items := []source.Value{v}
	if v.Kind == source.List {
		items, _ = v.Elements(want)
	}
	if len(items) > slo.MaxWhere {
		v.Fault(fmt.Sprintf("has %d attributes", len(items)), fmt.Sprintf("want at most %d", slo.MaxWhere))
		items = items[:slo.MaxWhere]
	}
	for _, item := range items {
		key, ok := attribute(item, want)
		switch {
		case !ok:
		case key == "service.name":
			item.Fault("is the same for all requests of a flow", "want it left out")
		case slices.Contains(out, key):
			item.Fault(key+" is in the list already", "want it once")
		default:
			if now := meant(key); now != "" {
				item.Warn(source.Quote(key)+" is no attribute of OpenTelemetry's conventions", "want "+now+", unless your spans carry it")
			}
			out = append(out, key)
		}
	}
	return out
}
