package source

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/slowburn-slo/slowburn/slo"
)

// Value is a node on its way to becoming something: it knows its path in the
// file and where to report what is wrong with it.
//
// Its readers (Prose, Line, Whole, Elements, Entries and Keys) report a value
// that is not what they read as one fault, whose end is want, and then return
// ok false.
type Value struct {
	*Node
	Path   string // e.g. flows.checkout.slos[1].for; empty for the file itself
	Faults *Collector
}

// Entry is a field of a table.
type Entry struct {
	Key string
	Pos slo.Pos // of the key
	Value
}

// Fault reports what is wrong with the value.
func (v Value) Fault(fact, want string) { v.FaultAt(v.Pos, v.Path, fact, want) }

// FaultAt reports what is wrong at another place, such as that of a key.
func (v Value) FaultAt(pos slo.Pos, path, fact, want string) {
	v.Faults.Add(Fault{Pos: pos, Path: path, Fact: fact, Want: want})
}

// Warn warns of a value that is legal and hardly meant.
func (v Value) Warn(fact, want string) {
	v.Faults.Warn(Fault{Pos: v.Pos, Path: v.Path, Fact: fact, Want: want})
}

// Flawed reports what is wrong with the value, if anything, and whether it did.
func (v Value) Flawed(f *Flaw) bool {
	if f != nil {
		v.Fault(f.Fact, f.Want)
	}
	return f != nil
}

// Missing reports that a table lacks a key.
func (v Value) Missing(key, want string) { v.FaultAt(v.Pos, Join(v.Path, key), "is missing", want) }

// Refuse reports that the value is of the wrong kind, or not one of the wanted
// ones.
func (v Value) Refuse(want string) {
	switch {
	case v.Meant != "":
		v.Fault("is empty", v.Meant)
	case v.Kind == List:
		v.Fault("is a list", want)
	case v.Kind == Table:
		v.Fault("is a map", want)
	case v.Text == "":
		v.Fault("is empty", want)
	case v.Kind == Text:
		v.Fault("is the text "+Quote(v.Text), want)
	default:
		v.Fault("is "+Brief(v.Text), want)
	}
}

// Prose reads a text of any length. Numbers and booleans count as text, as
// they are written.
func (v Value) Prose(want string) (string, bool) {
	if v.Kind == List || v.Kind == Table || strings.TrimSpace(v.Text) == "" {
		v.Refuse(want)
		return "", false
	}
	return v.Text, true
}

// Line reads a text of one line.
func (v Value) Line(want string) (string, bool) {
	s, ok := v.Prose(want)
	if ok && strings.ContainsFunc(s, unicode.IsControl) {
		v.Fault(Quote(s)+" holds a line break or another control character", want)
		return "", false
	}
	return s, ok
}

// Whole reads a whole number from low to high.
func (v Value) Whole(low, high int) (int, bool) {
	n, err := strconv.Atoi(v.Text)
	if v.Kind != Number || err != nil || n < low || n > high {
		v.Refuse(fmt.Sprintf("want a whole number from %d to %d", low, high))
		return 0, false
	}
	return n, true
}

// Elements reads a list of at least one item.
func (v Value) Elements(want string) ([]Value, bool) {
	if v.Kind != List || len(v.Items) == 0 {
		if v.Kind == List {
			v.Fault("is an empty list", want)
		} else {
			v.Refuse(want)
		}
		return nil, false
	}
	out := make([]Value, len(v.Items))
	for i, item := range v.Items {
		out[i] = Value{item, v.Path + "[" + strconv.Itoa(i) + "]", v.Faults}
	}
	return out, true
}

// Entries reads a table of at least one field whose keys are the user's own.
func (v Value) Entries(want string) ([]Entry, bool) {
	if v.Kind != Table || len(v.Fields) == 0 {
		if v.Kind == Table {
			v.Fault("is an empty map", want)
		} else {
			v.Refuse(want)
		}
		return nil, false
	}
	out := make([]Entry, 0, len(v.Fields))
	lines := make(map[string]int, len(v.Fields))
	for _, f := range v.Fields {
		e := Entry{f.Key, f.Pos, Value{f.Value, Join(v.Path, f.Key), v.Faults}}
		if line, twice := lines[f.Key]; twice {
			v.FaultAt(e.Pos, e.Path, fmt.Sprintf("is here and on line %d", line), "want it once")
			continue
		}
		lines[f.Key] = f.Pos.Line
		out = append(out, e)
	}
	return out, true
}

// Keys reads a table whose keys are those of the language, and reports each
// that is not known.
func (v Value) Keys(want string, known []string) (map[string]Value, bool) {
	entries, ok := v.Entries(want)
	if !ok {
		return nil, false
	}
	out := make(map[string]Value, len(entries))
	for _, e := range entries {
		if !slices.Contains(known, e.Key) {
			v.FaultAt(e.Pos, e.Path, "unknown key", Suggest(e.Key, known))
			continue
		}
		out[e.Key] = e.Value
	}
	return out, true
}

// Has reports whether a table holds the key.
func (v Value) Has(key string) bool {
	return slices.ContainsFunc(v.Fields, func(f Field) bool { return f.Key == key })
}

// Lacks reports whether a table holds neither the key nor a misspelling of it,
// which is reported as an unknown key.
func (v Value) Lacks(key string, known []string) bool {
	return !slices.ContainsFunc(v.Fields, func(f Field) bool {
		return f.Key == key || !slices.Contains(known, f.Key) && Suggest(f.Key, known) == "want "+key
	})
}

// Join appends a key to a path. Keys that would make the path hard to read are
// quoted.
func Join(path, key string) string {
	key = Brief(key)
	if key == "" || strings.ContainsFunc(key, NotInName) {
		key = Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// Suggest names the known word that is nearest to one that is not known, or
// all of them when none is near, as the end of a message.
func Suggest(word string, known []string) string {
	if best, ok := Nearest(word, known); ok {
		return "want " + best
	}
	return "want one of " + strings.Join(known, ", ")
}

// Nearest returns the known word that is at most two letters and less than half
// its length from a word, capitals aside; ok is false when none is.
func Nearest(word string, known []string) (best string, ok bool) {
	const far = 3
	least := far
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k), far); d < least && d*2 < len(k) {
			best, least = k, d
		}
	}
	return best, least < far
}

// distance returns how many letters must be put in, left out or changed to
// make b of a; words whose lengths differ by limit or more are limit apart.
func distance(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
