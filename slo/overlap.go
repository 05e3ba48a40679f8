package slo

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// vocabularies are the only values some keys have.
var vocabularies = map[string][]string{
	KeyKind:   {"server", "consumer", "client", "producer", "internal"},
	KeyStatus: {"unset", "ok", "error"},
	KeyStatusCode: func() (codes []string) {
		for code := 100; code < 600; code++ {
			codes = append(codes, strconv.Itoa(code))
		}
		return codes
	}(),
}

// Vocabulary returns the only values that spans have under a key, nil where any
// text may stand. They must not be changed.
func Vocabulary(key string) []string { return vocabularies[key] }

// Overlap reports whether one span can satisfy both selectors. It judges each
// attribute by itself: that spans of the real world never have two of them
// together, or that one follows from another, is for the caller to know.
//
// It is exact for literals, globs and comparisons with numbers, and their
// opposites, where a selector names an attribute once; a glob that has to be a
// number as well is tried with fillings of up to three digits, and globs with
// exceptions are given up where it takes more than searchLimit steps.
func Overlap(a, b Selector) bool {
	_, ok := Common(a, b)
	return ok
}

// Common returns an example of a span that satisfies both selectors, if there
// is one: the values of the attributes it must have, by key.
func Common(a, b Selector) (example map[string]string, ok bool) {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(x, y Condition) int { return strings.Compare(x.Key, y.Key) })
	values := make([]string, 0, 8) // keys and values in turn: most pairs have nothing in common
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Key == all[0].Key {
			n++
		}
		text, present, ok := agree(all[:n])
		if !ok {
			return nil, false
		}
		if present {
			values = append(values, all[0].Key, text)
		}
		all = all[n:]
	}
	example = make(map[string]string, len(values)/2)
	for i := 0; i < len(values); i += 2 {
		example[values[i]] = values[i+1]
	}
	return example, true
}

// agree returns a value for which all conditions, which have one key, hold.
// present is false where it takes a span without the attribute.
func agree(conds []Condition) (text string, present, ok bool) {
	key := conds[0].Key
	fits := func(s string) bool {
		return !slices.ContainsFunc(conds, func(c Condition) bool { return !c.Fits(s, true) })
	}
	values := Vocabulary(key)
	if i := slices.IndexFunc(values, fits); i >= 0 {
		return values[i], true, true
	}
	wanted := make([]Condition, 0, 2)
	for _, c := range conds {
		if !c.Not {
			wanted = append(wanted, c)
		}
	}
	switch {
	case len(wanted) == 0 && key != KeyKind && key != KeyStatus && key != KeyName:
		return "", false, true
	case values != nil:
		return "", false, false
	case len(wanted) == 0:
		wanted = append(wanted, Condition{Any: []Pattern{{Text: "*"}}})
	}
	for _, c := range wanted { // the values that are listed, if they are
		if !slices.ContainsFunc(c.Any, func(p Pattern) bool { return !p.Literal() }) {
			for _, p := range c.Any {
				if fits(p.Text) {
					return p.Text, true, true
				}
			}
			return "", false, false
		}
	}
	choice := make([]Pattern, len(wanted))
	var choose func(i int) (string, bool)
	choose = func(i int) (string, bool) {
		if i == len(wanted) {
			return between(choice, conds, fits)
		}
		for _, p := range wanted[i].Any {
			choice[i] = p
			if s, ok := choose(i + 1); ok {
				return s, true
			}
		}
		return "", false
	}
	text, ok = choose(0)
	return text, ok, ok
}

// between returns a text that fits every one of wanted, and all of conds, of
// which wanted are a part.
func between(wanted []Pattern, conds []Condition, fits func(string) bool) (string, bool) {
	var globs []string
	numbers := false
	for _, p := range wanted {
		switch {
		case p.Literal():
			return p.Text, fits(p.Text)
		case p.Op == Like:
			globs = append(globs, p.Text)
		default:
			numbers = true
		}
	}
	if numbers {
		return number(globs, conds, fits)
	}
	// A star is covered by stars alone, so what covers the text of a glob covers
	// all that the glob does.
	for _, c := range conds {
		if c.Not && slices.ContainsFunc(globs, func(g string) bool { return !c.Fits(g, true) }) {
			return "", false
		}
	}
	// Globs agree if their beginnings and their ends do: what they want in
	// their midst, stars leave room for.
	var head, tail string
	for _, g := range globs {
		begin, end := g[:strings.IndexByte(g, '*')], g[strings.LastIndexByte(g, '*')+1:]
		if !strings.HasPrefix(begin, head) && !strings.HasPrefix(head, begin) ||
			!strings.HasSuffix(end, tail) && !strings.HasSuffix(tail, end) {
			return "", false
		}
		if len(begin) > len(head) {
			head = begin
		}
		if len(end) > len(tail) {
			tail = end
		}
	}
	full := head
	for _, g := range globs {
		if parts := strings.Split(g, "*"); len(parts) > 2 {
			full += "x" + strings.Join(parts[1:len(parts)-1], "x")
		}
	}
	full += "x" + tail
	for _, s := range []string{overlay(head, tail), head + "x" + tail, head + tail, full} {
		if s != "" && fits(s) {
			return s, true
		}
	}
	return search(globs, conds, fits)
}

// overlay joins two texts, the end of one being the beginning of the other as
// far as it can be.
func overlay(head, tail string) string {
	for n := min(len(head), len(tail)); n > 0; n-- {
		if strings.HasSuffix(head, tail[:n]) {
			return head + tail[n:]
		}
	}
	return head + tail
}

// number returns a number that fits globs and conds. Where conds do not change,
// between the numbers they name, one number is as good as another.
func number(globs []string, conds []Condition, fits func(string) bool) (string, bool) {
	var named []float64
	for _, c := range conds {
		for _, p := range c.Any {
			n := p.Number
			if p.Op == Like {
				var err error
				if n, err = strconv.ParseFloat(p.Text, 64); err != nil {
					continue
				}
			}
			named = append(named, n)
		}
	}
	slices.Sort(named)
	var texts []string
	add := func(n float64) {
		if !math.IsNaN(n) && !math.IsInf(n, 0) {
			texts = append(texts, strconv.FormatFloat(n, 'f', -1, 64))
		}
	}
	for i, n := range named {
		add(n)
		add(n + 1)
		add(n - 1)
		if i > 0 {
			add(n/2 + named[i-1]/2)
		}
	}
	for _, g := range globs {
		head, tail, _ := strings.Cut(g, "*")
		tail = strings.ReplaceAll(tail, "*", "")
		for digits := range 4 {
			for n := range int(math.Pow10(digits)) {
				middle := ""
				if digits > 0 {
					middle = strconv.Itoa(n + int(math.Pow10(digits)))[1:] // with leading zeros
				}
				texts = append(texts, head+middle+tail)
			}
		}
		for zeros := 4; zeros < 16; zeros++ {
			texts = append(texts, head+strings.Repeat("0", zeros)+tail, head+strings.Repeat("9", zeros)+tail)
		}
	}
	i := slices.IndexFunc(texts, fits)
	if i < 0 {
		return "", false
	}
	return texts[i], true
}

// searchLimit is how many states search visits before it gives up and says that
// nothing fits: some milliseconds. Real patterns have a few dozen states.
const searchLimit = 1000

// search returns the shortest text that fits all of globs and all of conds. It
// walks through the product of the automata of all patterns.
func search(globs []string, conds []Condition, fits func(string) bool) (string, bool) {
	for _, c := range conds {
		if !c.Not {
			continue
		}
		for _, p := range c.Any {
			if p.Op == Like {
				globs = append(globs, p.Text)
			}
		}
	}
	// One letter that no pattern names stands for all the others.
	alphabet := []byte{}
	for _, r := range []byte("xyzabcdefghijklmnopqrstuvwXYZ_-.~") {
		if !slices.ContainsFunc(globs, func(g string) bool { return strings.IndexByte(g, r) >= 0 }) {
			alphabet = append(alphabet, r)
			break
		}
	}
	for _, g := range globs {
		for i := range len(g) {
			if g[i] != '*' && !slices.Contains(alphabet, g[i]) {
				alphabet = append(alphabet, g[i])
			}
		}
	}
	type state struct {
		text string
		at   [][]int
	}
	begin := state{at: make([][]int, len(globs))}
	for i, g := range globs {
		begin.at[i] = closure(g, []int{0})
	}
	seen := map[string]bool{}
	for queue := []state{begin}; len(queue) > 0 && len(seen) < searchLimit; queue = queue[1:] {
		from := queue[0]
		for _, b := range alphabet {
			to := state{text: from.text + string([]byte{b}), at: make([][]int, len(globs))}
			if fits(to.text) {
				return to.text, true
			}
			var id []byte
			for i, g := range globs {
				to.at[i] = step(g, from.at[i], b)
				for _, p := range to.at[i] {
					id = append(id, byte(p), byte(p>>8), byte(p>>16))
				}
				id = append(id, 0xff, 0xff, 0xff)
			}
			if !seen[string(id)] {
				seen[string(id)] = true
				queue = append(queue, to)
			}
		}
	}
	return "", false
}

// step returns the places in a glob after one more byte of text.
func step(glob string, at []int, b byte) []int {
	var to []int
	for _, p := range at {
		switch {
		case p == len(glob):
		case glob[p] == '*':
			to = append(to, p)
		case glob[p] == b:
			to = append(to, p+1)
		}
	}
	return closure(glob, to)
}

// closure adds the places that stars lead to for nothing, sorted. What comes
// before the last star is left out: that star takes any text.
func closure(glob string, at []int) []int {
	for i := 0; i < len(at); i++ {
		if p := at[i]; p < len(glob) && glob[p] == '*' {
			at = append(at, p+1)
		}
	}
	slices.Sort(at)
	at = slices.Compact(at)
	for i := len(at) - 1; i > 0; i-- {
		if at[i] < len(glob) && glob[at[i]] == '*' {
			return at[i:]
		}
	}
	return at
}

// Pos returns where the selector is written, or otherwise if it is empty.
func (s Selector) Pos(otherwise Pos) Pos {
	if len(s) == 0 {
		return otherwise
	}
	return s[0].Pos
}

// Normal writes the selector so that two which pick the same spans, however
// their conditions are ordered, are written the same.
func (s Selector) Normal() string {
	conds := make([]string, len(s))
	for i, c := range s {
		patterns := make([]string, len(c.Any))
		for j, p := range c.Any {
			text := p.String()
			for p.Op == Like && strings.Contains(text, "**") {
				text = strings.ReplaceAll(text, "**", "*")
			}
			patterns[j] = strconv.Quote(text) + strconv.Itoa(int(p.Op))
		}
		slices.Sort(patterns)
		conds[i] = strconv.Quote(c.Key) + strconv.FormatBool(c.Not) + strings.Join(slices.Compact(patterns), "")
	}
	slices.Sort(conds)
	return strings.Join(slices.Compact(conds), " ")
}
