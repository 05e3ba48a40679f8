package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/slowburn-slo/slowburn/slo"
)

// value is a node on its way to becoming something: it knows its path in the
// file and where to report what is wrong with it. Its readers report at most
// one fault for a value and say by ok whether they got what they want; want is
// the end of the message when they did not.
type value struct {
	*node
	path   string
	faults *collector
}

// entry is a field of a table.
type entry struct {
	key string
	pos slo.Pos // of the key
	value
}

func (v value) fault(fact, want string) { v.faultAt(v.pos, v.path, fact, want) }

func (v value) faultAt(pos slo.Pos, path, fact, want string) {
	v.faults.add(Fault{Pos: pos, Path: path, Fact: fact, Want: want})
}

// flawed reports what is wrong with the value, if anything, and whether it did.
func (v value) flawed(f *flaw) bool {
	if f != nil {
		v.fault(f.fact, f.want)
	}
	return f != nil
}

// missing reports that a table lacks a key.
func (v value) missing(key, want string) { v.faultAt(v.pos, join(v.path, key), "is missing", want) }

// refuse reports that the value is of the wrong kind.
func (v value) refuse(want string) {
	switch {
	case v.meant != "":
		v.fault("is empty", v.meant)
	case v.kind == list:
		v.fault("is a list", want)
	case v.kind == table:
		v.fault("is a map", want)
	case v.text == "":
		v.fault("is empty", want)
	case v.kind == text:
		v.fault("is the text "+quote(v.text), want)
	default:
		v.fault("is "+brief(v.text), want)
	}
}

// prose reads a text of any length. Numbers and booleans count as text, as
// they are written.
func (v value) prose(want string) (string, bool) {
	if v.kind == list || v.kind == table || strings.TrimSpace(v.text) == "" {
		v.refuse(want)
		return "", false
	}
	return v.text, true
}

// line reads a text of one line.
func (v value) line(want string) (string, bool) {
	s, ok := v.prose(want)
	if ok && strings.ContainsFunc(s, unicode.IsControl) {
		v.fault(quote(s)+" holds a line break or another control character", want)
		return "", false
	}
	return s, ok
}

// whole reads a whole number from low to high.
func (v value) whole(low, high int) (int, bool) {
	n, err := strconv.Atoi(v.text)
	if v.kind != number || err != nil || n < low || n > high {
		v.refuse(fmt.Sprintf("want a whole number from %d to %d", low, high))
		return 0, false
	}
	return n, true
}

// elements reads a list of at least one item.
func (v value) elements(want string) ([]value, bool) {
	if v.kind != list || len(v.items) == 0 {
		if v.kind == list {
			v.fault("is an empty list", want)
		} else {
			v.refuse(want)
		}
		return nil, false
	}
	out := make([]value, len(v.items))
	for i, item := range v.items {
		out[i] = value{item, v.path + "[" + strconv.Itoa(i) + "]", v.faults}
	}
	return out, true
}

// entries reads a table of at least one field whose keys are the user's own.
func (v value) entries(want string) ([]entry, bool) {
	if v.kind != table || len(v.fields) == 0 {
		if v.kind == table {
			v.fault("is an empty map", want)
		} else {
			v.refuse(want)
		}
		return nil, false
	}
	out := make([]entry, 0, len(v.fields))
	lines := make(map[string]int, len(v.fields))
	for _, f := range v.fields {
		e := entry{f.key, f.pos, value{f.value, join(v.path, f.key), v.faults}}
		if line, twice := lines[f.key]; twice {
			v.faultAt(e.pos, e.path, fmt.Sprintf("is here and on line %d", line), "want it once")
			continue
		}
		lines[f.key] = f.pos.Line
		out = append(out, e)
	}
	return out, true
}

// keys reads a table whose keys are the language's. later holds, by key, what
// is wanted instead of a key that is not supported yet.
func (v value) keys(want string, known []string, later map[string]string) (map[string]value, bool) {
	entries, ok := v.entries(want)
	if !ok {
		return nil, false
	}
	out := make(map[string]value, len(entries))
	for _, e := range entries {
		instead, planned := later[e.key]
		switch {
		case slices.Contains(known, e.key):
			out[e.key] = e.value
		case planned:
			v.faultAt(e.pos, e.path, "is not supported yet", instead)
		default:
			v.faultAt(e.pos, e.path, "unknown key", suggest(e.key, known))
		}
	}
	return out, true
}

// has reports whether a table holds the key.
func (v value) has(key string) bool {
	return slices.ContainsFunc(v.fields, func(f field) bool { return f.key == key })
}

// lacks reports whether a table holds neither the key nor a misspelling of it,
// which is reported as an unknown key.
func (v value) lacks(key string, known []string) bool {
	return !slices.ContainsFunc(v.fields, func(f field) bool {
		return f.key == key || !slices.Contains(known, f.key) && suggest(f.key, known) == "want "+key
	})
}

// join appends a key to a path. Keys that would make the path hard to read are
// quoted.
func join(path, key string) string {
	key = brief(key)
	if key == "" || strings.ContainsFunc(key, notInName) {
		key = quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// suggest names the known word that is nearest to one that is not known, or
// all of them when none is near.
func suggest(word string, known []string) string {
	const near = 3
	best, least := "", near
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k), near); d < least && d*2 < len(k) {
			best, least = k, d
		}
	}
	if best != "" {
		return "want " + best
	}
	return "want one of " + strings.Join(known, ", ")
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
