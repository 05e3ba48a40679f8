// Package grafana turns flows into Grafana dashboards: one with all flows, one
// for each flow, and one of the Node.js runtime beside them. Their lines and
// limits are those of the objectives, and a panel is there only where its
// series are. It is pure: the same flows give the same bytes.
package grafana

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/slowburn-slo/slowburn/slo"
)

// The folder the dashboards are in.
const (
	FolderUID   = "slowburn"
	FolderTitle = "slowburn"
)

// Tags of the dashboards. All of them have Tag.
const (
	Tag     = "slowburn"
	flowTag = "slowburn-flow"
)

// UIDs of the dashboards that are there once. None is that of a flow, which ends
// in a hash.
const (
	overviewUID = "slowburn-overview"
	runtimeUID  = "slowburn-nodejs"
)

// Dashboard is one dashboard, in Grafana's classic model.
type Dashboard struct {
	UID   string // at most 40 of a-z, 0-9 and dashes; of a flow, made of its service and name alone
	Title string // unique among the dashboards
	JSON  []byte // indented, with a newline at its end
}

// File returns the name of the dashboard's file, without a directory.
func (d Dashboard) File() string { return d.UID + ".json" }

// Dashboards returns the dashboards of flows: the overview, one for each flow in
// order, and the Node.js runtime. They work over slowburn's own query API, over a
// Prometheus it sends its series to, and over one that evaluates the rules of
// package rulegen.
//
// An error is two flows that cannot be told apart.
func Dashboards(flows []slo.Flow) ([]Dashboard, error) {
	sheets := []*sheet{overview(flows)}
	for i := range flows {
		sheets = append(sheets, flow(&flows[i]))
	}
	sheets = append(sheets, runtime(flows))

	out := make([]Dashboard, len(sheets))
	taken := map[string]bool{}
	for i, s := range sheets {
		if taken[s.uid] {
			return nil, fmt.Errorf("dashboard %s (%s) is there twice; want flows that differ in service or name", s.uid, s.title)
		}
		taken[s.uid] = true
		text, err := marshal(s.dashboard())
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", s.title, err)
		}
		out[i] = Dashboard{UID: s.uid, Title: s.title, JSON: text}
	}
	return out, nil
}

// marshal writes JSON as people read it: indented, with > as >.
func marshal(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	// The SDK's own marshallers escape for HTML whatever an encoder is told.
	var b bytes.Buffer
	if err := json.Indent(&b, unescaped(raw), "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// unescaped writes <, > and & in JSON as themselves.
func unescaped(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		n := 1
		if raw[0] == '\\' {
			n = 2 // a backslash of the text is two
			if plain, ok := map[string]byte{`\u003c`: '<', `\u003e`: '>', `\u0026`: '&'}[string(raw[:min(6, len(raw))])]; ok {
				out, raw = append(out, plain), raw[6:]
				continue
			}
		}
		out, raw = append(out, raw[:n]...), raw[n:]
	}
	return out
}

var notInUID = regexp.MustCompile(`[^a-z0-9]+`)

// FlowUID returns the uid of a flow's dashboard. Two flows whose names are
// written alike, or are too long for the 40 characters that Grafana allows, are
// told apart by the hash at its end.
func FlowUID(service, name string) string {
	slug := strings.Trim(notInUID.ReplaceAllString(strings.ToLower(service+"-"+name), "-"), "-")
	slug = strings.Trim(slug[:min(len(slug), 22)], "-")
	slug = cmp.Or(slug, "flow")
	hash := sha256.Sum256([]byte(service + "\x00" + name))
	return fmt.Sprintf("slowburn-%s-%x", slug, hash[:4])
}

// flowUID matches what FlowUID returns.
var flowUID = regexp.MustCompile(`^slowburn-[a-z0-9-]+-[0-9a-f]{8}$`)

// source is the data source that the reader chooses.
func source() *common.DataSourceRef {
	return &common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}
}

// sheet is a dashboard that is laid out line by line.
type sheet struct {
	uid, title, about string
	tags              []string
	variables         []dashboard.VariableModel
	links             []dashboard.DashboardLink
	annotations       []dashboard.AnnotationQuery

	panels []dashboard.PanelOrRowPanel
	id     uint32 // of the newest panel
	y      uint32 // where the next line begins
}

// width is that of a line, in Grafana's grid.
const width = 24

// row begins a part of the dashboard, with its title.
func (s *sheet) row(title string) {
	r := dashboard.NewRowPanel()
	s.id++
	r.Id, r.Title = s.id, &title
	r.GridPos = &dashboard.GridPos{X: 0, Y: s.y, W: width, H: 1}
	s.y++
	s.panels = append(s.panels, dashboard.PanelOrRowPanel{RowPanel: r})
}

// line places panels side by side, each as wide as the others.
func (s *sheet) line(height uint32, panels ...dashboard.Panel) {
	for i := range panels {
		p := &panels[i]
		left, right := i*width/len(panels), (i+1)*width/len(panels)
		s.id++
		p.Id = new(s.id)
		p.GridPos = &dashboard.GridPos{X: uint32(left), Y: s.y, W: uint32(right - left), H: height}
		s.panels = append(s.panels, dashboard.PanelOrRowPanel{Panel: p})
	}
	s.y += height
}

// lines places panels in lines of at most n, as even as they can be.
func (s *sheet) lines(height uint32, n int, panels ...dashboard.Panel) {
	for rest := (len(panels) + n - 1) / n; rest > 0; rest-- {
		here := (len(panels) + rest - 1) / rest
		s.line(height, panels[:here]...)
		panels = panels[here:]
	}
}

// classic is the model of a dashboard that provisioning, sidecars and every
// Grafana from 10 on read.
//
//lint:ignore SA1019 its successor, v2, is not stable in Grafana 12.3.
type classic = dashboard.Dashboard

// dashboard returns the sheet as Grafana reads it.
func (s *sheet) dashboard() *classic {
	d := dashboard.NewDashboard()
	d.Uid, d.Title, d.Description = &s.uid, &s.title, &s.about
	d.Tags = append([]string{Tag}, s.tags...)
	d.Editable = new(false)
	d.GraphTooltip = new(dashboard.DashboardCursorSyncCrosshair)
	d.Refresh = new("30s")
	d.Time = &dashboard.DashboardDashboardTime{From: "now-6h", To: "now"}
	d.Panels = s.panels
	d.Templating.List = append([]dashboard.VariableModel{datasource()}, s.variables...)
	d.Annotations.List = s.annotations
	d.Links = s.links
	return d
}

// datasource is the variable that source refers to.
func datasource() dashboard.VariableModel {
	return dashboard.VariableModel{
		Type: dashboard.VariableTypeDatasource, Name: "datasource", Label: new("Data source"),
		Description: new("Where the series are: slowburn itself, or a Prometheus it sends them to."),
		Query:       &dashboard.StringOrMap{String: new("prometheus")},
		Refresh:     new(dashboard.VariableRefreshOnDashboardLoad),
		Options:     []dashboard.VariableOption{},
	}
}

// choice is a variable whose values are looked up.
type choice struct {
	name, label, about string
	query              string // label_values(…)
	regex              string // the part of a value to take; "" is all of it
	all                bool   // many values, or all of them, may be chosen
	allValue           string // a regular expression that stands for all
}

func (c choice) variable() dashboard.VariableModel {
	v := dashboard.VariableModel{
		Type: dashboard.VariableTypeQuery, Name: c.name, Label: &c.label, Description: &c.about,
		Datasource: source(),
		// The map is what Grafana writes itself; a bare string is not read by all.
		Query: &dashboard.StringOrMap{Map: map[string]any{
			"qryType": 5, "query": c.query, "refId": "PrometheusVariableQueryEditor-VariableQuery",
		}},
		Definition: &c.query,
		Refresh:    new(dashboard.VariableRefreshOnTimeRangeChanged),
		Sort:       new(dashboard.VariableSortNaturalAsc),
		Options:    []dashboard.VariableOption{},
	}
	if c.regex != "" {
		v.Regex = &c.regex
	}
	if c.all {
		v.Multi, v.IncludeAll, v.AllValue = new(true), new(true), &c.allValue
		v.Current = &dashboard.VariableOption{
			Text:  dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		}
	}
	return v
}

// toDashboards links to the dashboards with a tag, in a menu. Time and variables
// go with the reader.
func toDashboards(title, tag string) dashboard.DashboardLink {
	return dashboard.DashboardLink{
		Title: title, Type: dashboard.DashboardLinkTypeDashboards, Tags: []string{tag}, AsDropdown: true,
		Icon: "external link", IncludeVars: true, KeepTime: true,
	}
}

// to links to one address. What goes with the reader, it says itself.
func to(title, url, tooltip string) dashboard.DashboardLink {
	return dashboard.DashboardLink{
		Title: title, Type: dashboard.DashboardLinkTypeLink, Url: &url, Tags: []string{},
		Icon: "dashboard", Tooltip: tooltip, KeepTime: true,
	}
}

// firing marks when alerts fired: of each severity that one of the flows has
// alerts of.
func firing(selector string, flows ...slo.Flow) []dashboard.AnnotationQuery {
	var out []dashboard.AnnotationQuery
	for _, a := range []struct {
		name, color string
		severity    slo.Severity
	}{{"Pages", alarm, slo.Page}, {"Tickets", warning, slo.Ticket}} {
		has := slices.ContainsFunc(slo.All(flows), func(s slo.SLO) bool {
			return slices.ContainsFunc(s.Objective.Tiers, func(t slo.Tier) bool { return t.Severity == a.severity })
		})
		if !has {
			continue
		}
		out = append(out, dashboard.AnnotationQuery{
			Name: a.name, Datasource: source(), Enable: true, IconColor: a.color,
			Expr:        new(firingAlerts(a.severity, selector)),
			TitleFormat: new("{{alertname}}"),
			TextFormat:  new("{{sloth_severity}}: {{sloth_service}} {{sloth_slo}}"),
			TagKeys:     new("slowburn_flow"),
		})
	}
	return out
}

// deploys marks when a version of a service was first seen.
func deploys(selector string) dashboard.AnnotationQuery {
	return dashboard.AnnotationQuery{
		Name: "Deploys", Datasource: source(), Enable: true, IconColor: usual,
		Expr:            new(firstSeen(selector)),
		TitleFormat:     new("{{service}} {{service_version}}"),
		TextFormat:      new("first request of this version"),
		TagKeys:         new("service"),
		UseValueForTime: new(true),
	}
}
