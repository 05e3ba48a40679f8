package match

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/slo"
)

// Attributes the matcher reads on its own account. Those of the older
// generation of HTTP conventions are read where the current one is missing.
const (
	keyService  = "service.name"
	keyPath     = "url.path"
	keyTemplate = "url.template"

	keyVersion    = "service.version"
	keyLanguage   = "telemetry.sdk.language"
	keySDK        = "telemetry.sdk.name"
	keySDKVersion = "telemetry.sdk.version"

	keyEnvironment = "deployment.environment.name"

	oldMethod     = "http.method"
	oldStatusCode = "http.status_code"
	oldTarget     = "http.target"

	oldEnvironment = "deployment.environment"
)

// Program is what flows compile to. It is immutable and safe for concurrent
// use; each goroutine takes a Matcher of its own.
type Program struct {
	keys     *span.Keys
	flows    []flow
	services map[string]*group // by literal service name
	globs    []serviceGlob     // for services that are not among them

	serviceSlot, routeSlot, templateSlot, pathSlot, targetSlot int

	versionSlot, languageSlot, sdkSlot, sdkVersionSlot int

	statusCode, method source
}

// Matcher returns a Matcher of the flows.
func (p *Program) Matcher() *Matcher { return &Matcher{Program: p} }

// Keys returns the attributes that a span.Decoder must read for the Matchers.
func (p *Program) Keys() *span.Keys { return p.keys }

// flow is what Bad, By and Compared need of a flow.
type flow struct {
	bad      []condition // none means the default
	split    bool
	by       source
	compared []source
}

// group holds the flows of a service. Those that want one of some literal texts
// are found by hash, the rest are tried in turn.
type group struct {
	indexes []index
	rest    []candidate
}

type serviceGlob struct {
	pattern slo.Pattern
	group   *group
}

type index struct {
	source
	flows map[string][]candidate
}

// candidate is a flow with the conditions that are left to check.
type candidate struct {
	flow  int32
	conds []condition
}

// Compile prepares flows for matching. A flow's Service is compared with the
// resource attribute service.name, empty where there is none, and may be a glob.
//
// Two flows of one service with the same selector are an error, which names the
// places of both; all such conflicts are found. Flows that overlap are fine: a
// span counts for each. A flow that is not Counted matches nothing.
func Compile(flows []slo.Flow) (*Program, error) {
	if err := conflicts(flows); err != nil {
		return nil, err
	}
	c := &compiler{slots: map[string]int{}}
	p := &Program{
		services:     map[string]*group{},
		serviceSlot:  c.slot(keyService),
		routeSlot:    c.slot(slo.KeyRoute),
		templateSlot: c.slot(keyTemplate),
		pathSlot:     c.slot(keyPath),
		targetSlot:   c.slot(oldTarget),
		statusCode:   c.source(slo.KeyStatusCode),
		method:       c.source(slo.KeyMethod),

		versionSlot:    c.slot(keyVersion),
		languageSlot:   c.slot(keyLanguage),
		sdkSlot:        c.slot(keySDK),
		sdkVersionSlot: c.slot(keySDKVersion),
	}
	selectors := make([][]condition, len(flows))
	for i := range flows {
		f := &flows[i]
		selectors[i] = c.conditions(f.Match)
		compiled := flow{bad: c.conditions(f.BadWhen), split: f.By != ""}
		if compiled.split {
			compiled.by = c.source(f.By)
		}
		for _, key := range f.Compared() {
			compiled.compared = append(compiled.compared, c.source(key))
		}
		p.flows = append(p.flows, compiled)
		service := slo.Pattern{Op: slo.Like, Text: f.Service}
		switch {
		case service.Literal():
			p.services[f.Service] = &group{}
		case !slices.ContainsFunc(p.globs, func(s serviceGlob) bool { return s.pattern == service }):
			p.globs = append(p.globs, serviceGlob{service, &group{}})
		}
	}
	for i := range flows {
		if !flows[i].Counted() {
			continue
		}
		service := slo.Pattern{Op: slo.Like, Text: flows[i].Service}
		for name, g := range p.services {
			if service.Fits(name) {
				g.add(int32(i), selectors[i])
			}
		}
		for _, s := range p.globs {
			if s.pattern == service {
				s.group.add(int32(i), selectors[i])
			}
		}
	}
	p.keys = span.NewKeys(c.names)
	return p, nil
}

// compiler gives attributes their slots.
type compiler struct {
	slots map[string]int
	names []string
}

func (c *compiler) slot(key string) int {
	slot, ok := c.slots[key]
	if !ok {
		slot = len(c.names)
		c.slots[key] = slot
		c.names = append(c.names, key)
	}
	return slot
}

func (c *compiler) source(key string) source {
	both := func(old string) source { return source{slot: c.slot(key), old: c.slot(old)} }
	switch key {
	case slo.KeyKind:
		return source{is: aKind}
	case slo.KeyName:
		return source{is: aName}
	case slo.KeyStatus:
		return source{is: aStatus}
	case slo.KeyRoute:
		return source{is: aRoute}
	case keyPath:
		return source{is: aPath}
	case slo.KeyMethod:
		return both(oldMethod)
	case slo.KeyStatusCode:
		return both(oldStatusCode)
	case keyEnvironment:
		return both(oldEnvironment)
	default:
		return both(key)
	}
}

func (c *compiler) conditions(sel slo.Selector) []condition {
	var out []condition
	for _, s := range sel {
		cond := condition{source: c.source(s.Key), not: s.Not}
		for _, p := range s.Any {
			switch {
			case p.Op != slo.Like:
				cond.numbers = append(cond.numbers, p)
			case p.Literal():
				cond.literals = append(cond.literals, p.Text)
			default:
				cond.globs = append(cond.globs, newGlob(p))
			}
		}
		if len(cond.literals) > 8 {
			cond.set = map[string]bool{}
			for _, l := range cond.literals {
				cond.set[l] = true
			}
		}
		out = append(out, cond)
	}
	return out
}

// add puts a flow where it is found fastest: under the literals of the condition
// that tells most flows apart.
func (g *group) add(flow int32, conds []condition) {
	best, rank := -1, 0
	for i := range conds {
		if r := conds[i].rank(); r > rank {
			best, rank = i, r
		}
	}
	if best < 0 {
		g.rest = append(g.rest, candidate{flow, conds})
		return
	}
	c := &conds[best]
	i := slices.IndexFunc(g.indexes, func(x index) bool { return x.source == c.source })
	if i < 0 {
		i = len(g.indexes)
		g.indexes = append(g.indexes, index{c.source, map[string][]candidate{}})
	}
	left := slices.Concat(conds[:best], conds[best+1:])
	for _, text := range slices.Compact(slices.Sorted(slices.Values(c.literals))) {
		g.indexes[i].flows[text] = append(g.indexes[i].flows[text], candidate{flow, left})
	}
}

// rank tells how well a condition tells flows apart, 0 if they cannot be found
// by it because it wants anything but literals.
func (c *condition) rank() int {
	switch {
	case c.not || len(c.literals) == 0 || len(c.globs) > 0 || len(c.numbers) > 0:
		return 0
	case c.is == aRoute:
		return 5
	case c.is == aPath:
		return 4
	case c.is == aName:
		return 3
	case c.is == anAttribute && c.old == c.slot:
		return 2
	default:
		return 1 // methods, kinds and the like: few values for many flows
	}
}

// conflicts returns an error for each flow that matches the same spans as an
// earlier one.
func conflicts(flows []slo.Flow) error {
	var errs []error
	first := map[string]*slo.Flow{}
	for i := range flows {
		f := &flows[i]
		if !f.Counted() {
			continue
		}
		key := normal(f)
		if g := first[key]; g != nil {
			errs = append(errs, fmt.Errorf("%s: flow %s matches the same spans as flow %s at %s; want one of them narrowed", f.Pos, f.Name, g.Name, g.Pos))
			continue
		}
		first[key] = f
	}
	return errors.Join(errs...)
}

// normal writes what a flow matches so that equal selectors give equal text,
// however they are ordered.
func normal(f *slo.Flow) string {
	var conds []string
	for _, c := range f.Match {
		var patterns []string
		for _, p := range c.Any {
			patterns = append(patterns, fmt.Sprintf("%d%q", p.Op, stars(p)))
		}
		slices.Sort(patterns)
		conds = append(conds, fmt.Sprintf("%q %t %q", c.Key, c.Not, slices.Compact(patterns)))
	}
	slices.Sort(conds)
	return fmt.Sprintf("%q %q", f.Service, slices.Compact(conds))
}

// stars writes a pattern with no two * in a row.
func stars(p slo.Pattern) string {
	s := p.String()
	for p.Op == slo.Like && strings.Contains(s, "**") {
		s = strings.ReplaceAll(s, "**", "*")
	}
	return s
}
