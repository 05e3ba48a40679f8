package match

import (
	"strconv"
	"strings"
	"unsafe"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/slo"
)

// source is where a condition finds the text it compares.
type source struct {
	is   is
	slot int // of the attribute
	old  int // of the attribute of the older generation, or the same
}

type is uint8

const (
	anAttribute is = iota
	aKind
	aName
	aStatus
	aRoute
	aPath
)

// value returns the attribute's value, by its current name or else the older.
func (s source) value(sp *span.Span) span.Value {
	v := sp.Attr(s.slot)
	if v.Type == span.Empty && s.old != s.slot {
		v = sp.Attr(s.old)
	}
	return v
}

// text is what a span has to say: s if ok. Unless it is the matcher's own, it
// lies in the request's bytes; the matcher's is valid until the next text.
type text struct {
	s       string
	ok, own bool
}

// text returns the text of a source. Numbers read as Go writes them in their
// shortest form; arrays, lists and bytes as an empty text.
func (m *Matcher) text(from source, sp *span.Span) text {
	switch from.is {
	case aKind:
		return text{s: sp.Kind.String(), ok: true, own: true}
	case aName:
		return text{s: view(sp.Name), ok: true}
	case aStatus:
		return text{s: sp.Status.String(), ok: true, own: true}
	case aRoute:
		m.findRoute(sp)
		return text{s: m.route.text, ok: m.route.text != "", own: m.route.made}
	case aPath:
		path := m.path(sp)
		return text{s: path, ok: path != ""}
	}
	switch v := from.value(sp); v.Type {
	case span.Empty:
		return text{}
	case span.String:
		return text{s: view(v.Bytes()), ok: true}
	case span.Int:
		m.number = strconv.AppendInt(m.number[:0], v.Int(), 10)
	case span.Double:
		m.number = strconv.AppendFloat(m.number[:0], v.Double(), 'g', -1, 64)
	case span.Bool:
		m.number = strconv.AppendBool(m.number[:0], v.Bool())
	default:
		m.number = m.number[:0]
	}
	return text{s: view(m.number), ok: true, own: true}
}

// condition is a compiled slo.Condition.
type condition struct {
	source
	not      bool
	literals []string
	set      map[string]bool // the literals too if they are many
	globs    []glob
	numbers  []slo.Pattern
}

// all reports whether all conditions hold.
func (m *Matcher) all(conds []condition, sp *span.Span) bool {
	for i := range conds {
		if c := &conds[i]; m.hits(c, sp) == c.not {
			return false
		}
	}
	return true
}

// hits reports whether one of the condition's patterns fits.
func (m *Matcher) hits(c *condition, sp *span.Span) bool {
	if len(c.numbers) > 0 {
		if n, ok := m.numberAt(c.source, sp); ok {
			for _, p := range c.numbers {
				if compare(n, p) {
					return true
				}
			}
		}
	}
	if len(c.literals)+len(c.globs) == 0 {
		return false
	}
	t := m.text(c.source, sp)
	if !t.ok {
		return false
	}
	if c.literal(t.s) || c.is == aRoute && m.route.made && c.literal(m.route.path) {
		return true
	}
	for i := range c.globs {
		if c.globs[i].fits(t.s) {
			return true
		}
	}
	return false
}

// glob is a pattern with a *. Most have one, at one end.
type glob struct {
	slo.Pattern
	prefix, suffix string
	one            bool // prefix and suffix are all there is
}

func newGlob(p slo.Pattern) glob {
	prefix, suffix, _ := strings.Cut(p.Text, "*")
	return glob{p, prefix, suffix, !strings.Contains(suffix, "*")}
}

func (g *glob) fits(s string) bool {
	if g.one {
		return len(s) >= len(g.prefix)+len(g.suffix) && strings.HasPrefix(s, g.prefix) && strings.HasSuffix(s, g.suffix)
	}
	return g.Fits(s)
}

func (c *condition) literal(s string) bool {
	if c.set != nil {
		return c.set[s]
	}
	for _, l := range c.literals {
		if l == s {
			return true
		}
	}
	return false
}

func compare(n float64, p slo.Pattern) bool {
	switch p.Op {
	case slo.AtLeast:
		return n >= p.Number
	case slo.Above:
		return n > p.Number
	case slo.AtMost:
		return n <= p.Number
	default:
		return n < p.Number
	}
}

// numberAt returns the number of a source.
func (m *Matcher) numberAt(from source, sp *span.Span) (float64, bool) {
	if from.is == anAttribute {
		return numberOf(from.value(sp))
	}
	return parse(m.text(from, sp).s)
}

// numberOf returns the number in a value, if there is one.
func numberOf(v span.Value) (float64, bool) {
	switch v.Type {
	case span.Int:
		return float64(v.Int()), true
	case span.Double:
		return v.Double(), true
	case span.String:
		return parse(view(v.Bytes()))
	default:
		return 0, false
	}
}

// parse reads a number as slo.Pattern does. Texts that cannot be one are kept
// from ParseFloat, whose errors take memory.
func parse(s string) (float64, bool) {
	if s == "" || !numeric[s[0]] || !numeric[s[len(s)-1]] {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// numeric holds the bytes a number may begin or end with, inf and nan included.
var numeric = func() (set [256]bool) {
	for _, c := range "0123456789.+-abcdefinptxyABCDEFINPTXY" {
		set[c] = true
	}
	return set
}()

// view returns b as a string that shares its bytes. Literals, globs and map
// keys are compared with texts of the request, which must not be copied each time.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is the way back. The bytes must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
