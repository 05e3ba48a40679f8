// Package match tells which flows a span counts for.
package match

import (
	"bytes"
	"unicode/utf8"

	"github.com/slowburn-slo/slowburn/collector/span"
)

// Matcher tells which flows a span counts for. It is for one goroutine at a
// time. Its methods do not allocate, except to make its buffers large enough.
type Matcher struct {
	*Program

	// The groups of the service asked for last, valid if known: spans come
	// grouped by service.
	service []byte
	groups  []*group
	known   bool

	route  route  // of the span in hand
	number []byte // scratch: a number as text
}

// Match appends to dst the flows that sp counts for, as indices into the flows
// given to Compile: usually none or one, in no particular order.
func (m *Matcher) Match(sp *span.Span, dst []int32) []int32 {
	m.route.done = false
	found := len(dst)
	for _, g := range m.groupsOf(sp) {
		for i := range g.indexes {
			x := &g.indexes[i]
			t := m.text(x.source, sp)
			if !t.ok {
				continue
			}
			dst = m.try(x.flows[t.s], sp, dst, found)
			if x.source.is == aRoute && m.route.made && m.route.path != t.s {
				dst = m.try(x.flows[m.route.path], sp, dst, found)
			}
		}
		dst = m.try(g.rest, sp, dst, found)
	}
	return dst
}

// try appends the candidates whose conditions hold and that are not in
// dst[found:] yet.
func (m *Matcher) try(candidates []candidate, sp *span.Span, dst []int32, found int) []int32 {
	for i := range candidates {
		c := &candidates[i]
		if m.all(c.conds, sp) && !contains(dst[found:], c.flow) {
			dst = append(dst, c.flow)
		}
	}
	return dst
}

func contains(flows []int32, flow int32) bool {
	for _, f := range flows {
		if f == flow {
			return true
		}
	}
	return false
}

// groupsOf returns the groups of flows of the span's service.
func (m *Matcher) groupsOf(sp *span.Span) []*group {
	service := sp.Resource(m.serviceSlot).Bytes()
	if m.known && bytes.Equal(m.service, service) {
		return m.groups
	}
	m.service, m.known = append(m.service[:0], service...), true
	m.groups = m.groups[:0]
	if g := m.services[view(service)]; g != nil {
		m.groups = append(m.groups, g)
		return m.groups
	}
	for _, s := range m.globs {
		if s.pattern.Fits(view(service)) {
			m.groups = append(m.groups, s.group)
		}
	}
	return m.groups
}

// Bad reports whether sp is a failed request of the flow: by the flow's
// BadWhen, or else when its status is ERROR or its HTTP status 500 or above.
func (m *Matcher) Bad(flow int32, sp *span.Span) bool {
	if bad := m.flows[flow].bad; len(bad) > 0 {
		m.route.done = false
		return m.all(bad, sp)
	}
	if sp.Status == span.Error {
		return true
	}
	code, ok := numberOf(m.statusCode.value(sp))
	return ok && code >= 500
}

// By returns the value by which the flow is split, as valid UTF-8: nil if the
// flow is not split, empty if the span has no such attribute. The value lies in
// the request's bytes or, where it has to be written first, at the end of kept,
// which By returns with it: kept[:0] starts over once the values are used.
func (m *Matcher) By(flow int32, sp *span.Span, kept []byte) (value, keptNow []byte) {
	f := &m.flows[flow]
	if !f.split {
		return nil, kept
	}
	m.route.done = false
	t := m.text(f.by, sp)
	switch {
	case t.s == "":
		return []byte{}, kept
	case !t.own && utf8.ValidString(t.s):
		return bytesOf(t.s), kept
	}
	lo := len(kept)
	for _, r := range t.s { // a byte that is no UTF-8 reads as U+FFFD
		kept = utf8.AppendRune(kept, r)
	}
	return kept[lo:len(kept):len(kept)], kept
}

// Compared calls put with the text of each attribute in the flow's Compared, by
// its index there: empty where the span has none. A text is valid until put
// returns, and need not be UTF-8.
func (m *Matcher) Compared(flow int32, sp *span.Span, put func(attribute int, text []byte)) {
	m.route.done = false
	for i, from := range m.flows[flow].compared {
		put(i, bytesOf(m.text(from, sp).s))
	}
}

// Route returns the route of an HTTP request, empty if it has none: http.route,
// else url.template, else the path in a name such as "GET /stock/{id}", else
// the path that was asked for with its numbers and ids replaced by {id}. It is
// valid until the next call of a method.
func (m *Matcher) Route(sp *span.Span) []byte {
	m.route.done = false
	return bytesOf(m.text(source{is: aRoute}, sp).s)
}

// Method returns the method of an HTTP request as the sender wrote it, empty if
// it has none.
func (m *Matcher) Method(sp *span.Span) []byte { return m.method.value(sp).Bytes() }

// Origin is who sent a span, as its resource says: texts of the request, each
// empty where it is missing.
type Origin struct {
	Service, Version          []byte
	Language, SDK, SDKVersion []byte // of the instrumentation
}

// Origin returns who sent the spans of a resource.
func (p *Program) Origin(sp *span.Span) Origin {
	return Origin{
		Service:    sp.Resource(p.serviceSlot).Bytes(),
		Version:    sp.Resource(p.versionSlot).Bytes(),
		Language:   sp.Resource(p.languageSlot).Bytes(),
		SDK:        sp.Resource(p.sdkSlot).Bytes(),
		SDKVersion: sp.Resource(p.sdkVersionSlot).Bytes(),
	}
}

// Names reports whether a flow is for the service, by its name or by a glob.
func (p *Program) Names(service string) bool {
	if g := p.services[service]; g != nil {
		return true
	}
	for _, s := range p.globs {
		if s.pattern.Fits(service) {
			return true
		}
	}
	return false
}
