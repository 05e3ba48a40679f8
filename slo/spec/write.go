package spec

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// File is a file of slowburn's language.
type File struct {
	Name string // such as shop.yaml: a-z, 0-9, - and _ before the dot
	Data []byte
}

// Marshal writes flows as Load reads them back, places aside: a file for each
// service, sorted by name, or several where one would be too large to be read.
// What all flows of a file say alike is said once, in its defaults.
//
// Each file is read again before it is returned. An error says what the language
// cannot say, such as a flow whose name is no slug.
func Marshal(flows []slo.Flow) ([]File, error) {
	var out []File
	taken := map[string]bool{}
	for _, flows := range ByService(flows) {
		parts, err := writeFiles(flows)
		if err != nil {
			return nil, err
		}
		for _, data := range parts {
			out = append(out, File{Name: FileName(flows[0].Service, taken), Data: data})
		}
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// LongForm returns an objective with everything that was left to defaults, as
// the lines of a map.
func LongForm(o slo.Objective) string {
	n := writePromise(o)
	writeSettings(n, o, true)
	layOutParts(n, nil)
	return string(encode(n))
}

var notInFileName = regexp.MustCompile(`[^a-z0-9_-]+`)

// ByService returns the flows of each service, sorted by the services' names.
func ByService(flows []slo.Flow) [][]slo.Flow {
	services := map[string][]slo.Flow{}
	for _, f := range flows {
		services[f.Service] = append(services[f.Service], f)
	}
	var out [][]slo.Flow
	for _, service := range slices.Sorted(maps.Keys(services)) {
		out = append(out, services[service])
	}
	return out
}

// FileName returns the name of a service's file that is not taken yet, and
// takes it.
func FileName(service string, taken map[string]bool) string {
	const readable = 60
	base := strings.Trim(notInFileName.ReplaceAllString(strings.ToLower(service), "-"), "-")
	if base = base[:min(len(base), readable)]; base == "" {
		base = "service"
	}
	name := base
	for i := 2; taken[name]; i++ {
		name = base + "-" + strconv.Itoa(i)
	}
	taken[name] = true
	return name + ".yaml"
}

// writeFiles writes the flows of one service: in one document, or when that is
// too large to be read, in one for each half.
func writeFiles(flows []slo.Flow) ([][]byte, error) {
	data := writeDocument(flows)
	err := readsAs(data, flows)
	if err == nil {
		return [][]byte{data}, nil
	}
	var faults source.Faults
	tooLarge := errors.As(err, &faults) && faults[0].Want == source.WantSplit
	if !tooLarge || len(flows) == 1 {
		return nil, fmt.Errorf("service %q cannot be written: %w", flows[0].Service, err)
	}
	first, err := writeFiles(flows[:len(flows)/2])
	if err != nil {
		return nil, err
	}
	second, err := writeFiles(flows[len(flows)/2:])
	return append(first, second...), err
}

// readsAs reports where data does not say what flows do.
func readsAs(data []byte, flows []slo.Flow) error {
	config, err := Parse("written", data)
	if err != nil {
		return err
	}
	if len(config.Flows) != len(flows) {
		return fmt.Errorf("%d flows read back as %d", len(flows), len(config.Flows))
	}
	for i := range flows {
		if got, want := bare(config.Flows[i]), bare(flows[i]); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("flow %q reads back as another: %+v; want %+v", want.Name, got, want)
		}
	}
	return nil
}

// bare returns a flow without places, and with one spelling of what has
// several: two bare flows are equal when they mean the same.
func bare(f slo.Flow) slo.Flow {
	f.Pos = slo.Pos{}
	f.Match, f.BadWhen = bareSelector(f.Match), bareSelector(f.BadWhen)
	f.Labels = bareMap(f.Labels)
	f.Exclude = slices.Clone(f.Exclude)
	for i := range f.Exclude {
		f.Exclude[i] = bareExclusion(f.Exclude[i])
	}
	if len(f.Exclude) == 0 {
		f.Exclude = nil
	}
	f.Objectives = slices.Clone(f.Objectives)
	for i := range f.Objectives {
		o := &f.Objectives[i]
		o.ID = slo.SLO{Flow: &f, Objective: *o}.Name()
		o.Pos = slo.Pos{}
		o.Calendar.Zone = bareZone(o.Calendar.Zone)
		a := &o.Alert
		if !o.Alerts(slo.Page) { // what an alert says that there is not, nobody hears
			a.PageLabels, a.PageAnnotations = nil, nil
		}
		if !o.Alerts(slo.Ticket) {
			a.TicketLabels, a.TicketAnnotations = nil, nil
		}
		if !o.Alerts(slo.Page) && !o.Alerts(slo.Ticket) {
			o.Alert = slo.AlertText{}
		}
		if len(o.Tiers) == 0 {
			o.Tiers = nil
		}
		if len(o.Spent) == 0 {
			o.Spent = nil
		}
		for _, m := range []*map[string]string{
			&a.Labels, &a.Annotations, &a.PageLabels, &a.TicketLabels, &a.PageAnnotations, &a.TicketAnnotations,
		} {
			*m = bareMap(*m)
		}
	}
	return f
}

func bareSelector(s slo.Selector) slo.Selector {
	out := slices.Clone(s)
	for i := range out {
		out[i].Pos = slo.Pos{}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func bareMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// bareZone returns nil for UTC.
func bareZone(z *time.Location) *time.Location {
	if z == nil || z.String() == "UTC" {
		return nil
	}
	return z
}

func bareExclusion(e slo.Exclusion) slo.Exclusion {
	e.Pos = slo.Pos{}
	e.Zone = bareZone(e.Zone)
	e.From, e.Until = e.From.UTC(), e.Until.UTC()
	if e.Every == slo.Once {
		e.Zone = nil // an instant is one in any zone
	}
	return e
}

// writeDocument writes the flows of one service.
func writeDocument(flows []slo.Flow) []byte {
	top, defaults, all := table(), table(), table()
	var nodes, objectives []*yaml.Node
	var promises []slo.Objective
	for i := range flows {
		n := writeFlow(&flows[i])
		putNamed(all, flows[i].Name, n)
		nodes = append(nodes, n)
		objectives = append(objectives, get(n, "slos").Content...)
		promises = append(promises, flows[i].Objectives...)
	}
	excluded := writeExclusions(flows)
	put(top, "service", text(flows[0].Service))
	hoist(nodes, top, "slack")
	if len(flows) > 1 {
		hoist(nodes, defaults, "alerts", "framework", "owner", "runbook", "labels", "bad_when", "where")
		hoistSettings(objectives, promises, nodes, defaults, excluded == nil)
	}
	for i, n := range nodes {
		hoistSettings(get(n, "slos").Content, flows[i].Objectives, []*yaml.Node{n}, n, true)
		order(n, flowKeys)
	}
	for i, n := range objectives {
		shorten(n, promises[i])
	}
	if len(defaults.Content) > 0 {
		order(defaults, defaultsKeys)
		put(top, "defaults", defaults)
	}
	put(top, "flows", all)
	if excluded != nil {
		put(top, "exclude", excluded)
	}
	layOutParts(top, all)
	for _, n := range nodes {
		slos := get(n, "slos")
		layOutParts(n, slos)
		layOutParts(slos, nil)
	}
	return encode(top)
}

// hoistSettings moves the settings that objectives, the nodes of promises, have
// alike to where they hold for all of them: the defaults, or their flow. A zone
// in the defaults would hold for the exclusions as well.
func hoistSettings(objectives []*yaml.Node, promises []slo.Objective, flows []*yaml.Node, to *yaml.Node, zone bool) {
	if len(objectives) < 2 {
		return
	}
	hoist(objectives, to, "window")
	if zone {
		hoist(objectives, to, "timezone")
	}
	sliced := slices.ContainsFunc(promises, func(o slo.Objective) bool { return o.Slice > 0 })
	if !sliced { // slices take no min_events but their own
		hoist(objectives, to, "min_events")
	}
	alerts := func(n *yaml.Node) bool { return get(n, "alerts") != nil }
	if !alerts(to) && !slices.ContainsFunc(flows, alerts) {
		hoist(objectives, to, "alerts")
	}
}

// writeFlow writes a flow, its objectives in their long form.
func writeFlow(f *slo.Flow) *yaml.Node {
	n := table()
	if len(f.Match) > 0 {
		put(n, "match", writeMatch(f.Match))
	}
	if f.By != "" {
		put(n, "by", writeBy(f))
	}
	if len(f.BadWhen) > 0 {
		put(n, "bad_when", writeSelector(f.BadWhen))
	}
	if f.Where != nil {
		put(n, "where", writeWhere(f.Where))
	}
	slos := list()
	for _, o := range f.Objectives {
		if o.ID == f.Name+"-"+o.Name {
			o.ID = "" // the one it has anyway
		}
		item := writePromise(o)
		writeSettings(item, o, false)
		slos.Content = append(slos.Content, item)
	}
	put(n, "slos", slos)
	switch {
	case f.PageChannel == f.TicketChannel && f.PageChannel != "":
		put(n, "slack", text(f.PageChannel))
	case f.PageChannel != f.TicketChannel:
		channels := table()
		putText(channels, "page", f.PageChannel)
		putText(channels, "ticket", f.TicketChannel)
		put(n, "alerts", channels)
	}
	putText(n, "framework", f.Framework)
	putText(n, "owner", f.Owner)
	putText(n, "runbook", f.Runbook)
	putText(n, "description", f.Description)
	putTexts(n, "labels", f.Labels)
	return n
}

// writeMatch writes a match, in its short form where it has one.
func writeMatch(s slo.Selector) *yaml.Node {
	var words []string
	for _, c := range s {
		if len(c.Any) > 0 {
			words = append(words, c.Any[0].Text)
		}
	}
	if len(s) == 1 && s[0].Key == slo.KeyMethod {
		words = append(words, "*")
	}
	short := source.Value{Node: &source.Node{Kind: source.Text, Text: strings.Join(words, " ")}, Faults: &source.Collector{}}
	if short.Text != "" && reflect.DeepEqual(bareSelector(match(short)), bareSelector(s)) && short.Faults.Len() == 0 {
		return text(short.Text)
	}
	return writeSelector(s)
}

func writeSelector(s slo.Selector) *yaml.Node {
	n := table()
	for _, c := range s {
		value := list()
		for _, p := range c.Any {
			value.Content = append(value.Content, writePattern(p))
		}
		if len(value.Content) == 1 {
			value = value.Content[0]
		}
		if c.Not {
			not := table()
			put(not, "not", value)
			value = not
		}
		putNamed(n, c.Key, value)
	}
	return n
}

var whole = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})$`)

func writePattern(p slo.Pattern) *yaml.Node {
	if s := p.String(); whole.MatchString(s) {
		return plain(s)
	}
	return text(p.String())
}

// writeBy writes by what a flow is split.
func writeBy(f *slo.Flow) *yaml.Node {
	if f.ByLimit == slo.DefaultByLimit {
		return text(f.By)
	}
	n := table()
	put(n, "attribute", text(f.By))
	put(n, "limit", plain(strconv.Itoa(f.ByLimit)))
	return n
}

// writeWhere writes the attributes that are compared.
func writeWhere(keys []string) *yaml.Node {
	if len(keys) == 0 {
		return plain("off")
	}
	n := list()
	for _, key := range keys {
		n.Content = append(n.Content, text(key))
	}
	return n
}

// writePromise writes what an objective promises, without its settings.
func writePromise(o slo.Objective) *yaml.Node {
	n := table()
	target := o.Target
	if o.Kind != slo.Fresh && o.Slice > 0 {
		target = o.SliceTarget
	}
	switch o.Kind {
	case slo.Succeed:
		put(n, "succeed", writePercent(target))
	case slo.FasterThan:
		put(n, "faster_than", writeDuration(o.Threshold))
		put(n, "for", writePercent(target))
	case slo.Fresh:
		put(n, "fresh", writeDuration(o.Threshold))
		put(n, "for", writePercent(target))
	case slo.PromQL:
		q := table()
		putText(q, "bad", o.Query.Bad)
		putText(q, "good", o.Query.Good)
		putText(q, "total", o.Query.Total)
		putText(q, "ratio", o.Query.Ratio)
		put(n, "promql", q)
		put(n, "target", writePercent(target))
	}
	if o.Kind != slo.Fresh && o.Slice > 0 {
		slice := table()
		put(slice, "target", writePercent(o.Target))
		put(slice, "length", writeDuration(o.Slice))
		put(n, "time_slice", slice)
	}
	return n
}

// writeSettings writes the settings of an objective into n: those that are not the
// defaults, or with all set, every one.
func writeSettings(n *yaml.Node, o slo.Objective, all bool) {
	if all || o.Name != defaultName(o) {
		put(n, "name", text(o.Name))
	}
	putText(n, "id", o.ID)
	switch {
	case o.Calendar.Unit != slo.Rolling:
		put(n, "window", plain(o.Calendar.Unit.String()))
		if z := bareZone(o.Calendar.Zone); z != nil {
			put(n, "timezone", text(z.String()))
		} else if all {
			put(n, "timezone", text("UTC"))
		}
	case all || o.Window != slo.DefaultWindow:
		put(n, "window", writeDuration(o.Window))
	}
	if all && o.Query.Ratio == "" || o.MinEvents != defaultMinEvents(o, slo.DefaultMinEvents) {
		put(n, "min_events", plain(strconv.Itoa(o.MinEvents)))
	}
	if a := writeAlerts(o, all); a != nil {
		put(n, "alerts", a)
	}
}

// writeAlerts writes the alerts of an objective, or returns nil where they are
// the usual ones.
func writeAlerts(o slo.Objective, all bool) *yaml.Node {
	if !o.Alerts(slo.Page) && !o.Alerts(slo.Ticket) {
		return plain("off")
	}
	a, n := o.Alert, table()
	putText(n, "name", a.Name)
	putTexts(n, "labels", a.Labels)
	putTexts(n, "annotations", a.Annotations)
	silent := func(t slo.Tier) bool { return !alertsBy(o, t.Severity) }
	usual := !all && slices.Equal(o.Tiers, slices.DeleteFunc(slo.Tiers(o.Target, o.Window), silent))
	for _, s := range []struct {
		severity            slo.Severity
		labels, annotations map[string]string
	}{
		{slo.Page, a.PageLabels, a.PageAnnotations},
		{slo.Ticket, a.TicketLabels, a.TicketAnnotations},
	} {
		m := table()
		putTexts(m, "labels", s.labels)
		putTexts(m, "annotations", s.annotations)
		switch texts := len(m.Content) > 0; {
		case texts && o.Alerts(s.severity):
			put(n, string(s.severity), m)
			// Off could not have the texts for what is left of the severity.
			usual = usual && alertsBy(o, s.severity)
		case usual && !alertsBy(o, s.severity):
			put(n, string(s.severity), plain("off"))
		}
	}
	if !usual && len(o.Tiers) == 0 {
		put(n, "tiers", plain("off"))
	} else if !usual {
		tiers := list()
		for _, t := range o.Tiers {
			item := table()
			put(item, "severity", plain(string(t.Severity)))
			put(item, "burn_rate", plain(strconv.FormatFloat(t.Factor, 'f', -1, 64)))
			put(item, "long", writeDuration(t.Long))
			put(item, "short", writeDuration(t.Short))
			tiers.Content = append(tiers.Content, item)
		}
		put(n, "tiers", tiers)
	}
	if o.Outage || all && tooSlow(o) == "" {
		put(n, "outage", plain(strconv.FormatBool(o.Outage)))
	}
	if len(o.Spent) > 0 || all {
		put(n, "spent", writeSpent(o.Spent))
	}
	if o.RunsOut || all {
		put(n, "runs_out", plain(strconv.FormatBool(o.RunsOut)))
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n
}

// writeSpent writes the shares of the budget that make a ticket.
func writeSpent(shares []float64) *yaml.Node {
	if len(shares) == 0 {
		return plain("off")
	}
	n := list()
	for _, share := range shares {
		n.Content = append(n.Content, writePercent(share))
	}
	return n
}

// shorten turns an objective that has no settings into its sentence, if one
// says the same.
func shorten(n *yaml.Node, o slo.Objective) {
	if len(n.Content) > len(writePromise(o).Content) {
		return
	}
	s := o.Sentence()
	again, bad := sentence(s)
	if bad == nil && again.Kind == o.Kind && again.Target == o.Target && again.Threshold == o.Threshold &&
		again.Slice == o.Slice && again.SliceTarget == o.SliceTarget && o.Kind != slo.PromQL {
		*n = *plain(s)
	}
}

// writeExclusions writes the exclusions of all flows, each once, or returns nil
// when there are none.
func writeExclusions(flows []slo.Flow) *yaml.Node {
	type group struct {
		slo.Exclusion
		flows []string
	}
	var groups []*group
	at := map[slo.Pos][]*group{}
	for _, f := range flows {
		for _, e := range f.Exclude {
			same := func(g *group) bool { return reflect.DeepEqual(g.Exclusion, e) && g.flows[len(g.flows)-1] != f.Name }
			i := slices.IndexFunc(at[e.Pos], same)
			if i < 0 {
				i = len(at[e.Pos])
				groups = append(groups, &group{Exclusion: e})
				at[e.Pos] = append(at[e.Pos], groups[len(groups)-1])
			}
			at[e.Pos][i].flows = append(at[e.Pos][i].flows, f.Name)
		}
	}
	if len(groups) == 0 {
		return nil
	}
	slices.SortStableFunc(groups, func(a, b *group) int {
		return cmp.Or(strings.Compare(a.Pos.File, b.Pos.File), a.Pos.Line-b.Pos.Line, a.Pos.Column-b.Pos.Column)
	})
	out := list()
	for _, g := range groups {
		n := writeExclusion(g.Exclusion)
		if len(g.flows) < len(flows) {
			names := list()
			for _, name := range g.flows {
				names.Content = append(names.Content, text(name))
			}
			put(n, "flows", names)
		}
		if g.Why != "" {
			put(n, "why", text(g.Why))
		}
		out.Content = append(out.Content, n)
	}
	return out
}

func writeExclusion(e slo.Exclusion) *yaml.Node {
	n := table()
	zone := e.Zone
	if zone == nil {
		zone = time.UTC
	}
	instant := func(t time.Time) *yaml.Node {
		t = t.In(zone)
		if at, exists := instants(onClock(t), zone); exists && len(at) == 1 {
			return quoted(stamp(t))
		}
		return quoted(t.Format(time.RFC3339)) // clocks go back: the hour comes twice
	}
	switch e.Every {
	case slo.Once:
	case slo.Daily:
		put(n, "every", plain("day"))
	case slo.Monthly:
		put(n, "every", plain("month"))
		put(n, "on", plain(strconv.Itoa(e.Day)))
	case slo.Weekly:
		days := list()
		for _, d := range e.Days {
			days.Content = append(days.Content, plain(weekdays[d]))
		}
		if len(days.Content) == 1 {
			days = days.Content[0]
		}
		put(n, "every", days)
	}
	if e.Every != slo.Once {
		put(n, "at", quoted(fmt.Sprintf("%02d:%02d", e.At/time.Hour, e.At%time.Hour/time.Minute)))
	}
	if !e.From.IsZero() {
		put(n, "from", instant(e.From))
	}
	put(n, "for", writeDuration(e.For))
	if !e.Until.IsZero() {
		put(n, "until", instant(e.Until))
	}
	if z := bareZone(e.Zone); z != nil {
		put(n, "timezone", text(z.String()))
	}
	return n
}

// writePercent writes a ratio with as many digits as it takes to read it back to
// the bit.
func writePercent(ratio float64) *yaml.Node {
	whole, part, _ := strings.Cut(strconv.FormatFloat(ratio, 'f', -1, 64), ".")
	part += strings.Repeat("0", max(0, 2-len(part)))
	s := strings.TrimLeft(whole+part[:2], "0")
	if s == "" {
		s = "0"
	}
	if part = part[2:]; part != "" {
		s += "." + part
	}
	return plain(s + "%")
}

// writeDuration writes a length of time so that it reads back to the nanosecond.
func writeDuration(d time.Duration) *yaml.Node {
	s := slo.Duration(d)
	if again, bad := duration(s); bad != nil || again != d {
		s = strconv.FormatInt(int64(d), 10) + "ns"
	}
	return plain(s)
}

// What follows makes YAML.

func table() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func list() *yaml.Node { return &yaml.Node{Kind: yaml.SequenceNode} }

// plain is a scalar of the language's own, which needs no quotes.
func plain(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s}
}

// simple is a text that is hardly taken for anything else. The encoder puts
// quotes around one that would be where it stands, such as {id} in brackets.
var simple = regexp.MustCompile(`^[\pL/]([\pL\pN ./_*(){}+=<>?$%~;,'-]|:[\pL\pN/])*$`)

// text is a user's text: as it is where it looks like one and nothing else,
// in quotes or as a block of lines otherwise.
func text(s string) *yaml.Node {
	n := quoted(s)
	visible := !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }) && strings.TrimSpace(s) == s
	switch {
	case !visible:
	case strings.Contains(s, "\n"):
		n.Style = yaml.LiteralStyle
	case simple.MatchString(s) && !slices.Contains(words, strings.ToLower(s)):
		n.Style = 0
	case strings.ContainsAny(s, `"\`):
		n.Style = yaml.SingleQuotedStyle
	}
	return n
}

// words are those that some YAML reads as something else than a text.
var words = []string{"true", "false", "yes", "no", "on", "off", "y", "n", "null"}

// put adds a key of the language's own.
func put(n *yaml.Node, key string, v *yaml.Node) { n.Content = append(n.Content, plain(key), v) }

// putNamed adds a key of the user's.
func putNamed(n *yaml.Node, name string, v *yaml.Node) { n.Content = append(n.Content, text(name), v) }

func putText(n *yaml.Node, key, s string) {
	if s != "" {
		put(n, key, text(s))
	}
}

func putTexts(n *yaml.Node, key string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	sorted := table()
	for _, k := range slices.Sorted(maps.Keys(m)) {
		putNamed(sorted, k, text(m[k]))
	}
	put(n, key, sorted)
}

// get returns the value of a key, or nil.
func get(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func drop(n *yaml.Node, key string) {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

// order sorts the keys of a table as in keys.
func order(n *yaml.Node, keys []string) {
	sorted := make([]*yaml.Node, 0, len(n.Content))
	for _, key := range keys {
		if v := get(n, key); v != nil {
			sorted = append(sorted, plain(key), v)
		}
	}
	n.Content = sorted
}

// hoist moves the keys that all of from have alike to another table.
func hoist(from []*yaml.Node, to *yaml.Node, keys ...string) {
	for _, key := range keys {
		v := get(from[0], key)
		if v == nil || slices.ContainsFunc(from, func(n *yaml.Node) bool { return !reflect.DeepEqual(get(n, key), v) }) {
			continue
		}
		put(to, key, v)
		for _, n := range from {
			drop(n, key)
		}
	}
}

// layOut puts a map or list on one line if it fits there, and otherwise its
// parts on lines of their own.
func layOut(n *yaml.Node) {
	const fits = 90
	if n.Kind == yaml.ScalarNode {
		return
	}
	if width(n) <= fits {
		n.Style |= yaml.FlowStyle
		return
	}
	layOutParts(n, nil)
}

// layOutParts lays out the parts of a map or list, but for one.
func layOutParts(n, but *yaml.Node) {
	for _, c := range n.Content {
		if c != but {
			layOut(c)
		}
	}
}

func width(n *yaml.Node) int {
	if n.Style == yaml.LiteralStyle {
		return 1000
	}
	sum := len(n.Value)
	for _, c := range n.Content {
		sum += 2 + width(c)
	}
	return sum
}

func encode(n *yaml.Node) []byte {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	// Neither can fail: the nodes are ours and a buffer takes everything.
	_ = e.Encode(n)
	_ = e.Close()
	return b.Bytes()
}
