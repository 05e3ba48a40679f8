package source

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/slowburn-slo/slowburn/slo"
)

// read returns the one document of a file as a Value.
func read(t *testing.T, data string) (Value, *Collector) {
	t.Helper()
	var c Collector
	docs := Parse("f.yaml", []byte(data), &c)
	if len(docs) != 1 || c.Err() != nil {
		t.Fatalf("Parse(%q) = %d documents, %v, want one", data, len(docs), c.Err())
	}
	return Value{Node: docs[0], Faults: &c}, &c
}

// dump writes a node on one line, each value with its place.
func dump(n *Node) string {
	at := fmt.Sprintf("%d:%d ", n.Pos.Line, n.Pos.Column)
	switch n.Kind {
	case List:
		var items []string
		for _, i := range n.Items {
			items = append(items, dump(i))
		}
		return at + "[" + strings.Join(items, ", ") + "]"
	case Table:
		var fields []string
		for _, f := range n.Fields {
			fields = append(fields, fmt.Sprintf("%d:%d %s: %s", f.Pos.Line, f.Pos.Column, f.Key, dump(f.Value)))
		}
		return at + "{" + strings.Join(fields, ", ") + "}"
	case Text:
		return at + fmt.Sprintf("%q", n.Text)
	case Null:
		return at + "null"
	default:
		return at + n.Text
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"a map", "a: b\nc:\n  d: 1\n  e: [true, 1.5, .inf]\n", `1:1 {1:1 a: 1:4 "b", 2:1 c: 3:3 {3:3 d: 3:6 1, 4:3 e: 4:6 [4:7 true, 4:13 1.5, 4:18 .inf]}}`},
		{"a map in braces", "a: {b: c, d: {}}", `1:1 {1:1 a: 1:4 {1:5 b: 1:8 "c", 1:11 d: 1:14 {}}}`},
		{"a list of maps", "- a: 1\n  b: 2\n- c\n-\n", `1:1 [1:3 {1:3 a: 1:6 1, 2:3 b: 2:6 2}, 3:3 "c", 4:3 null]`},
		{"nulls are at their keys", "a:\nb: ~\nc: null\n", `1:1 {1:1 a: 1:1 null, 2:1 b: 2:1 null, 3:1 c: 3:1 null}`},
		{"a key twice", "a: 1\na: 2\n", `1:1 {1:1 a: 1:4 1, 2:1 a: 2:4 2}`},
		{"quotes", "a: 'x: y'\n\"b\\n\": \"#\\u00e9\"\n", "1:1 {1:1 a: 1:4 \"x: y\", 2:1 b\n: 2:8 \"#é\"}"},
		{"blocks", "a: |\n  x\n  y\nb: >\n  x\n  y\n", `1:1 {1:1 a: 1:4 "x\ny", 4:1 b: 4:4 "x y"}`},
		{"times and off are texts", "a: 02:00\nb: 2026-12-01 02:00\nc: off\n", `1:1 {1:1 a: 1:4 "02:00", 2:1 b: 2:4 "2026-12-01 02:00", 3:1 c: 3:4 "off"}`},
		{"columns count characters", "é: [ü, x]", `1:1 {1:1 é: 1:4 [1:5 "ü", 1:8 "x"]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, _ := read(t, tc.in)
			if got := dump(v.Node); got != tc.want {
				t.Errorf("Parse(%q) = %s\nwant %s", tc.in, got, tc.want)
			}
		})
	}
}

// TestParseDocuments: documents that hold nothing are left out.
func TestParseDocuments(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"# only\n":                        "",
		"---\n---\na\n":                   `3:1 "a"`,
		"a\n---\nb\n...\nc\n":             `1:1 "a" 3:1 "b" 5:1 "c"`,
		"a\n---\n---\n# x\n---\nb\n---\n": `1:1 "a" 6:1 "b"`,
		"--- a\n--- |\n  b\n":             `1:5 "a" 2:5 "b"`,
		"---\na: 1\n---\n---\nb: 2\n---\nc: 3\n...\n": `2:1 {2:1 a: 2:4 1} 5:1 {5:1 b: 5:4 2} 7:1 {7:1 c: 7:4 3}`,
	} {
		var c Collector
		var got []string
		for _, n := range Parse("f.yaml", []byte(in), &c) {
			got = append(got, dump(n))
		}
		if s := strings.Join(got, " "); s != want || c.Err() != nil {
			t.Errorf("Parse(%q) = %s, %v, want %s", in, s, c.Err(), want)
		}
	}
}

// TestValue reads values by the reader that is not for them, and those that
// are.
func TestValue(t *testing.T) {
	prose := func(v Value) { v.Prose("want a text") }
	line := func(v Value) { v.Line("want a line") }
	whole := func(v Value) { v.Whole(1, 9) }
	elements := func(v Value) { v.Elements("want a list") }
	keys := func(v Value) { v.Keys("want a map", []string{"match", "slos"}) }
	for _, tc := range []struct {
		name, in string
		read     func(Value)
		want     string // the faults
	}{
		{"prose", "a: |\n  x\n  y", prose, ""},
		{"a number is prose", "a: 1.50", prose, ""},
		{"no prose", "a:", prose, "f.yaml:1:1: top.a: is empty; want a text"},
		{"blank prose", "a: ' '", prose, `f.yaml:1:4: top.a: is the text " "; want a text`},
		{"a list is no prose", "a: [x]", prose, "f.yaml:1:4: top.a: is a list; want a text"},
		{"a comment for a value", "slack: #shop", prose, `f.yaml:1:1: top.slack: is empty; "#" starts a comment in YAML, so quote it: slack: "#shop"`},
		{"a line", "a: x", line, ""},
		{"two lines", "a: |\n  x\n  y", line, `f.yaml:1:4: top.a: "x\ny" holds a line break or another control character; want a line`},
		{"a whole number", "a: 9", whole, ""},
		{"too large", "a: 10", whole, "f.yaml:1:4: top.a: is 10; want a whole number from 1 to 9"},
		{"a text of a number", "a: '5'", whole, `f.yaml:1:4: top.a: is the text "5"; want a whole number from 1 to 9`},
		{"elements", "a: [x]", elements, ""},
		{"no elements", "a: []", elements, "f.yaml:1:4: top.a: is an empty list; want a list"},
		{"a map is no list", "a: {b: c}", elements, "f.yaml:1:4: top.a: is a map; want a list"},
		{"keys", "a: {match: x}", keys, ""},
		{"no keys", "a: {}", keys, "f.yaml:1:4: top.a: is an empty map; want a map"},
		{"unknown keys", "a: {mtch: x, 'a b': y}", keys, "f.yaml:1:5: top.a.mtch: unknown key; want match\nf.yaml:1:14: top.a.\"a b\": unknown key; want one of match, slos"},
		{"a key twice", "a: {match: x, match: y}", keys, "f.yaml:1:15: top.a.match: is here and on line 1; want it once"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, c := read(t, tc.in)
			f := v.Fields[0]
			tc.read(Value{Node: f.Value, Path: Join("top", f.Key), Faults: c})
			got := ""
			if err := c.Err(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("reading %q reports\n%s\nwant\n%s", tc.in, got, tc.want)
			}
		})
	}
}

func TestLacks(t *testing.T) {
	v, _ := read(t, "{mtch: 1, slos: 2}")
	known := []string{"match", "slos", "owner"}
	for key, want := range map[string]bool{"match": false, "slos": false, "owner": true} {
		if got := v.Lacks(key, known); got != want {
			t.Errorf("{mtch, slos} lacks %s: %t, want %t", key, got, want)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"service", "match", "by", "bad_when", "slos", "owner"}
	all := "want one of service, match, by, bad_when, slos, owner"
	for _, tc := range []struct{ name, in, want string }{
		{"a letter out", "mtch", "want match"},
		{"a letter too many", "matchs", "want match"},
		{"two swapped", "solos", "want slos"},
		{"capitals", "OWNER", "want owner"},
		{"dash for underscore", "bad-when", "want bad_when"},
		{"nothing near", "tags", all},
		{"too short to guess", "xy", all},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Suggest(tc.in, known); got != tc.want {
				t.Errorf("Suggest(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

// TestCollector: each fault once, sorted by place, and no more than a thousand.
func TestCollector(t *testing.T) {
	var c Collector
	if c.Err() != nil || c.Len() != 0 || c.Full() || len(c.Warnings()) != 0 {
		t.Errorf("the zero Collector holds %v and %v", c.Err(), c.Warnings())
	}
	add := func(line int) {
		c.Add(Fault{Pos: slo.Pos{File: "f.yaml", Line: line, Column: 1}, Fact: "is wrong", Want: "want it right"})
	}
	add(2)
	add(1)
	add(2)
	c.Warn(Fault{Pos: slo.Pos{File: "f.yaml", Line: 3}, Path: "x", Fact: "is odd", Want: "want it even"})
	if got, want := c.Err().Error(), "f.yaml:1:1: is wrong; want it right\nf.yaml:2:1: is wrong; want it right"; got != want || c.Len() != 2 {
		t.Errorf("Err() = %s, Len() = %d, want %s", got, c.Len(), want)
	}
	if got, want := c.Warnings().Error(), "f.yaml:3: x: is odd; want it even"; got != want {
		t.Errorf("Warnings() = %s, want %s", got, want)
	}
	for i := range 2000 {
		add(i)
	}
	lines := strings.Split(c.Err().Error(), "\n")
	if last := lines[len(lines)-1]; len(lines) != maxFaults+1 || !c.Full() || !strings.HasSuffix(last, ": more than 1000 faults; want these mended before the rest is shown") {
		t.Errorf("2000 faults are told in %d lines, the last being %s", len(lines), last)
	}
}

// FuzzParse: whatever the file, values and faults have a place in it, and a
// message is one line.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"a: {b: [c, 1], d: ~}\n", "slack: #shop\nx: {y: #z}\n", "- |\n  x\n- >-\n  y\n---\nb\n...\n", "a: &b [*b]\n<<: !!str x\n? {y: [}\n",
		"\ufeff---\r\na: \"\\u0000\\x41\"\r\n", "a: 0x1f\n'b': .nan\n\t", "a:\n  - b:\n    c: d\n -\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Collector
		docs := Parse("f.yaml", data, &c)
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		check := func(p slo.Pos) {
			if p.File != "f.yaml" || p.Line < 1 || p.Line > lines || p.Column < 1 {
				t.Errorf("a place of %v in a file of %d lines", p, lines)
			}
		}
		var walk func(n *Node, depth int)
		walk = func(n *Node, depth int) {
			check(n.Pos)
			if depth > maxDepth+1 {
				t.Fatalf("%d deep, want at most %d", depth, maxDepth+1)
			}
			if !utf8.ValidString(n.Text) {
				t.Errorf("text %q at %v is not UTF-8", n.Text, n.Pos)
			}
			for _, i := range n.Items {
				walk(i, depth+1)
			}
			for _, f := range n.Fields {
				check(f.Pos)
				walk(f.Value, depth+1)
			}
		}
		for _, d := range docs {
			walk(d, 0)
		}
		if c.Len() == 0 {
			return
		}
		for _, fault := range c.Err().(Faults) {
			check(fault.Pos)
			if s := fault.String(); strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) || fault.Fact == "" || fault.Want == "" {
				t.Errorf("fault %q is not one line of words", s)
			}
		}
	})
}
