package foreign

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

type base struct {
	Name string `yaml:"name"`
	Kind string `yaml:"kind"`
}

type many []string

type thing struct {
	base   `yaml:",inline"`
	Kind   int                 `yaml:"kind"` // hides that of base
	Share  *float64            `yaml:"share"`
	On     bool                `yaml:"on"`
	For    model.Duration      `yaml:"for"`
	Labels map[string]many     `yaml:"labels"`
	Parts  []struct{ N int64 } `yaml:"parts"`
	Raw    json.RawMessage     `yaml:"raw"`
	Any    any                 `yaml:"any"`
	Left   string              `yaml:"-"`
}

func parse(t *testing.T, text string, faults *source.Collector) source.Value {
	t.Helper()
	docs := source.Parse("f.yaml", []byte(text), faults)
	if len(docs) != 1 {
		t.Fatalf("%d documents in %q", len(docs), text)
	}
	return source.Value{Node: docs[0], Faults: faults}
}

func TestDecode(t *testing.T) {
	var faults source.Collector
	var got thing
	if !Decode(parse(t, `{name: 1.50, kind: 7, share: 0.1, on: true, for: 4w, labels: {a: x, b: [y, 2]}, parts: [{n: -3}, ~], raw: [{}], any: {}, labels2: 1}`, &faults), &got, "yaml") {
		t.Errorf("Decode says that a value is of the wrong kind: %v", faults.Err())
	}
	if want := "f.yaml:1:122: labels2: unknown key; want labels"; faults.Err() == nil || faults.Err().Error() != want {
		t.Errorf("faults %v, want %s", faults.Err(), want)
	}
	if got.Name != "1.50" || got.base.Kind != "" || got.Kind != 7 || *got.Share != 0.1 || !got.On || time.Duration(got.For) != 28*24*time.Hour ||
		len(got.Labels["a"]) != 1 || got.Labels["b"][1] != "2" || len(got.Parts) != 2 || got.Parts[0].N != -3 || got.Any != nil {
		t.Errorf("Decode = %+v", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"a text for a number", `{share: "0.1"}`, `1:9: share: is the text "0.1"; want a number`},
		{"no number at all", `{share: .nan}`, `1:9: share: is .nan; want a number`},
		{"a fraction for a whole number", `{kind: 1.5}`, `1:8: kind: is 1.5; want a whole number`},
		{"yes for true", `{on: yes}`, `1:6: on: is the text "yes"; want true or false`},
		{"a list for a text", `{name: [a]}`, `1:8: name: is a list; want a text`},
		{"a text for a list", `{parts: a}`, `1:9: parts: is the text "a"; want a list`},
		{"a list for a map", `{labels: [a]}`, `1:10: labels: is a list; want a map`},
		{"a text for a map", `a`, `1:1: is the text "a"; want a map`},
		{"a duration without unit", `{for: 4}`, `1:7: for: is 4; want a duration such as 30d`},
		{"a key of nobody's", `{Left: x}`, `1:2: Left: unknown key; want one of kind, share, on, for, labels, parts, raw, any, name`},
		{"a key twice", "name: a\nname: b", `2:1: name: is here and on line 1; want it once`},
		{"a value lost to a comment", "name: #a\nkind: 1", `1:1: name: is empty; "#" starts a comment in YAML, so quote it: name: "#a"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var faults source.Collector
			var got thing
			Decode(parse(t, tc.in, &faults), &got, "yaml")
			if err := faults.Err(); err == nil || err.Error() != "f.yaml:"+tc.want {
				t.Errorf("Decode(%q) = %v, want f.yaml:%s", tc.in, err, tc.want)
			}
		})
	}
}

func TestAt(t *testing.T) {
	var faults source.Collector
	v := parse(t, "a:\n  b: [x, {c: y}]\n  objectve: 1\n", &faults)
	if got := At(v, "a", "b", 1, "c"); got.Text != "y" || got.Path != "a.b[1].c" {
		t.Errorf("At = %q at %s, want y at a.b[1].c", got.Text, got.Path)
	}
	if got := At(v, "a", "d", "e"); got.Path != "a.d.e" || got.Pos.Line != 2 {
		t.Errorf("At of what is missing = %s at %s, want a.d.e on line 2", got.Path, got.Pos)
	}
	Lacks(At(v, "a", "objective"), "want it") // misspelt, which Decode reports
	Lacks(At(v, "a", "other"), "want it")
	if got, want := faults.Err().Error(), "f.yaml:2:3: a.other: is missing; want it"; got != want {
		t.Errorf("faults %s, want %s", got, want)
	}
}

func TestTargetIsTheNearestFloat(t *testing.T) {
	for percent, want := range map[float64]float64{99.9: 0.999, 99.99: 0.9999, 95: 0.95, 99.95: 0.9995, 33.3: 0.333, 99.9999999: 0.999999999} {
		var faults source.Collector
		if got := Target(source.Value{Node: &source.Node{}, Faults: &faults}, percent); got != want || faults.Len() > 0 {
			t.Errorf("Target(%v) = %v, %v, want %v", percent, got, faults.Err(), want)
		}
	}
}

func TestSlug(t *testing.T) {
	long := strings.Repeat("a", 128)
	for _, tc := range []struct{ in, want string }{
		{"checkout", "checkout"},
		{"Check.Out_1", "check-out_1"},
		{strings.Repeat("a", 64), strings.Repeat("a", 64)},
		{long, strings.Repeat("a", 55) + "-93ca4045"},
		{long[1:] + "b", strings.Repeat("a", 55) + "-90ca3b8c"},
	} {
		if got := Slug(tc.in); got != tc.want {
			t.Errorf("Slug(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestUncounted(t *testing.T) {
	const rate, mean = "rate(a[$window])", "avg_over_time(a[$window]) # mean"
	for _, tc := range []struct {
		name        string
		make        func(source.Value, Expr, Expr) slo.Query
		part, total string
		want        slo.Query
	}{
		{"counts", Bad, rate, "rate(b[$window])", slo.Query{Bad: rate, Total: "rate(b[$window])"}},
		{"good counts", Good, rate, "rate(b[$window])", slo.Query{Good: rate, Total: "rate(b[$window])"}},
		{"bad", Bad, mean, rate, slo.Query{Ratio: "(" + mean + "\n) / (" + rate + "\n)"}},
		{"good", Good, rate, "max_over_time(a[$window])", slo.Query{Ratio: "1 - (" + rate + ") / (max_over_time(a[$window]))"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var faults source.Collector
			v := source.Value{Node: &source.Node{Kind: source.Text, Text: "x"}, Faults: &faults}
			if got := tc.make(v, Query(v, tc.part), Query(v, tc.total)); got != tc.want || faults.Len() > 0 {
				t.Errorf("%s: %+v, %v, want %+v", tc.name, got, faults.Err(), tc.want)
			}
			if warned := len(faults.Warnings()) == 1; warned != (tc.want.Ratio != "") {
				t.Errorf("warnings %v", faults.Warnings())
			}
		})
	}
}
