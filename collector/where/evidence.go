package where

import (
	"cmp"
	"math"
	"slices"
)

// cond is that a request has a value.
type cond struct {
	attribute int
	id        uint32
}

func (r *row) has(conds []cond) bool {
	for _, c := range conds {
		if r[c.attribute] != c.id {
			return false
		}
	}
	return true
}

// Groups of requests that are compared.
const (
	bad        = iota
	good       // in the window, as bad
	beforeGood // the newest before it
	usualBad   // all before it, but for times as bad as the window
	usualGood
	groups
)

// group holds samples of requests.
type group struct {
	rows    []row
	weights []float64 // requests each stands for
	size    float64   // their sum

	// count is how many samples of equal weight would tell as much.
	count float64
}

func (g *group) add(s *stratum) {
	for i := range s.kept {
		g.rows = append(g.rows, *s.row(i))
		g.weights = append(g.weights, float64(s.n)/float64(s.kept))
	}
}

func (g *group) sum() {
	squares := 0.0
	g.size, g.count = 0, 0
	for _, w := range g.weights {
		g.size += w
		squares += w * w
	}
	if squares > 0 {
		g.count = g.size * g.size / squares
	}
}

// share returns which share of the group meets conds.
func (g *group) share(conds []cond) float64 {
	x := 0.0
	for i := range g.rows {
		if g.rows[i].has(conds) {
			x += g.weights[i]
		}
	}
	return x / max(g.size, 1)
}

// split returns which share of the requests that meet given have also, and how
// many samples of equal weight the former are worth.
func (g *group) split(given, also cond) (share, count float64) {
	in := g.share([]cond{given})
	if in == 0 {
		return 0, 0
	}
	return g.share([]cond{given, also}) / in, in * g.count
}

// evidence is what is known about the bad requests of a window.
type evidence struct {
	where  []string
	groups [groups]group
}

// ratio returns which share of the requests were of class.
func (s *slice) ratio(class int) float64 {
	in, all := uint64(0), uint64(0)
	for i := range s.strata {
		all += s.strata[i].n
		if i&class != 0 {
			in += s.strata[i].n
		}
	}
	return float64(in) / float64(max(all, 1))
}

// median returns the ratio that half of the slices do not exceed, 0 if there are
// none.
func median(of []slice, class int) float64 {
	var ratios []float64
	for i := range of {
		ratios = append(ratios, of[i].ratio(class))
	}
	if len(ratios) == 0 {
		return 0
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// gather collects the samples of a flow for a window, in seconds since 1970.
// Those of class are the bad ones.
func (fl *flow) gather(class int, from, to int64) *evidence {
	e := &evidence{where: fl.where}
	// by adds up to both sides what a slice holds.
	by := func(s *slice, in, out *group) {
		for i := range s.strata {
			if g := out; i&class != 0 {
				if in != nil {
					in.add(&s.strata[i])
				}
			} else {
				g.add(&s.strata[i])
			}
		}
	}
	g := &e.groups
	for i := range fl.slices {
		if s := &fl.slices[i]; s.from < to && s.to > from {
			by(s, &g[bad], &g[good])
		}
	}
	g[bad].sum()
	g[good].sum()
	// Incidents before this one are not usual.
	until := fl.slices
	for len(until) > 0 && until[len(until)-1].to > from {
		until = until[:len(until)-1]
	}
	window := g[bad].size / max(1, g[bad].size+g[good].size)
	most := max(window/2, 2*median(until, class))
	for _, s := range slices.Backward(until) {
		if s.ratio(class) > most {
			continue
		}
		by(&s, &g[usualBad], &g[usualGood])
		if len(g[beforeGood].rows) < enoughBefore {
			by(&s, nil, &g[beforeGood])
		}
	}
	for i := beforeGood; i < groups; i++ {
		g[i].sum()
	}
	return e
}

// without returns the evidence that is left when requests that meet conds are
// put aside.
func (e *evidence) without(conds []cond) *evidence {
	out := &evidence{where: e.where}
	for i := range e.groups {
		from, to := &e.groups[i], &out.groups[i]
		for j := range from.rows {
			if !from.rows[j].has(conds) {
				to.rows = append(to.rows, from.rows[j])
				to.weights = append(to.weights, from.weights[j])
			}
		}
		to.sum()
	}
	return out
}

// found is a culprit that has no names yet.
type found struct {
	conds   []cond
	shares  [groups]float64
	control int     // the group that bad requests are compared with
	g       float64 // how much it explains
	culprit Culprit
}

// explain returns what sets the bad requests apart, the best explanation first,
// then symptoms.
func (e *evidence) explain() []found {
	var out []found
	for left := e; len(out) < maxCulprits; {
		x := left.best(e.groups[bad].size)
		if x == nil {
			break
		}
		out = append(out, *e.whole(x))
		left = left.without(x.conds)
	}
	singles := e.singles(true)
	passed := e.passed(singles, e.groups[bad].size)
	slices.SortFunc(passed, func(a, b *found) int { return cmp.Compare(b.shares[bad], a.shares[bad]) })
	var named []int
	for _, x := range passed {
		attribute := x.conds[0].attribute
		if x.shares[bad] >= 0.5 && e.unusual(x) && !slices.Contains(named, attribute) && len(named) < maxSymptoms {
			named = append(named, attribute)
			x.culprit.Symptom = true
			out = append(out, *x)
		}
	}
	return out
}

// unusual reports whether requests fail like x more often than those that failed
// before, as far as any did.
func (e *evidence) unusual(x *found) bool {
	b, usual := &e.groups[bad], &e.groups[usualBad]
	return usual.count < minBad || apart(x.shares[bad], b.count, x.shares[usualBad], usual.count, math.Log(falseAlarms))
}

// whole returns what was found in a part of the evidence with the figures of
// all of it.
func (e *evidence) whole(x *found) *found {
	out := &found{conds: x.conds, control: x.control}
	for i := range e.groups {
		out.shares[i] = e.groups[i].share(x.conds)
	}
	e.weigh(out)
	return out
}

// singles returns each value that enough of the requests compared have for it
// to be named, those of symptoms or all others.
func (e *evidence) singles(ofSymptoms bool) []*found {
	type tally struct {
		weights [groups]float64
		rows    int
	}
	seen := map[cond]*tally{}
	for i := range e.groups {
		g := &e.groups[i]
		for j := range g.rows {
			for a := range e.where {
				h := cond{a, g.rows[j][a]}
				if h.id == 0 || symptoms[e.where[a]] != ofSymptoms {
					continue
				}
				t := seen[h]
				if t == nil {
					t = &tally{}
					seen[h] = t
				}
				t.weights[i] += g.weights[j]
				if i <= beforeGood {
					t.rows++
				}
			}
		}
	}
	var out []*found
	for h, t := range seen {
		if t.rows < minBad {
			continue // whatever is bad of it, it cannot be enough
		}
		x := &found{conds: []cond{h}}
		for i := range t.weights {
			x.shares[i] = t.weights[i] / max(e.groups[i].size, 1)
		}
		x.control = e.control(x)
		out = append(out, x)
	}
	for _, x := range out {
		e.weigh(x)
	}
	slices.SortFunc(out, func(a, b *found) int { return cmp.Or(cmp.Compare(b.g, a.g), byConds(a, b)) })
	return out
}

func byConds(a, b *found) int {
	return slices.CompareFunc(a.conds, b.conds, func(a, b cond) int {
		return cmp.Or(cmp.Compare(a.attribute, b.attribute), cmp.Compare(a.id, b.id))
	})
}

// control returns which good requests to compare with: those of the window,
// unless they cannot tell.
func (e *evidence) control(x *found) int {
	g := &e.groups
	rolledOut := e.traffic(x) >= nearlyAll && x.shares[beforeGood] <= fewBefore
	if g[beforeGood].count >= fewGood && (g[good].count < fewGood || rolledOut) {
		return beforeGood
	}
	return good
}

// weigh fills in what follows from the shares.
func (e *evidence) weigh(x *found) {
	b, c := &e.groups[bad], &e.groups[x.control]
	x.g = gain(x.shares[bad], b.count, x.shares[x.control], c.count)
	if x.shares[bad] < x.shares[x.control] {
		x.g = -x.g
	}
	hasBad, hasGood := x.shares[bad]*b.size, x.shares[good]*e.groups[good].size
	x.culprit = Culprit{
		Bad: x.shares[bad], BadCount: uint64(math.Round(hasBad)), GoodCount: uint64(math.Round(hasGood)),
		Before: x.control == beforeGood,
	}
	if x.culprit.Before {
		x.culprit.Normal = x.shares[beforeGood]
		x.culprit.Lift = x.shares[bad] / max(x.shares[beforeGood], 0.5/c.count)
		return
	}
	size := b.size + e.groups[good].size
	x.culprit.Normal = e.traffic(x)
	// Half a bad request elsewhere keeps the lift finite.
	inside := hasBad / (hasBad + hasGood)
	outside := (b.size - hasBad + 0.5) / (size - hasBad - hasGood + 0.5)
	x.culprit.Lift = inside / outside
}

// expected returns which share of the bad requests x would have if its requests
// failed as often, compared with others, as they did before: at least its share of
// the good ones.
func (e *evidence) expected(x *found) float64 {
	normal := x.shares[x.control]
	b, g := &e.groups[usualBad], &e.groups[usualGood]
	has := x.shares[usualBad] * b.count
	if has < minBad-1 {
		return normal // it was not seen to be worse
	}
	hasNot := b.count - has
	wellHas := x.shares[usualGood] * g.count
	wellNot := g.count - wellHas
	worse := math.Log((has + 0.5) * (wellNot + 0.5) / ((hasNot + 0.5) * (wellHas + 0.5)))
	variance := 1/(has+0.5) + 1/(hasNot+0.5) + 1/(wellHas+0.5) + 1/(wellNot+0.5)
	// The less was seen, the nearer to one.
	times := math.Exp(worse / (1 + variance))
	if times <= 1 {
		return normal
	}
	traffic := normal
	if x.control == good {
		traffic = e.traffic(x)
	}
	return max(normal, traffic*times/(traffic*times+1-traffic))
}

// traffic returns the share of the window's requests that x has.
func (e *evidence) traffic(x *found) float64 {
	b, g := e.groups[bad].size, e.groups[good].size
	return (x.shares[bad]*b + x.shares[good]*g) / max(b+g, 1)
}

// passed returns those of singles that there is enough evidence for. The
// chance of a false alarm is divided by attributes, then by their values.
func (e *evidence) passed(singles []*found, allBad float64) []*found {
	values := map[int]int{}
	for _, x := range singles {
		values[x.conds[0].attribute]++
	}
	var out []*found
	for _, x := range singles {
		tests := len(values) * values[x.conds[0].attribute]
		if e.convicts(x, math.Log(falseAlarms/float64(tests)), allBad) {
			out = append(out, x)
		}
	}
	return out
}

// convicts reports whether there is enough evidence for x, where chance is how
// likely it may be to come out like this by chance, as a logarithm.
func (e *evidence) convicts(x *found, chance, allBad float64) bool {
	b := &e.groups[bad]
	if x.shares[bad]*b.count < minBad-0.5 || x.culprit.Lift < minLift {
		return false
	}
	if x.shares[bad]*b.size*(1-1/x.culprit.Lift) < minExplains*allBad {
		return false
	}
	return apart(x.shares[bad], b.count, e.expected(x), e.groups[x.control].count, chance)
}

// best returns the best explanation, nil without one. allBad is how many bad
// requests there are to explain.
func (e *evidence) best(allBad float64) *found {
	singles := e.singles(false)
	if len(singles) == 0 || e.groups[bad].size < minBad {
		return nil
	}
	candidates := append(e.passed(singles, allBad), e.pairs(singles, allBad)...)
	if len(candidates) == 0 {
		return nil
	}
	best := slices.MaxFunc(candidates, func(a, b *found) int {
		// A comparison within the window is the safer one.
		return cmp.Or(cmp.Compare(b.control, a.control), cmp.Compare(a.g, b.g), byConds(b, a))
	})
	for _, x := range candidates {
		if len(x.conds) == len(best.conds) && x.control == best.control && byConds(x, best) < 0 && e.twins(x, best) {
			best = x
		}
	}
	return best
}

// twins reports whether the same requests meet the conditions of x and y.
func (e *evidence) twins(x, y *found) bool {
	for _, i := range []int{bad, x.control} {
		g := &e.groups[i]
		differ, either := 0.0, 0.0
		for j := range g.rows {
			a, b := g.rows[j].has(x.conds), g.rows[j].has(y.conds)
			if a != b {
				differ += g.weights[j]
			}
			if a || b {
				either += g.weights[j]
			}
		}
		if differ > twins*either {
			return false
		}
	}
	return true
}

// pairs returns the pairs of values that explain what no value does: each of
// the two must tell bad requests from good ones among those that have the other.
func (e *evidence) pairs(singles []*found, allBad float64) []*found {
	var parts []*found
	control := e.control(&found{})
	for _, x := range singles {
		if x.g > 0 && x.control == control && x.shares[bad] >= minExplains && len(parts) < maxPaired {
			parts = append(parts, x)
		}
	}
	tests := math.Log(falseAlarms / float64(max(1, len(parts)*(len(parts)-1)/2)))
	partner := math.Log(falseAlarms / float64(max(1, len(parts))))
	var out []*found
	for i, a := range parts {
		for _, b := range parts[i+1:] {
			if a.conds[0].attribute == b.conds[0].attribute {
				continue
			}
			x := &found{conds: []cond{a.conds[0], b.conds[0]}, control: control}
			slices.SortFunc(x.conds, func(a, b cond) int { return cmp.Compare(a.attribute, b.attribute) })
			for i := range e.groups {
				x.shares[i] = e.groups[i].share(x.conds)
			}
			e.weigh(x)
			if x.g > parts[0].g+pairGain && e.convicts(x, tests, allBad) &&
				e.tells(x, a.conds[0], b.conds[0], partner) && e.tells(x, b.conds[0], a.conds[0], partner) {
				out = append(out, x)
			}
		}
	}
	return out
}

// tells reports whether also tells bad requests from good ones among those that
// meet given.
func (e *evidence) tells(x *found, given, also cond, chance float64) bool {
	inBad, nBad := e.groups[bad].split(given, also)
	inGood, nGood := e.groups[x.control].split(given, also)
	return apart(inBad, nBad, inGood, nGood, chance)
}

// apart reports whether share x of n requests is more than share y of m others,
// by odds of at least minOdds and less likely by chance than a logarithm says.
func apart(x, n, y, m, chance float64) bool {
	a, b, c, d := x*n, (1-x)*n, y*m, (1-y)*m
	if (a+0.5)*(d+0.5) < minOdds*(b+0.5)*(c+0.5) {
		return false
	}
	return atLeast(math.Round(a), math.Round(a)+math.Round(b), math.Round(c), math.Round(c)+math.Round(d)) < chance
}

// atLeast returns the logarithm of how likely it is that of n and m requests at
// least a of the n have what a+c of all have, by chance: Fisher's exact test.
func atLeast(a, n, c, m float64) float64 {
	k := a + c
	choose := func(n, k float64) float64 {
		x, _ := math.Lgamma(n + 1)
		y, _ := math.Lgamma(k + 1)
		z, _ := math.Lgamma(n - k + 1)
		return x - y - z
	}
	term, sum := 1.0, 1.0
	for i := a; i < min(n, k) && term > sum*1e-9; i++ {
		term *= (n - i) * (k - i) / ((i + 1) * (m - k + i + 1))
		sum += term
	}
	return choose(n, a) + choose(m, c) - choose(n+m, k) + math.Log(sum)
}

// gain returns the G statistic of share x of n requests against share y of m
// others: twice the logarithm of how much more likely what was seen is when the
// shares differ.
func gain(x, n, y, m float64) float64 {
	p := (x*n + y*m) / max(n+m, 1)
	part := func(observed, expected float64) float64 {
		if observed <= 0 {
			return 0
		}
		return observed * math.Log(observed/expected)
	}
	return 2 * (part(x*n, p*n) + part((1-x)*n, (1-p)*n) + part(y*m, p*m) + part((1-y)*m, (1-p)*m))
}
