package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn-slo/slowburn/slo/source"
)

// compileSchema returns the schema as a validator reads it.
func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON returns YAML as the values a JSON Schema speaks of, as editors see it.
func asJSON(data []byte) (any, error) {
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(b))
}

// TestSchemaAccepts holds the schema to files that are right.
func TestSchemaAccepts(t *testing.T) {
	schema := compileSchema(t)
	files := map[string]string{}
	for _, path := range []string{"../../deploy/example/slos.yaml", "../../cmd/slowburn/demo.yaml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = string(data)
	}
	for name, text := range examples(t) {
		files[name] = text
	}
	for _, tc := range roundTrips {
		files[tc.name] = tc.in
	}
	for name, text := range files {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("f.yaml", []byte(text)); err != nil {
				t.Fatalf("Parse: %v", err)
			}
			v, err := asJSON([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("the schema refuses what Parse accepts: %#v\n%s", err, text)
			}
		})
	}
}

// TestSchemaAcceptsOtherTests holds the schema to every file of other tests.
func TestSchemaAcceptsOtherTests(t *testing.T) {
	schema := compileSchema(t)
	found := 0
	for pos, text := range testFiles(t) {
		if docs := source.Parse("f.yaml", []byte(text), &source.Collector{}); len(docs) != 1 || isForeign(docs) {
			continue
		}
		found++
		v, err := asJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: the schema refuses what Parse accepts: %#v\n%s", pos, err, text)
		}
	}
	if found < 15 {
		t.Errorf("%d files, want those of TestGood and more", found)
	}
}

// testFiles returns every text in the tests of this package that is a file
// which Parse accepts, by its place.
func testFiles(t testing.TB) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, path := range paths {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse("f.yaml", []byte(text)); err == nil {
				out[fset.Position(lit.Pos()).String()] = text
			}
			return true
		})
	}
	return out
}

var fence = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// examples returns the files of slowburn's language that the documentation
// shows: whole ones, which have flows.
func examples(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(docs, "../../README.md") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllSubmatchIndex(data, -1) {
			if text := string(data[m[2]:m[3]]); strings.Contains("\n"+text, "\nflows:") {
				out[fmt.Sprintf("%s:%d", filepath.Base(path), 1+bytes.Count(data[:m[2]], []byte("\n")))] = text
			}
		}
	}
	if len(out) == 0 {
		t.Error("the documentation shows no file, want at least one")
	}
	return out
}

// TestSchemaRefuses gives files with mistakes that an editor can show while one
// types: the schema and the loader must both refuse them.
func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	for _, tc := range []struct{ name, in string }{
		{"no flows", "service: shop\n"},
		{"flows empty", "service: shop\nflows: {}\n"},
		{"flows a list", "service: shop\nflows: [checkout]\n"},
		{"unknown key of the file", "team: x\n" + checkout("match: /x", "slos: [99% succeed]")},
		{"unknown key of a flow", checkout("mtach: /x", "slos: [99% succeed]")},
		{"unknown key of an objective", promise("{succeed: 99%, windw: 7d}")},
		{"unknown key of defaults", "defaults: {windows: 7d}\n" + checkout("match: /x", "slos: [99% succeed]")},
		{"unknown key of alerts", checkout("match: /x", "slos: [99% succeed]", "alerts: {pages: '#x'}")},
		{"unknown key of a tier", promise("{succeed: 99%, alerts: {tiers: [{severity: page, burn: 2, long: 1h, short: 5m}]}}")},
		{"unknown key of by", checkout("match: /x", "slos: [99% succeed]", "by: {attribute: a, limits: 5}")},
		{"unknown key of a condition", checkout("match: {queue: {nor: a}}", "slos: [99% succeed]")},
		{"name in capitals", "service: shop\nflows: {Checkout: {match: /x, slos: [9% succeed]}}\n"},
		{"service a glob", "service: shop-*\nflows: {a: {match: /x, slos: [9% succeed]}}\n"},
		{"slack null", "slack:\n" + checkout("match: /x", "slos: [99% succeed]")},
		{"slack without #", "slack: shop\n" + checkout("match: /x", "slos: [99% succeed]")},
		{"slack unquoted", "slack: #shop\n" + checkout("match: /x", "slos: [99% succeed]")},
		{"match without a route", checkout("match: checkout", "slos: [99% succeed]")},
		{"method in lower case", checkout("match: post /x", "slos: [99% succeed]")},
		{"service in match", checkout("match: {service.name: shop}", "slos: [99% succeed]")},
		{"value missing in match", checkout("match: {kind: }", "slos: [99% succeed]")},
		{"no slos", checkout("match: /x")},
		{"slos a text", checkout("match: /x", "slos: 99.9% succeed")},
		{"slos empty", checkout("match: /x", "slos: []")},
		{"a ratio", promise("0.999 succeed")},
		{"a ratio, long", promise("{succeed: 0.999}")},
		{"a number", promise("{succeed: 99.9}")},
		{"without %", promise("99.5 succeed")},
		{"decimal comma", promise("'99,9% succeed'")},
		{"100%", promise("100% succeed")},
		{"0%", promise("0.0% succeed")},
		{"no sentence", promise("99.9% available")},
		{"threshold without unit", promise("95% under 300")},
		{"threshold a number", promise("{faster_than: 300, for: 95%}")},
		{"threshold unit", promise("95% under 2 sec")},
		{"faster_than alone", promise("{faster_than: 300ms}")},
		{"for alone", promise("{for: 95%}")},
		{"succeed with for", promise("{succeed: 99%, for: 95%}")},
		{"two in one", promise("{succeed: 99%, faster_than: 1s, for: 95%}")},
		{"name no slug", promise("{succeed: 99%, name: Main One}")},
		{"min_events a text", promise("{succeed: 99%, min_events: many}")},
		{"min_events none", promise("{succeed: 99%, min_events: 0}")},
		{"window without unit", promise("{succeed: 99%, window: 30}")},
		{"window of no calendar", promise("{succeed: 99%, window: year}")},
		{"zone in lower case", promise("{succeed: 99%, window: month, timezone: europe/zurich}")},
		{"zone an offset", promise("{succeed: 99%, window: month, timezone: '+01:00'}")},
		{"zone with an umlaut", promise("{succeed: 99%, window: month, timezone: Europe/Zürich}")},
		{"no tiers", promise("{succeed: 99%, alerts: {tiers: []}}")},
		{"tier without windows", promise("{succeed: 99%, alerts: {tiers: [{severity: page, burn_rate: 2}]}}")},
		{"severity", promise("{succeed: 99%, alerts: {tiers: [{severity: warn, burn_rate: 2, long: 1h, short: 5m}]}}")},
		{"burn rate zero", promise("{succeed: 99%, alerts: {tiers: [{severity: page, burn_rate: 0, long: 1h, short: 5m}]}}")},
		{"alerts a text", promise("{succeed: 99%, alerts: none}")},
		{"outage a text", promise("{succeed: 99%, alerts: {outage: fast}}")},
		{"spent without %", promise("{succeed: 99%, alerts: {spent: [50, 75]}}")},
		{"spent too much", promise("{succeed: 99%, alerts: {spent: [50%, 101%]}}")},
		{"spent nothing", promise("{succeed: 99%, alerts: {spent: []}}")},
		{"spent twice", promise("{succeed: 99%, alerts: {spent: [50%, 50%]}}")},
		{"runs_out a length", promise("{succeed: 99%, alerts: {runs_out: 3d}}")},
		{"where a map", checkout("match: /x", "slos: [9% succeed]", "where: {service.version: a}")},
		{"where empty", checkout("match: /x", "slos: [9% succeed]", "where: []")},
		{"where twice", checkout("match: /x", "slos: [9% succeed]", "where: [a, a]")},
		{"where the service", checkout("match: /x", "slos: [9% succeed]", "where: [service.name]")},
		{"where a text of words", checkout("match: /x", "slos: [9% succeed]", "where: [service version]")},
		{"promql without a target", promise("{promql: {bad: 'a[$window]', total: 'b[$window]'}}")},
		{"promql without a total", promise("{promql: {bad: 'rate(a[$window])'}, target: 99%}")},
		{"promql with both", promise("{promql: {bad: 'rate(a[$window])', good: 'rate(b[$window])', total: 'rate(c[$window])'}, target: 99%}")},
		{"promql a text", promise("{promql: 'rate(a[$window])', target: 99%}")},
		{"slice without target", promise("{succeed: 99%, time_slice: {length: 1m}}")},
		{"label name", checkout("match: /x", "slos: [9% succeed]", "labels: {cost-center: 5}")},
		{"runbook no URL", checkout("match: /x", "slos: [9% succeed]", "runbook: wiki/checkout")},
		{"by without a bound", checkout("match: /x", "slos: [9% succeed]", "by: {attribute: tenant.id, limit: 0}")},
		{"exclude empty", checkout("match: /x", "slos: [9% succeed]") + "exclude: []\n"},
		{"exclude without a length", checkout("match: /x", "slos: [9% succeed]") + "exclude: [{from: 2026-12-01 02:00}]\n"},
		{"exclude with two ends", checkout("match: /x", "slos: [9% succeed]") + "exclude: [{from: 2026-12-01 02:00, for: 1h, to: 2026-12-01 03:00}]\n"},
		{"exclude on a day that is none", checkout("match: /x", "slos: [9% succeed]") + "exclude: [{every: someday, at: '02:00', for: 1h}]\n"},
		{"exclude on a day of no month", checkout("match: /x", "slos: [9% succeed]") + "exclude: [{every: month, on: 32, at: '02:00', for: 1h}]\n"},
		{"exclude at no time", checkout("match: /x", "slos: [9% succeed]") + "exclude: [{every: sunday, at: '25:00', for: 1h}]\n"},
		{"exclude a date in words", checkout("match: /x", "slos: [9% succeed]") + "exclude: [{from: 1 December, for: 1h}]\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Parse("f.yaml", []byte(tc.in)); err == nil {
				t.Errorf("Parse accepts\n%s", tc.in)
			}
			v, err := asJSON([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); err == nil {
				t.Errorf("the schema accepts\n%s", tc.in)
			}
		})
	}
}

// TestSchemaKeys compares the keys the loader knows with those of the schema,
// level by level, and the words it knows with the schema's.
func TestSchemaKeys(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal([]byte(Schema()), &root); err != nil {
		t.Fatal(err)
	}
	at := func(path string) any {
		var v any = root
		for step := range strings.SplitSeq(path, " ") {
			switch node := v.(type) {
			case map[string]any:
				v = node[step]
			case []any:
				i, err := strconv.Atoi(step)
				if err != nil || i >= len(node) {
					t.Fatalf("the schema has no %s", path)
				}
				v = node[i]
			}
			if v == nil {
				t.Fatalf("the schema has no %s", path)
			}
		}
		return v
	}
	for _, tc := range []struct {
		name, path string
		want       []string
	}{
		{"file", "properties", fileKeys},
		{"defaults", "$defs defaults properties", defaultsKeys},
		{"flow", "$defs flow properties", flowKeys},
		{"by", "$defs by anyOf 1 properties", byKeys},
		{"objective", "$defs long_form properties", objectiveKeys},
		{"slice", "$defs time_slice anyOf 1 properties", sliceKeys},
		{"query", "$defs promql properties", queryKeys},
		{"alerts", "$defs alerts anyOf 1 properties", alertsKeys},
		{"severity", "$defs severity anyOf 2 properties", severityKeys},
		{"tier", "$defs tier properties", tierKeys},
		{"exclude", "$defs exclusion properties", excludeKeys},
		{"weekday", "$defs weekday anyOf 0 enum", weekdays},
		{"framework", "$defs framework enum", slices.Collect(maps.Keys(frameworks))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			switch node := at(tc.path).(type) {
			case map[string]any:
				got = slices.Collect(maps.Keys(node))
			case []any:
				for _, v := range node {
					got = append(got, fmt.Sprint(v))
				}
			}
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(tc.want)); !slices.Equal(got, want) {
				t.Errorf("the schema knows\n%s\nand the loader\n%s", got, want)
			}
		})
	}
}

// TestSchemaLine holds the line at the top of the example, from which editors
// know the schema, to where the schema is.
func TestSchemaLine(t *testing.T) {
	const example = "../../deploy/example/slos.yaml"
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	path, ok := strings.CutPrefix(line, "# yaml-language-server: $schema=")
	if !ok {
		t.Fatalf("%s begins with %q, want the line that names its schema", example, line)
	}
	got, err := os.ReadFile(filepath.Join(filepath.Dir(example), path))
	if err != nil || string(got) != Schema() {
		t.Errorf("%s names the schema %s: %v, want the one that slowburn schema prints", example, path, err)
	}
}

// TestSchemaIsClosed holds every map of the schema to its keys: one that is
// misspelled is seen. Those whose keys are the user's say what they look like.
func TestSchemaIsClosed(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal([]byte(Schema()), &root); err != nil {
		t.Fatal(err)
	}
	tables := 0
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case []any:
			for i, item := range v {
				walk(fmt.Sprintf("%s/%d", path, i), item)
			}
		case map[string]any:
			if v["type"] == "object" {
				tables++
				if _, named := v["propertyNames"]; v["additionalProperties"] != false && !named {
					t.Errorf("%s takes any key", path)
				}
			}
			for key, item := range v {
				walk(path+"/"+key, item)
			}
		}
	}
	walk("", root)
	if tables < 10 {
		t.Errorf("%d maps, want those of the language", tables)
	}
}

// FuzzSchema holds the schema to its word: whatever Parse accepts, it accepts.
func FuzzSchema(f *testing.F) {
	for _, tc := range roundTrips {
		f.Add([]byte(tc.in))
	}
	for _, text := range testFiles(f) {
		f.Add([]byte(text))
	}
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Parse("f.yaml", data); err == nil {
			checkSchema(t, schema, data)
		}
	})
}

// checkSchema holds the schema to accepting a file, unless it is in another
// tool's format.
func checkSchema(t *testing.T, schema *jsonschema.Schema, data []byte) {
	t.Helper()
	docs := source.Parse("f.yaml", data, &source.Collector{})
	if len(docs) != 1 || isForeign(docs) {
		return
	}
	b, err := json.Marshal(jsonOf(docs[0]))
	if err != nil {
		t.Fatal(err)
	}
	// A space is more to an editor than to Go's regular expressions.
	if bytes.ContainsFunc(b, func(r rune) bool { return r > unicode.MaxASCII && unicode.IsSpace(r) }) || bytes.Contains(b, []byte(`\u20`)) {
		return
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("the schema refuses what Parse accepts: %#v\n%s", err, b)
	}
}

// jsonOf returns a value as JSON has it.
func jsonOf(n *source.Node) any {
	switch n.Kind {
	case source.Null:
		return nil
	case source.Boolean:
		return n.Text == "true"
	case source.Number:
		x, err := strconv.ParseFloat(n.Text, 64)
		if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
			return 1 // 0x1f and .inf are numbers too
		}
		return x
	case source.List:
		out := []any{}
		for _, item := range n.Items {
			out = append(out, jsonOf(item))
		}
		return out
	case source.Table:
		out := map[string]any{}
		for _, f := range n.Fields {
			out[f.Key] = jsonOf(f.Value)
		}
		return out
	default:
		return n.Text
	}
}
