package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// Colours by what they say, by the names Grafana has for light and dark alike.
const (
	calm    = "green"
	warning = "orange"
	alarm   = "red"
	neutral = "text" // of nothing known: neither an outage nor health
	usual   = "blue"
	pale    = "super-light-blue"
)

// scale is the unit of a panel's values, and how they are written.
type scale struct {
	unit     string
	decimals *float64
	min, max *float64
}

// The scales. All are of the SDK's units, whose names Grafana knows.
var (
	share     = scale{unit: units.PercentUnit, min: new(0.0)} // of 0 to 1, which may be small
	goodShare = scale{unit: units.PercentUnit, decimals: new(3.0), max: new(1.0)}
	budget    = scale{unit: units.PercentUnit, decimals: new(1.0), max: new(1.0)}
	rates     = scale{unit: units.RequestsPerSecond, min: new(0.0)}
	events    = scale{unit: units.CountsPerSecond, min: new(0.0)}
	seconds   = scale{unit: units.Seconds, min: new(0.0)}
	bytesIEC  = scale{unit: units.BytesIEC, min: new(0.0)}
	burns     = scale{unit: units.Number, decimals: new(1.0), min: new(0.0)} // times the pace that uses up the budget
	count     = scale{unit: units.Number, decimals: new(0.0), min: new(0.0)}
)

func (s scale) config() dashboard.FieldConfig {
	return dashboard.FieldConfig{Unit: &s.unit, Decimals: s.decimals, Min: s.min, Max: s.max}
}

// step is a value from which on another colour holds.
type step struct {
	from  float64
	color string
}

// limits are the thresholds of a panel: a colour for everything below the
// first step and for no data, then the steps, ascending.
func limits(base string, steps ...step) *dashboard.ThresholdsConfig {
	out := &dashboard.ThresholdsConfig{
		Mode:  dashboard.ThresholdsModeAbsolute,
		Steps: []dashboard.Threshold{{Color: base}},
	}
	for _, s := range steps {
		out.Steps = append(out.Steps, dashboard.Threshold{Value: new(s.from), Color: s.color})
	}
	return out
}

// far is below every value: the first step of limits whose base is of no data.
const far = -1e9

// query is what a panel asks, as a range of time unless it is of now.
type query struct {
	expr, legend string

	// How a chart draws it.
	color     string // "" is the next of the palette
	dashed    bool   // an objective, rather than what was measured
	exemplars bool   // with traces of single requests
}

// now is a query of one moment, for tables and figures.
func now(expr string) query { return query{expr: expr} }

// targets returns the queries as Grafana asks them, named A, B, C.
func targets(queries []query, edit func(*prometheus.Dataquery)) []variants.Dataquery {
	out := make([]variants.Dataquery, len(queries))
	for i, q := range queries {
		t := prometheus.NewDataquery()
		t.Expr, t.RefId = q.expr, new(refID(i))
		t.Datasource = source()
		t.EditorMode = new(prometheus.QueryEditorModeCode)
		if q.legend != "" {
			t.LegendFormat = &q.legend
		}
		if q.exemplars {
			t.Exemplar = new(true)
		}
		edit(t)
		out[i] = t
	}
	return out
}

func refID(i int) string { return string(rune('A' + i)) }

func ranged(t *prometheus.Dataquery) { t.Range, t.Instant = new(true), new(false) }

func instant(t *prometheus.Dataquery) { t.Instant, t.Range = new(true), new(false) }

func table(t *prometheus.Dataquery) {
	instant(t)
	t.Format = new(prometheus.PromQueryFormatTable)
}

// panel returns a panel of a type, with what every panel has. options and
// custom are those of the type.
func panel(kind, title, about string, asked []variants.Dataquery, options any, config dashboard.FieldConfig) dashboard.Panel {
	p := dashboard.NewPanel()
	p.Type, p.Title, p.Description = kind, &title, &about
	p.Datasource, p.Targets, p.Options = source(), asked, options
	p.FieldConfig = dashboard.NewFieldConfigSource()
	p.FieldConfig.Defaults = config
	return *p
}

// chart is a panel of lines over time.
type chart struct {
	title, about string
	scale        scale
	queries      []query
	limits       *dashboard.ThresholdsConfig // drawn as dashed lines
	softMax      float64                     // the axis reaches at least so far; 0: as far as the values
	noValue      string
	over         string // a length of time to show whatever the dashboard shows, as 30d or +30d
}

func (c chart) panel() dashboard.Panel {
	custom := &common.GraphFieldConfig{
		DrawStyle: new(common.GraphDrawStyleLine), LineInterpolation: new(common.LineInterpolationLinear),
		LineWidth: new(1.0), FillOpacity: new(0.0), ShowPoints: new(common.VisibilityModeNever),
		AxisSoftMin: new(0.0),
	}
	if len(c.queries) == 1 {
		custom.FillOpacity = new(8.0)
	}
	if c.softMax != 0 {
		custom.AxisSoftMax = &c.softMax
	}
	config := c.scale.config()
	config.Custom, config.Thresholds = custom, c.limits
	config.NoValue = new("no data")
	if c.noValue != "" {
		config.NoValue = &c.noValue
	}
	if c.limits != nil {
		custom.ThresholdsStyle = &common.GraphThresholdsStyleConfig{Mode: common.GraphThresholdsStyleModeDashed}
	}
	config.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdPaletteClassic}

	options := timeseries.NewOptions()
	options.Legend = common.VizLegendOptions{
		ShowLegend: true, DisplayMode: common.LegendDisplayModeList, Placement: common.LegendPlacementBottom,
		Calcs: []string{"lastNotNull"},
	}
	options.Tooltip = common.VizTooltipOptions{Mode: common.TooltipDisplayModeMulti, Sort: common.SortOrderDescending}

	p := panel("timeseries", c.title, c.about, targets(c.queries, ranged), options, config)
	if c.over != "" {
		p.TimeFrom = &c.over
	}
	for i, q := range c.queries {
		var own []dashboard.DynamicConfigValue
		if q.color != "" {
			own = append(own, dashboard.DynamicConfigValue{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": q.color}})
		}
		if q.dashed {
			own = append(own, dashboard.DynamicConfigValue{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{8, 6}}})
		}
		if own != nil {
			override(&p, "byFrameRefID", refID(i), own...)
		}
	}
	return p
}

// override sets properties of some fields of a panel.
func override(p *dashboard.Panel, matcher, of string, properties ...dashboard.DynamicConfigValue) {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, dashboard.DashboardFieldConfigSourceOverrides{
		Matcher: dashboard.MatcherConfig{Id: matcher, Options: of}, Properties: properties,
	})
}

// figure is a panel of one number, of now.
type figure struct {
	title, about string
	scale        scale
	query        query
	limits       *dashboard.ThresholdsConfig
	mappings     []dashboard.ValueMapping
	noValue      string
}

func (f figure) panel() dashboard.Panel {
	config := f.scale.config()
	config.Min, config.Max = nil, nil
	config.Thresholds, config.Mappings, config.NoValue = f.limits, f.mappings, &f.noValue
	config.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdThresholds}
	options := stat.NewOptions()
	options.GraphMode = common.BigValueGraphModeNone
	options.ColorMode = common.BigValueColorModeValue
	options.ReduceOptions.Calcs = []string{"lastNotNull"}
	return panel("stat", f.title, f.about, targets([]query{f.query}, instant), options, config)
}

// latencies is a panel of how many requests took how long, from a native
// histogram.
func latencies(title, about, expr string) dashboard.Panel {
	options := heatmap.NewOptions()
	options.Color.Mode, options.Color.Scheme = new(heatmap.HeatmapColorModeScheme), "Blues"
	options.CellGap = new(uint8(0))
	options.CellValues = &heatmap.CellValues{Unit: new(units.RequestsPerSecond)}
	options.YAxis = heatmap.YAxisConfig{Unit: new(units.Seconds), AxisPlacement: new(common.AxisPlacementLeft)}
	options.Tooltip = heatmap.HeatmapTooltip{Mode: common.TooltipDisplayModeSingle, YHistogram: new(true), ShowColorScale: new(true)}
	options.Exemplars.Color = "rgba(255,120,10,0.8)"
	config := seconds.config()
	config.NoValue = new("no requests")
	asked := targets([]query{{expr: expr, exemplars: true}}, func(t *prometheus.Dataquery) {
		ranged(t)
		t.Format = new(prometheus.PromQueryFormatHeatmap)
	})
	p := panel("heatmap", title, about, asked, options, config)
	// A native histogram has some 200 buckets: this bounds the answer to 1 MB.
	p.MaxDataPoints = new(120.0)
	return p
}

// text maps a value to words.
func text(value, words, color string) dashboard.ValueMapping {
	return dashboard.ValueMapping{ValueMap: &dashboard.ValueMap{
		Type:    dashboard.MappingTypeValueToText,
		Options: map[string]dashboard.ValueMappingResult{value: {Text: &words, Color: &color}},
	}}
}

// from maps values from one on to words.
func from(value float64, words, color string) dashboard.ValueMapping {
	return dashboard.ValueMapping{RangeMap: &dashboard.RangeMap{
		Type: dashboard.MappingTypeRangeToText,
		Options: dashboard.DashboardRangeMapOptions{
			From: &value, To: nil, Result: dashboard.ValueMappingResult{Text: &words, Color: &color},
		},
	}}
}
