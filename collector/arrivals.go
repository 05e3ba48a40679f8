package collector

import (
	"cmp"
	"hash/crc32"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/slowburn-slo/slowburn/collector/match"
	"github.com/slowburn-slo/slowburn/collector/span"
)

// Arrivals is what came in since the start, for people who set senders up.
//
// Names are what senders wrote, as valid UTF-8 of at most 128 bytes: nothing to
// trust, and no labels. At most 100 services and 200 routes of each are kept,
// some 15 MB where a sender makes up all of them; the least recently seen makes
// room once it was silent for a minute.
type Arrivals struct {
	Spans     uint64  // in requests that were accepted
	PerSecond float64 // over the last ten to twenty seconds, as everywhere here
	Last      time.Time

	Services []ServiceArrival // by name
	More     int              // about how many services there was no room for

	Rejected []Rejection
}

// ServiceArrival is what came in from one service. Spans are counted exactly.
type ServiceArrival struct {
	Name      string // service.name; empty when its spans have none
	Spans     uint64 // of all kinds
	PerSecond float64
	Last      time.Time

	Language, SDK string // telemetry.sdk.language; name and version
	Versions      []Version

	// Routes are where requests enter the service: spans of kind SERVER or
	// CONSUMER and the roots of traces, the busiest first.
	Routes []RouteArrival
	More   int // about how many routes there was no room for

	// Sampled says that there was too much to look at every request: the
	// figures of the routes are estimates, and rare routes may be missing.
	Sampled bool
}

// RouteArrival is what came in for one route.
type RouteArrival struct {
	Kind      string // of span: server, consumer, client, producer or internal
	Method    string // of HTTP; empty for other requests
	Route     string // the span's name where there is no route
	Requests  uint64
	PerSecond float64
	Last      time.Time

	// Flows are those its requests counted for since the flows were applied, as
	// service/flow; none means that no objective watches it. Until its first
	// request after that, they are as before.
	Flows []string
}

// Version is a version of a service.
type Version struct {
	Value string // service.version

	// First is when it was first seen, or seen again after the service ran for
	// five minutes without it: rolling back is a deploy too.
	First time.Time
}

// Rejection counts spans of flows that were not counted, for one reason.
type Rejection struct {
	Reason string
	Spans  uint64
	Last   time.Time
}

const (
	maxServices   = 100
	maxRoutes     = 200 // of a service
	maxRouteFlows = 16  // of a route
	maxText       = 128 // bytes

	// idle is how long a service or a route must be silent to make room for
	// another: names that are made up cannot push out those in use.
	idle = time.Minute

	// looks is how many requests of a service are looked at in a second before
	// some are left out. Below that, everything is seen.
	looks = 256

	// maxSights is how many requests of one body are looked at before each
	// second one is left out, and so on.
	maxSights = 64

	// maxOrigins is how many resources of one body are told apart. A batch of a
	// Collector has some dozens.
	maxOrigins = 1000
)

// notes are what a worker saw of the request in hand.
type notes struct {
	origins []origin
	sights  []sight
	text    []byte  // of the sights
	flows   []int32 // of the sights

	open   bool       // whether the last origin is the one in hand
	before span.Stats // when it began
	next   uint32     // entry spans until the one to look at
	stride uint32     // one in so many is looked at
	least  uint32     // what stride is at least in this request
}

// origin is the resource of some spans: a view on the request.
type origin struct {
	match.Origin
	spans, entries int
}

// sight is a request that was looked at.
type sight struct {
	origin        int
	weight        uint32 // how many requests it stands for
	kind          span.Kind
	method, route []byte
	flows         []int32
}

func (n *notes) begin() {
	clear(n.origins)
	clear(n.sights)
	n.origins, n.sights, n.text, n.flows = n.origins[:0], n.sights[:0], n.text[:0], n.flows[:0]
	n.open, n.next, n.least = false, math.MaxUint32, 1
}

// close gives the origin in hand the spans since it began.
func (n *notes) close(now span.Stats) {
	if !n.open {
		return
	}
	n.open = false
	last := &n.origins[len(n.origins)-1]
	last.spans, last.entries = now.Spans-n.before.Spans, now.Entry-n.before.Entry
	if last.spans == 0 {
		n.origins = n.origins[:len(n.origins)-1]
	}
}

// enter begins a resource.
func (w *worker) enter(sp *span.Span, before span.Stats) {
	n := &w.notes
	n.close(before)
	if len(n.origins) == maxOrigins {
		n.next = math.MaxUint32 // more than a request may hold
		return
	}
	o := w.matcher.Origin(sp)
	n.origins = append(n.origins, origin{Origin: o})
	n.open, n.before = true, before
	n.stride = max(n.least, w.arrivals.stride(o.Service))
	n.next = 1
	if n.stride > 1 {
		n.next += rand.Uint32N(n.stride)
	}
}

// look notes an entry span and the flows it counts for.
func (w *worker) look(sp *span.Span) {
	n := &w.notes
	s := sight{origin: len(n.origins) - 1, weight: n.stride}
	if s.kind = sp.Kind; s.kind < span.Server || s.kind > span.Consumer {
		s.kind = span.Internal
	}
	s.method = n.keep(w.matcher.Method(sp))
	route := w.matcher.Route(sp)
	if len(route) == 0 {
		route = sp.Name
	}
	s.route = n.keep(route)
	from := len(n.flows)
	n.flows = append(n.flows, w.flows[:min(len(w.flows), maxRouteFlows)]...)
	s.flows = n.flows[from:]
	n.sights = append(n.sights, s)
	if len(n.sights)%maxSights == 0 {
		n.least *= 2
		n.stride = max(n.stride, n.least)
	}
	n.next = n.stride
}

// keep copies a text to where it stays until the next request.
func (n *notes) keep(text []byte) []byte {
	from := len(n.text)
	n.text = appendText(n.text, text)
	return n.text[from:]
}

// appendText appends text as valid UTF-8, cut after maxText bytes. An invalid
// byte becomes U+FFFD.
func appendText(dst, text []byte) []byte {
	from := len(dst)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if len(dst)-from+utf8.RuneLen(r) > maxText {
			break
		}
		dst = utf8.AppendRune(dst, r)
		text = text[size:]
	}
	return dst
}

// arrivals keeps what Arrivals shows.
type arrivals struct {
	mu       sync.RWMutex
	total    tally
	services map[string]*service
	room     room
	rejected [reasons]tally
	deployed bool // versions were not written down yet
}

// service is one service that sends.
type service struct {
	name   string
	named  bool // by a flow
	spans  tally
	routes map[routeID]*route
	room   room
	history

	language, sdk, sdkVersion string

	// How many of its requests are looked at.
	stride          uint32 // one in so many
	sampled         bool   // it was more than one
	window          int64  // ns; when entries and looked began
	entries, looked uint64
}

// routeID is what tells routes of a service apart.
type routeID struct {
	kind          span.Kind
	method, route string
}

type route struct {
	routeID
	requests tally
	flows    []string
	stale    bool // flows are of flows that were replaced
}

func newArrivals() *arrivals { return &arrivals{services: map[string]*service{}} }

// stride returns which share of a service's requests to look at: one in so many.
func (a *arrivals) stride(service []byte) uint32 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if s := a.services[string(service)]; s != nil {
		return s.stride
	}
	return 1
}

// apply takes in that the flows were replaced.
func (a *arrivals) apply(next *plan) {
	kept := map[string]bool{}
	for _, id := range next.ids {
		kept[id] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.services {
		s.named = next.program.Names(s.name)
		for _, r := range s.routes {
			r.flows = slices.DeleteFunc(r.flows, func(id string) bool { return !kept[id] })
			r.stale = true
		}
	}
}

// commit takes in a request that arrived at now (ns) and was accepted.
func (a *arrivals) commit(n *notes, pl *plan, stats span.Stats, now int64, rejected *[reasons]int64) {
	n.close(stats)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total.add(uint64(stats.Spans), now)
	for i, count := range rejected {
		if count > 0 {
			a.rejected[i].add(uint64(count), now)
		}
	}
	sights := n.sights
	for i := range n.origins {
		o := &n.origins[i]
		s := a.service(o.Service, pl, now)
		if s != nil {
			a.arrive(s, o, now)
		}
		for ; len(sights) > 0 && sights[0].origin == i; sights = sights[1:] {
			if s != nil {
				s.see(&sights[0], pl, now)
			}
		}
	}
}

// service returns the service of a name, nil if there is no room for it.
func (a *arrivals) service(name []byte, pl *plan, now int64) *service {
	if s := a.services[string(name)]; s != nil {
		return s
	}
	var buf [maxText]byte
	clean := appendText(buf[:0], name)
	if s := a.services[string(clean)]; s != nil {
		return s
	}
	named := pl.program.Names(string(clean))
	if len(a.services) >= maxServices && !a.makeRoom(named, now) {
		a.room.turnedAway(clean, nil)
		return nil
	}
	s := newService(string(clean), now)
	s.named = named
	a.services[s.name] = s
	return s
}

func newService(name string, now int64) *service {
	return &service{name: name, routes: map[routeID]*route{}, stride: 1, window: now}
}

// makeRoom drops a service that is silent, those first that no flow names. They
// go at once for one that a flow names.
func (a *arrivals) makeRoom(named bool, now int64) bool {
	if !named && now < a.room.until {
		return false
	}
	var oldest *service
	for _, s := range a.services {
		if oldest == nil || !s.named && oldest.named || s.named == oldest.named && s.spans.last < oldest.spans.last {
			oldest = s
		}
	}
	free := oldest.spans.last + int64(idle)
	if now < free && !(named && !oldest.named) {
		a.room.until = free
		return false
	}
	delete(a.services, oldest.name)
	return true
}

// arrive counts the spans of an origin.
func (a *arrivals) arrive(s *service, o *origin, now int64) {
	if s.spans.total > 0 {
		s.ran += time.Duration(max(0, min(now-s.spans.last, int64(idle))))
	}
	s.spans.add(uint64(o.spans), now)
	setText(&s.language, o.Language)
	setText(&s.sdk, o.SDK)
	setText(&s.sdkVersion, o.SDKVersion)
	if len(o.Version) > 0 && s.deploy(o.Version, now) {
		a.deployed = true
	}

	s.entries += uint64(o.entries)
	if elapsed := now - s.window; elapsed >= int64(time.Second) {
		perSecond := float64(s.entries) / time.Duration(elapsed).Seconds()
		s.stride = uint32(max(1, min(perSecond/looks, 1<<20)))
		s.window, s.entries, s.looked = now, 0, 0
	}
}

// see counts a request that was looked at. The caller holds arrivals.mu.
func (s *service) see(x *sight, pl *plan, now int64) {
	if s.looked++; s.looked >= 2*looks {
		s.stride, s.looked = min(2*s.stride, 1<<20), 0
	}
	s.sampled = s.sampled || x.weight > 1
	r := s.routes[routeID{x.kind, string(x.method), string(x.route)}]
	if r == nil {
		if len(s.routes) >= maxRoutes && !s.makeRoom(now) {
			s.room.turnedAway(x.route, x.method)
			return
		}
		r = &route{routeID: routeID{x.kind, string(x.method), string(x.route)}}
		s.routes[r.routeID] = r
	}
	r.requests.add(uint64(x.weight), now)
	if r.stale {
		r.flows, r.stale = r.flows[:0], false
	}
	for _, f := range x.flows {
		if id := pl.ids[f]; !slices.Contains(r.flows, id) && len(r.flows) < maxRouteFlows {
			r.flows = append(r.flows, id)
		}
	}
}

// makeRoom drops the route that is silent for longest.
func (s *service) makeRoom(now int64) bool {
	if now < s.room.until {
		return false
	}
	var oldest *route
	for _, r := range s.routes {
		if oldest == nil || r.requests.last < oldest.requests.last {
			oldest = r
		}
	}
	if free := oldest.requests.last + int64(idle); now < free {
		s.room.until = free
		return false
	}
	delete(s.routes, oldest.routeID)
	return true
}

// setText sets s to text, cleaned.
func setText(s *string, text []byte) {
	if *s == string(text) {
		return
	}
	var buf [maxText]byte
	if clean := appendText(buf[:0], text); *s != string(clean) {
		*s = string(clean)
	}
}

// room knows when to look for room again, and how many found none.
type room struct {
	until int64 // ns; nothing is silent for long enough before

	// seen has a bit, by hash, of each name that was turned away.
	seen [8]uint64
}

func (r *room) turnedAway(name, more []byte) {
	h := crc32.Update(crc32.Checksum(name, castagnoli), castagnoli, more) % 512
	r.seen[h/64] |= 1 << (h % 64)
}

// count estimates how many names were turned away from how many bits they left
// unset: within a few for dozens; two thousand and more look alike.
func (r *room) count() int {
	unset := 0
	for _, x := range r.seen {
		unset += 64 - bits.OnesCount64(x)
	}
	return int(math.Round(512 * math.Log(512/float64(max(1, unset)))))
}

// slot is how long a tally's parts are.
const slot = int64(10 * time.Second)

// tally counts, and knows the pace of the last ten to twenty seconds.
type tally struct {
	total       uint64
	first, last int64 // ns
	slot        int64 // when now began, in slots
	now, before uint64
}

func (t *tally) add(n uint64, at int64) {
	if t.total == 0 {
		t.first = at
	}
	t.last = max(t.last, at)
	t.turn(at)
	t.total += n
	t.now += n
}

func (t *tally) turn(at int64) {
	switch s := at / slot; {
	case s <= t.slot: // clocks may go back
	case s == t.slot+1:
		t.slot, t.now, t.before = s, 0, t.now
	default:
		t.slot, t.now, t.before = s, 0, 0
	}
}

// perSecond is the pace until at (ns).
func (t tally) perSecond(at int64) float64 {
	t.turn(at)
	since := max(t.first, (t.slot-1)*slot)
	return float64(t.now+t.before) / max(1, time.Duration(at-since).Seconds())
}

func (t *tally) at() time.Time {
	if t.last == 0 {
		return time.Time{}
	}
	return time.Unix(0, t.last)
}

// Arrivals returns what came in since the start. It may be called from several
// goroutines, at any time.
func (p *Pipeline) Arrivals() Arrivals { return p.arrivals.show(time.Now().UnixNano()) }

func (a *arrivals) show(now int64) Arrivals {
	a.mu.RLock()
	defer a.mu.RUnlock()
	out := Arrivals{Spans: a.total.total, PerSecond: a.total.perSecond(now), Last: a.total.at(), More: a.room.count()}
	for i, t := range a.rejected {
		if t.total > 0 {
			out.Rejected = append(out.Rejected, Rejection{Reason: why[i], Spans: t.total, Last: t.at()})
		}
	}
	for _, s := range a.services {
		if s.spans.total > 0 {
			out.Services = append(out.Services, s.show(now))
		}
	}
	slices.SortFunc(out.Services, func(a, b ServiceArrival) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (s *service) show(now int64) ServiceArrival {
	out := ServiceArrival{
		Name: s.name, Spans: s.spans.total, PerSecond: s.spans.perSecond(now), Last: s.spans.at(),
		Language: s.language, SDK: strings.TrimSpace(s.sdk + " " + s.sdkVersion), More: s.room.count(), Sampled: s.sampled,
	}
	for _, v := range s.versions {
		out.Versions = append(out.Versions, v.Version)
	}
	for _, r := range s.routes {
		out.Routes = append(out.Routes, RouteArrival{
			Kind: r.kind.String(), Method: r.method, Route: r.route, Requests: r.requests.total,
			PerSecond: r.requests.perSecond(now), Last: r.requests.at(), Flows: slices.Clone(r.flows),
		})
	}
	slices.SortFunc(out.Routes, func(a, b RouteArrival) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}
