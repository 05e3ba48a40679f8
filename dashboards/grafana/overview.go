package grafana

import (
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	tables "github.com/grafana/grafana-foundation-sdk/go/table"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// overview lays out the dashboard of all flows: is anything wrong, and where.
func overview(flows []slo.Flow) *sheet {
	counts := slices.ContainsFunc(flows, func(f slo.Flow) bool { return f.Counted() })
	slos := like(series.SLOServ, "$service", series.SLOFlow, "$flow")
	traffic := like(series.Service, "$service", series.FlowName, "$flow")
	s := &sheet{
		uid: overviewUID, title: "slowburn / Overview",
		about:       "All flows and how their objectives stand, worst first. Written by slowburn; changes are lost when it is written again.",
		annotations: firing(slos, flows...),
		links: []dashboard.DashboardLink{
			toDashboards("Flows", flowTag),
			to("Node.js runtime", "/d/"+runtimeUID+"?${datasource:queryparam}", "Event loop, memory and processes of a service"),
		},
		variables: []dashboard.VariableModel{
			choice{
				name: "service", label: "Service", about: "Shows the flows of some services only.",
				query: "label_values(" + series.Objective + ", " + series.SLOServ + ")", all: true, allValue: ".+",
			}.variable(),
			choice{
				name: "flow", label: "Flow", about: "Shows some flows only.",
				query: "label_values(" + series.Objective + like(series.SLOServ, "$service") + ", " + series.SLOFlow + ")", all: true, allValue: ".+",
			}.variable(),
		},
	}
	left, burn := perSLO(series.BudgetRemaining, slos), perSLO(series.CurrentBurnRate, slos)

	s.row("Now")
	s.line(4,
		tally("Pages", "Alerts that fire now and wake somebody: a budget burns so fast that it cannot wait.",
			firingAlerts(slo.Page, slos), alarm),
		tally("Tickets", "Alerts that fire now and can wait for office hours.", firingAlerts(slo.Ticket, slos), warning),
		tally("Burning too fast", "Objectives whose error budget is used faster than it is earned, over the last few minutes.", burn+" > 1", warning),
		tally("Budgets used up", "Objectives that are missed: nothing is left of their error budget.", left+" <= 0", alarm),
		figure{
			title: "Lowest budget left", about: "What is left of the error budget that is lowest. 100% is untouched, at 0% an objective is missed.",
			scale: budget, query: now("min(" + left + ")"), limits: budgetLimits(), noValue: "no requests yet",
		}.panel(),
		figure{
			title: "Objectives", about: "How many objectives there are, of all flows shown.",
			scale: count, query: now("count(" + perSLO(series.Objective, slos) + ")"), limits: limits(neutral), noValue: "none yet",
		}.panel(),
	)
	s.row("Flows, worst first")
	s.line(12, ranking(flows, counts, slos, traffic))

	name := "{{" + series.Service + "}} / {{" + series.FlowName + "}}"
	s.row("Over time")
	s.line(9,
		chart{
			title: "Fastest burning", about: "How many times too fast the budgets are used, of the ten worst flows. Above the line at 1 a budget does not last its window.",
			scale: burns, limits: limits(neutral, step{1, warning}), softMax: 1.2, noValue: "no requests",
			queries: []query{{expr: top(10, perFlow("max", burn)), legend: name}},
		}.panel(),
		chart{
			title: "Lowest budgets", about: "What is left of the error budgets, of the ten flows with the least. Below the line at 0% an objective is missed.",
			scale: budget, limits: limits(neutral, step{0, alarm}), noValue: "no requests yet",
			queries: []query{{expr: "bottomk(10, " + perFlow("min", left) + ")", legend: name}},
		}.panel(),
	)
	if counts {
		each := by(series.Service, series.FlowName)
		s.annotations = append(s.annotations, deploys(like(series.Service, "$service")))
		s.line(9,
			chart{
				title: "Requests", about: "How many requests a second came in, of the ten busiest flows.", scale: rates,
				queries: []query{{expr: top(10, "sum"+each+" ("+requests(traffic, interval)+")"), legend: name}}, noValue: "no requests",
			}.panel(),
			chart{
				title: "Failing requests", about: "The share of requests that fail, of the ten flows that fail most.", scale: share,
				queries: []query{{expr: top(10, failing(traffic, interval, each)), legend: name}}, noValue: "no requests",
			}.panel(),
			chart{
				title: "Latency (p95)", about: "95% of the requests are faster than this, of the ten slowest flows.", scale: seconds,
				queries: []query{{expr: top(10, quantile(0.95, traffic, interval, each)), legend: name}}, noValue: "no requests",
			}.panel(),
		)
	}
	return s
}

// tally is a figure of how many series an expression has, which nobody wants.
func tally(title, about, expr, color string) dashboard.Panel {
	return figure{
		title: title, about: about, scale: count, query: now("count(" + expr + ") or vector(0)"),
		limits: limits(neutral, step{0, calm}, step{1, color}), noValue: "0",
	}.panel()
}

// column is a column of the ranking.
type column struct {
	name   string
	expr   string
	scale  scale
	limits *dashboard.ThresholdsConfig // colours the number; nil: none
	words  []dashboard.ValueMapping
}

// ranking is the table of flows, the one whose budget is gone first on top. A
// flow's name leads to its dashboard.
func ranking(flows []slo.Flow, counts bool, slos, traffic string) dashboard.Panel {
	left, burn, days := perSLO(series.BudgetRemaining, slos), perSLO(series.CurrentBurnRate, slos), perSLO(series.PeriodDays, slos)
	alerts := "count by (" + series.SLOServ + ", " + series.SLOFlow + ") (ALERTS" + of(is("alertstate", "firing"), slos) + ")"
	each := by(series.Service, series.FlowName)
	columns := []column{
		{"Budget lasts", perFlow("min", "("+lasts(left, burn, days+" * 86400")+")"), scale{unit: seconds.unit, decimals: new(1.0)}, lastsLimits(), lastsWords()},
		{"Budget left", perFlow("min", left), budget, budgetLimits(), nil},
		{"Burn rate", perFlow("max", burn), burns, limits(neutral, step{far, calm}, step{1, warning}), nil},
		{"Alerts", perFlow("sum", alerts) + " or 0 * " + perFlow("max", perSLO(series.Objective, slos)), count, limits(neutral, step{1, alarm}), nil},
	}
	about := "One line a flow, by its objective that stands worst. \"Budget lasts\" says when the budget is used up if it goes on burning as it does now. A flow's name leads to its dashboard."
	if counts {
		columns = append(columns,
			column{"Requests", "sum" + each + " (" + requests(traffic, lately) + ")", rates, nil, nil},
			column{"Failing", failing(traffic, lately, each), share, nil, nil},
			column{"p95", quantile(0.95, traffic, lately, each), seconds, nil, nil},
		)
		about += " Requests, failing and p95 are of the last " + lately + "; flows that are counted by PromQL have none."
	}

	var queries []query
	renamed, order := map[string]any{series.Service: "Service", series.FlowName: "Flow"}, map[string]any{series.Service: 0, series.FlowName: 1}
	for i, c := range columns {
		// The key leads to a flow's dashboard, whose uid no query could write.
		queries = append(queries, now(`label_join(`+c.expr+`, "key", "/", "`+series.Service+`", "`+series.FlowName+`")`))
		field := "Value #" + refID(i)
		renamed[field], order[field] = c.name, i+2
	}

	options := tables.NewOptions()
	options.Footer = nil
	options.SortBy = []common.TableSortByFieldState{{DisplayName: "Budget lasts", Desc: new(false)}, {DisplayName: "Budget left", Desc: new(false)}}
	custom := &common.TableFieldOptions{Align: common.FieldTextAlignmentAuto, Filterable: new(true)}
	config := scale{unit: "string"}.config()
	config.Custom, config.NoValue, config.Thresholds = custom, new("–"), limits(neutral)
	p := panel("table", "Flows", about, targets(queries, table), options, config)
	p.Transformations = []dashboard.DataTransformerConfig{
		{Id: "merge", Options: map[string]any{}},
		{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]any{"Time": true}, "indexByName": order, "renameByName": renamed,
		}},
	}

	uids := dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: map[string]dashboard.ValueMappingResult{}}
	for i := range flows {
		f := &flows[i]
		uids.Options[f.Service+"/"+f.Name] = dashboard.ValueMappingResult{Text: new(FlowUID(f.Service, f.Name)), Index: new(int32(i))}
	}
	override(&p, "byName", "key",
		dashboard.DynamicConfigValue{Id: "custom.hidden", Value: true},
		dashboard.DynamicConfigValue{Id: "mappings", Value: []dashboard.ValueMapping{{ValueMap: &uids}}})
	override(&p, "byName", "Flow",
		dashboard.DynamicConfigValue{Id: "links", Value: []map[string]any{{
			"title": "Dashboard of this flow", "type": dashboard.DashboardLinkTypeLink,
			"url": "/d/${__data.fields.key}?${__url_time_range}&${datasource:queryparam}",
		}}})
	for _, c := range columns {
		properties := []dashboard.DynamicConfigValue{{Id: "unit", Value: c.scale.unit}, {Id: "custom.align", Value: common.FieldTextAlignmentRight}}
		if c.scale.decimals != nil {
			properties = append(properties, dashboard.DynamicConfigValue{Id: "decimals", Value: *c.scale.decimals})
		}
		if c.limits != nil {
			properties = append(properties,
				dashboard.DynamicConfigValue{Id: "thresholds", Value: c.limits},
				dashboard.DynamicConfigValue{Id: "color", Value: map[string]any{"mode": dashboard.FieldColorModeIdThresholds}},
				dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: map[string]any{"type": common.TableCellDisplayModeColorText}})
		}
		if c.words != nil {
			properties = append(properties, dashboard.DynamicConfigValue{Id: "mappings", Value: c.words})
		}
		override(&p, "byName", c.name, properties...)
	}
	return p
}
