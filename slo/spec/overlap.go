package spec

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

const (
	// maxOverlaps is how many flows are told to overlap with others.
	maxOverlaps = 20

	// maxPairs is how many pairs of overlapping flows are looked for. A glob too
	// wide overlaps with hundreds; every pair of 100 flows is 4,950.
	maxPairs = 5000

	// maxEffort bounds the time that is spent on looking, in steps of some
	// nanoseconds: a third of a second. The 124,750 pairs of 500 flows take less,
	// whatever their patterns are.
	maxEffort = 50_000_000

	// A pair of flows takes that many steps for each pair of their patterns, and
	// that many times more where globs have exceptions.
	perPatterns, perException = 20, 200
)

// overlap is a pair of flows that a span can count for together.
type overlap struct {
	first, second *slo.Flow // in the order they are written
	example       map[string]string
}

// warnOverlaps warns of flows of one service that a span can count for
// together, and refuses those that pick the very same spans.
func warnOverlaps(flows []slo.Flow, faults *source.Collector) {
	var found []overlap
	with := map[*slo.Flow]int{} // how many a flow overlaps with
	services := map[string][]*picker{}
	known := map[string]*slo.Flow{}
	for i := range flows {
		f := &flows[i]
		if !f.Counted() {
			continue
		}
		id := f.Service + " " + f.Match.Normal()
		if first, same := known[id]; same {
			faults.Add(source.Fault{
				Pos: f.Match.Pos(f.Pos), Path: source.Join("flows", f.Name) + ".match",
				Fact: fmt.Sprintf("picks the same spans as flow %s at %s", first.Name, first.Pos),
				Want: "want one of them narrowed, or one flow with the objectives of both",
			})
			continue
		}
		known[id] = f
		if slices.ContainsFunc(f.Match, func(c slo.Condition) bool { return meant(c.Key) != "" }) {
			continue // what it picks is not what was meant, and has been told
		}
		services[f.Service] = append(services[f.Service], newPicker(f))
	}
	effort := 0
	for _, service := range slices.Sorted(maps.Keys(services)) {
		for a, b := range neighbours(services[service], &effort) {
			steps := perPatterns * a.patterns * b.patterns
			if a.exceptions || b.exceptions {
				steps *= perException
			}
			if effort += steps; effort > maxEffort {
				break
			}
			example, ok := slo.Common(a.selector, b.selector)
			if !ok {
				continue
			}
			if byPos(a.flow.Pos, b.flow.Pos) > 0 {
				a, b = b, a
			}
			found = append(found, overlap{a.flow, b.flow, example})
			with[a.flow]++
			with[b.flow]++
			if len(found) == maxPairs {
				break
			}
		}
	}
	tell(found, with, faults)
}

// tell warns of each flow that overlaps with others once: of two, the one that
// does with more, as it is likely the one too wide.
func tell(found []overlap, with map[*slo.Flow]int, faults *source.Collector) {
	wide := map[*slo.Flow][]overlap{}
	for _, o := range found {
		f := o.second
		if with[o.first] > with[o.second] {
			f = o.first
		}
		wide[f] = append(wide[f], o)
	}
	order := slices.SortedFunc(maps.Keys(wide), func(a, b *slo.Flow) int { return byPos(a.Pos, b.Pos) })
	for i, f := range order {
		place := source.Fault{Pos: f.Match.Pos(f.Pos), Path: source.Join("flows", f.Name) + ".match"}
		if i == maxOverlaps {
			place.Fact = fmt.Sprintf("overlaps, and %d flows after it", len(order)-i-1)
			place.Want = "want those before it narrowed first"
			faults.Warn(place)
			return
		}
		o := wide[f][0]
		other := o.first
		if other == f {
			other = o.second
		}
		place.Fact = fmt.Sprintf("overlaps with flow %s at %s", other.Name, other.Pos)
		if more := len(wide[f]) - 1; more > 0 {
			place.Fact += fmt.Sprintf(" and %d more", more)
		}
		place.Fact += fmt.Sprintf(": %s counts for %s and for %s", spanWords(o.example), f.Name, other.Name)
		place.Want = "want one of them narrowed, as with {not: …}, unless that is meant"
		faults.Warn(place)
	}
}

// byPos orders places.
func byPos(a, b slo.Pos) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

// spanWords describes a span by its attributes: "POST /api/checkout", "a span
// with tenant.id acme".
func spanWords(attributes map[string]string) string {
	method, route := attributes[slo.KeyMethod], cmp.Or(attributes[slo.KeyRoute], attributes[pathKey])
	var words []string
	if method != "" || route != "" {
		words = append(words, strings.TrimSpace(method+" "+route))
	}
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		if key != slo.KeyMethod && key != slo.KeyRoute && key != pathKey {
			words = append(words, source.Brief(key+" "+attributes[key]))
		}
	}
	switch {
	case len(words) == 0:
		return "every span"
	case method == "" && route == "":
		return "a span with " + strings.Join(words, ", ")
	case len(words) > 1:
		return source.Brief(words[0]) + " with " + strings.Join(words[1:], ", ")
	default:
		return source.Brief(words[0])
	}
}

const pathKey = "url.path"

// picker is a flow with what its selector says without saying so: that a span
// named "GET /stock/{id}" is of that method and route, and that a request has
// no message queue.
type picker struct {
	flow     *slo.Flow
	selector slo.Selector
	protocol protocol
	key      string // of the condition that tells it from most others, if any
	texts    []pickedText

	patterns   int  // of all conditions
	exceptions bool // some globs have them
}

// pickedText is what a pattern begins and ends with, or all of it.
type pickedText struct {
	text, end string
	literal   bool
}

// protocol is what spans of a flow belong to, as far as its selector says.
// Spans belong to one: a request is not a message, whatever attributes the
// language would allow them both.
type protocol uint8

const (
	anyProtocol protocol = iota
	http
	messaging
	rpc
	named // spans with a name that none of the conventions gives
)

func newPicker(f *slo.Flow) *picker {
	p := &picker{flow: f, selector: slices.Clone(f.Match)}
	has := map[string]bool{}
	for _, c := range f.Match {
		has[c.Key] = has[c.Key] || !c.Not
	}
	for _, c := range f.Match {
		if c.Key == slo.KeyName && !c.Not {
			p.name(c, has)
		}
	}
	if route, ok := positive(p.selector, slo.KeyRoute); ok && !has[pathKey] {
		p.selector = append(p.selector, pathOf(route))
	}
	for _, c := range f.Match {
		if c.Not {
			continue
		}
		space, _, _ := strings.Cut(c.Key, ".")
		switch {
		case space == "http" || space == "url":
			p.protocol = http
		case space == "messaging", c.Key == slo.KeyKind && !c.Fits("server", true) && !c.Fits("client", true) && !c.Fits("internal", true):
			p.protocol = messaging
		case space == "rpc":
			p.protocol = rpc
		}
	}
	for _, c := range p.selector {
		p.patterns += len(c.Any)
	}
	for _, c := range f.Match {
		_, wanted := positive(p.selector, c.Key)
		p.exceptions = p.exceptions || c.Not && wanted
	}
	p.pick()
	return p
}

// name takes over what a condition on the name says of protocol, method and
// route.
func (p *picker) name(c slo.Condition, has map[string]bool) {
	verbs := slo.Condition{Key: slo.KeyMethod}
	routes := slo.Condition{Key: slo.KeyRoute}
	for _, pattern := range c.Any {
		verb, route, spaced := strings.Cut(pattern.Text, " ")
		if !slices.Contains(methods, verb) || spaced && !strings.HasPrefix(route, "/") && !strings.HasPrefix(route, "*") {
			if !strings.HasPrefix(pattern.Text, "*") {
				p.protocol = named
			}
			return
		}
		verbs.Any = append(verbs.Any, slo.Pattern{Text: verb})
		if spaced {
			routes.Any = append(routes.Any, slo.Pattern{Text: route})
		}
	}
	p.protocol = http
	if !has[slo.KeyMethod] {
		p.selector = append(p.selector, verbs)
	}
	if !has[slo.KeyRoute] && len(routes.Any) == len(c.Any) {
		p.selector = append(p.selector, routes)
	}
}

// pathOf returns the condition that a route puts on the path: parameters, as
// any framework writes them, take any text.
func pathOf(route slo.Condition) slo.Condition {
	out := slo.Condition{Key: pathKey}
	for _, p := range route.Any {
		segments := strings.Split(p.Text, "/")
		for i, s := range segments {
			if strings.ContainsAny(s, ":{<") {
				segments[i] = "*"
			}
		}
		out.Any = append(out.Any, slo.Pattern{Text: strings.Join(segments, "/")})
	}
	return out
}

func positive(s slo.Selector, key string) (slo.Condition, bool) {
	i := slices.IndexFunc(s, func(c slo.Condition) bool {
		return c.Key == key && !c.Not && !slices.ContainsFunc(c.Any, func(p slo.Pattern) bool { return p.Op != slo.Like })
	})
	if i < 0 {
		return slo.Condition{}, false
	}
	return s[i], true
}

// pick finds the condition by which neighbours are found.
func (p *picker) pick() {
	for _, key := range []string{slo.KeyRoute, pathKey, slo.KeyName, "messaging.destination.name", "rpc.method"} {
		if _, ok := positive(p.selector, key); ok {
			p.key = key
			break
		}
	}
	if p.key == "" {
		for _, c := range p.selector {
			if _, ok := positive(p.selector, c.Key); ok && slo.Vocabulary(c.Key) == nil && c.Key != slo.KeyMethod && (p.key == "" || c.Key < p.key) {
				p.key = c.Key
			}
		}
	}
	if p.key == "" {
		p.texts = []pickedText{{}}
		return
	}
	c, _ := positive(p.selector, p.key)
	for _, pattern := range c.Any {
		text, rest, glob := strings.Cut(pattern.Text, "*")
		if !glob {
			rest = text
		}
		p.texts = append(p.texts, pickedText{text, rest[strings.LastIndexByte(rest, '*')+1:], !glob})
	}
}

// neighbours yields the pairs that may overlap, each once: those whose texts
// begin alike where both are told apart by one attribute, and of the others
// those of one protocol. Of 500 flows with routes of their own that is none,
// instead of 124,750 pairs. It ends when effort, to which it adds its steps, is
// more than maxEffort.
func neighbours(all []*picker, effort *int) func(yield func(a, b *picker) bool) {
	type entry struct {
		pickedText
		*picker
	}
	groups := map[string][]entry{}
	for _, p := range all {
		for _, t := range p.texts {
			groups[p.key] = append(groups[p.key], entry{t, p})
		}
	}
	keys := slices.Sorted(maps.Keys(groups))
	for _, key := range keys {
		slices.SortStableFunc(groups[key], func(a, b entry) int { return strings.Compare(a.text, b.text) })
	}
	return func(yield func(a, b *picker) bool) {
		seen := map[[2]*picker]bool{}
		once := func(a, b *picker) bool {
			if a == b || seen[[2]*picker{a, b}] || seen[[2]*picker{b, a}] ||
				a.protocol != b.protocol && a.protocol != anyProtocol && b.protocol != anyProtocol {
				return true
			}
			if len(a.texts)+len(b.texts) > 2 { // they may meet again
				seen[[2]*picker{a, b}] = true
			}
			return yield(a, b)
		}
		for i, key := range keys {
			group := groups[key]
			for j, a := range group {
				for _, b := range group[j+1:] {
					if *effort++; *effort > maxEffort {
						return
					}
					if !strings.HasPrefix(b.text, a.text) || a.literal && a.text != b.text {
						break
					}
					if (strings.HasSuffix(a.end, b.end) || strings.HasSuffix(b.end, a.end)) && !once(a.picker, b.picker) {
						return
					}
				}
			}
			for _, other := range keys[i+1:] {
				for _, a := range group {
					for _, b := range groups[other] {
						if *effort++; *effort > maxEffort {
							return
						}
						if !once(a.picker, b.picker) {
							return
						}
					}
				}
			}
		}
	}
}
