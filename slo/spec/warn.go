package spec

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// warn reports what is legal but cannot have been meant: promises that nothing
// can measure or break, alerts that come too late, and conditions that no span
// fulfils. flows are without faults.
func warn(flows []slo.Flow, faults *source.Collector) {
	for i := range flows {
		f := &flows[i]
		path := source.Join("flows", f.Name)
		warnKeys(f, path, faults)
		warnRoutes(f, path, faults)
		for j := range f.Objectives {
			w := objectiveWarner{&f.Objectives[j], path, j, faults}
			w.budget()
			w.tiers()
			w.implied(f.Objectives)
		}
	}
	warnOverlaps(flows, faults)
}

// objectiveWarner warns of one objective.
type objectiveWarner struct {
	*slo.Objective
	flow   string // its path
	index  int    // in the flow
	faults *source.Collector
}

func (w objectiveWarner) warn(fact, want string) {
	w.faults.Warn(source.Fault{Pos: w.Pos, Path: fmt.Sprintf("%s.slos[%d]", w.flow, w.index), Fact: fact, Want: want})
}

// busy is how many requests a second a flow is thought to have at most, unless
// its owner knows better: one, which is 2.6 million a month. Most flows of most
// companies, a checkout or a login, have less.
const busy = 1.0

// budget warns of a budget that is too small to be spent in parts.
func (w objectiveWarner) budget() {
	period := periodWords(*w.Objective)
	switch {
	case w.Slice > 0:
		whole := w.Window / w.Slice
		bad := w.Budget() * float64(whole)
		if bad >= 1-1e-9 {
			return
		}
		one, want := "one bad minute", "want at most "+atMost(1-1/float64(whole))+" or a longer window"
		if w.Slice != time.Minute {
			one = "one bad slice of " + slo.Duration(w.Slice)
			want = "want at most " + atMost(1-1/float64(whole)) + ", a longer window or shorter slices"
		}
		w.warn(fmt.Sprintf("%s spends %s budgets of %s: %s of its %d %s leaves %s of one",
			one, short(1/bad), period, slo.Percent(w.Target), whole, w.Unit(), short(bad)), want)
	case w.Kind == slo.Succeed, w.Kind == slo.FasterThan:
		// With a budget of less than one request, the first bad one breaks the
		// promise, and no alert can come before.
		rate := 1 / (w.Budget() * w.Window.Seconds())
		if rate > busy*(1+1e-9) {
			w.warn(fmt.Sprintf("no traffic below %s requests a second can measure %s over %s: one bad request spends the whole budget",
				short(rate), slo.Percent(w.Target), period),
				"want a lower target or a longer window, unless the flow has that much")
		}
	}
}

// almost is the share of bad events from which on a tier's threshold is as good
// as out of reach: what takes more than nine in ten to fail sleeps through
// every outage but a total one.
const almost = 0.9

// tiers warns of alerts that cannot fire or come too late. The usual ones can
// do neither; see slo.Tiers.
func (w objectiveWarner) tiers() {
	for _, t := range w.Tiers {
		warn := func(fact, want string) {
			w.warn(fmt.Sprintf("the %s alert of burn rate %s over %s %s", t.Severity, factor(t.Factor), slo.Duration(t.Long), fact), want)
		}
		bad := t.Factor * w.Budget()
		spent := t.Factor * float64(t.Long) / float64(w.Window)
		switch {
		case w.Slice > 0 && time.Duration(w.MinEvents)*w.Slice > t.Long:
			holds := int(t.Long / w.Slice)
			want := fmt.Sprintf("want min_events: %d or less", holds)
			if holds == 0 {
				want = "want shorter slices"
			}
			warn(fmt.Sprintf("can never fire: it waits for %d bad %s, and %s holds %d", w.MinEvents, w.Unit(), slo.Duration(t.Long), holds), want)
		case spent > 1+1e-9:
			warn(fmt.Sprintf("fires when %s of the budget of %s is spent", percent0(spent), periodWords(*w.Objective)),
				"want less than "+atLeast(float64(w.Window)/float64(t.Long)))
		case t.Factor > 1 && bad > almost:
			warn(fmt.Sprintf("fires only when more than %s of all %s are bad", percent0(bad), w.Unit()),
				fmt.Sprintf("want at most %s, which half of them reaches", factor(slo.Reachable(t.Factor, w.Target))))
		}
	}
}

// warnLowered warns of an objective whose target leaves so much that one of the
// usual alerts could never fire: the rate that is used instead is another alert.
func warnLowered(v source.Value, o slo.Objective) {
	for _, meant := range slo.Tiers(1, o.Window) { // with the factors as they are meant
		i := slices.IndexFunc(o.Tiers, func(t slo.Tier) bool { return t.Severity == meant.Severity && t.Long == meant.Long })
		if i < 0 || meant.Factor*o.Budget() < 1 {
			continue
		}
		v.Warn(fmt.Sprintf("the usual %s alert of burn rate %s can never fire: %s burns at %.3g when everything is bad; it fires at %s instead",
			meant.Severity, factor(meant.Factor), slo.Percent(o.Target), 1/o.Budget(), factor(o.Tiers[i].Factor)),
			"want alerts: {tiers: …} if that is not meant")
		return
	}
}

// implied warns of an objective that is kept whenever another of the flow is:
// 95% under 500ms beside 99% under 300ms. It can neither be broken nor alert
// first.
func (w objectiveWarner) implied(all []slo.Objective) {
	const many = 100 // nobody reads more, and each is compared with each
	if len(all) > many {
		return
	}
	for _, strict := range all {
		if strict.Pos != w.Pos && implies(strict, *w.Objective) {
			w.warn(fmt.Sprintf("%q is kept whenever %q on line %d is, and never alerts before it", w.Sentence(), strict.Sentence(), strict.Pos.Line),
				"want one of them, or a promise that neither implies")
			return
		}
	}
}

// implies reports whether weak is kept, and silent, whenever strict is.
func implies(strict, weak slo.Objective) bool {
	zone := func(o slo.Objective) string { return cmp.Or(o.Calendar.Zone, time.UTC).String() }
	if strict.Kind != weak.Kind || strict.Kind == slo.PromQL ||
		strict.Window != weak.Window || strict.Calendar.Unit != weak.Calendar.Unit || zone(strict) != zone(weak) ||
		strict.Slice != weak.Slice || strict.SliceTarget < weak.SliceTarget ||
		strict.Target < weak.Target || strict.Threshold > weak.Threshold || strict.MinEvents > weak.MinEvents {
		return false
	}
	// Whatever is bad for weak is bad for strict, whose budget is no larger and
	// is spent no later.
	earlier := func(share float64) bool { return len(strict.Spent) > 0 && strict.Spent[0] <= share }
	if weak.Outage && !strict.Outage || weak.RunsOut && !strict.RunsOut ||
		slices.ContainsFunc(weak.Spent, func(share float64) bool { return !earlier(share) }) {
		return false
	}
	// So an alert of weak is no news
	// if strict has one over the same windows, at no more bad events.
	return !slices.ContainsFunc(weak.Tiers, func(t slo.Tier) bool {
		return !slices.ContainsFunc(strict.Tiers, func(s slo.Tier) bool {
			return s.Severity == t.Severity && s.Long == t.Long && s.Short == t.Short &&
				s.Factor*strict.Budget() <= t.Factor*weak.Budget()*(1+1e-6)
		})
	})
}

// periodWords returns the period of an objective: 30d, or a month.
func periodWords(o slo.Objective) string {
	if o.Calendar.Unit != slo.Rolling {
		return "a " + o.Calendar.Unit.String()
	}
	return slo.Duration(o.Window)
}

// short writes a number with as many digits as say something.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	default:
		return fmt.Sprintf("%.2g", v)
	}
}

// factor writes a burn rate.
func factor(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// atLeast writes a number as short does, never below it.
func atLeast(v float64) string { return short(math.Ceil(v*10-1e-9) / 10) }

// atMost writes a ratio as a percentage of few digits, never above it.
func atMost(ratio float64) string {
	digits := math.Pow(10, math.Ceil(-math.Log10(1-ratio))+1)
	return slo.Percent(math.Floor(ratio*digits+1e-9) / digits)
}

// percent0 writes a ratio as a whole percentage.
func percent0(ratio float64) string { return fmt.Sprintf("%.0f%%", math.Floor(ratio*100+1e-9)) }

// misnomers are names under which no OpenTelemetry instrumentation sends what
// they seem to say, and the names that were meant.
var misnomers = map[string]string{
	"http.path": "url.path", "http.uri": "url.path", "http.request.path": "url.path", "http.request.uri": "url.path",
	"http.request.url": "url.path", "request.path": "url.path", "request.url": "url.path",
	"http.endpoint": slo.KeyRoute, "http.request.route": slo.KeyRoute, "http.server.route": slo.KeyRoute, "url.route": slo.KeyRoute,
	"http.verb": slo.KeyMethod, "http.request_method": slo.KeyMethod, "request.method": slo.KeyMethod,
	"http.status": slo.KeyStatusCode, "http.code": slo.KeyStatusCode, "http.response.code": slo.KeyStatusCode,
	"http.response.status": slo.KeyStatusCode, "http.request.status_code": slo.KeyStatusCode, "response.status_code": slo.KeyStatusCode,
	"span.kind": slo.KeyKind, "otel.kind": slo.KeyKind,
	"span.name": slo.KeyName, "otel.name": slo.KeyName,
	"span.status": slo.KeyStatus, "status.code": slo.KeyStatus,
}

// wholeURLs are attributes that hold a URL or more of one than a path.
var wholeURLs = map[string]string{
	"http.target": "holds the path with its query, and is sent by older instrumentations only",
	"http.url":    "holds scheme, host and query as well, and is sent by older instrumentations only",
	"url.full":    "is not sent on server spans, which carry url.path",
}

// conventions are the attributes that entry spans and their resources carry by
// OpenTelemetry's conventions, of both generations of HTTP: what a misspelt
// name is compared with.
var conventions = strings.Fields(`
	http.request.method http.request.method_original http.route http.response.status_code
	http.request.body.size http.response.body.size http.request.size http.response.size
	http.method http.status_code http.target http.url http.host http.scheme http.flavor http.user_agent http.client_ip
	http.server_name http.request_content_length http.response_content_length
	url.path url.query url.scheme url.full url.template url.domain url.fragment
	server.address server.port client.address client.port user_agent.original user_agent.name error.type
	network.protocol.name network.protocol.version network.transport network.type
	network.peer.address network.peer.port network.local.address network.local.port
	net.host.name net.host.port net.peer.name net.peer.port net.transport
	messaging.system messaging.destination.name messaging.destination.template messaging.destination.partition.id
	messaging.destination.subscription.name messaging.destination.anonymous messaging.destination.temporary
	messaging.operation.type messaging.operation.name messaging.operation messaging.destination messaging.consumer.group.name
	messaging.client.id messaging.message.id messaging.batch.message_count messaging.message.conversation_id
	messaging.message.body.size messaging.kafka.message.key messaging.kafka.offset messaging.rabbitmq.destination.routing_key
	rpc.system rpc.service rpc.method rpc.grpc.status_code
	faas.trigger faas.name faas.invocation_id faas.coldstart faas.cron faas.time
	enduser.id user.id user.name user.roles user.email session.id
	service.name service.namespace service.version service.instance.id
	deployment.environment deployment.environment.name
	host.name host.id host.type os.type process.pid process.runtime.name process.runtime.version
	container.id container.name container.image.name cloud.provider cloud.region cloud.availability_zone cloud.account.id cloud.platform
	k8s.cluster.name k8s.namespace.name k8s.pod.name k8s.pod.uid k8s.container.name k8s.node.name k8s.deployment.name
	k8s.statefulset.name k8s.daemonset.name k8s.job.name k8s.cronjob.name
	telemetry.sdk.language telemetry.sdk.name telemetry.sdk.version
	graphql.operation.name graphql.operation.type graphql.document
	code.function.name thread.id thread.name peer.service
	feature_flag.key feature_flag.result.variant
`)

// known are the conventions by their plain names.
var known = func() map[string]string {
	out := make(map[string]string, len(conventions))
	for _, key := range conventions {
		out[plainName(key)] = key
	}
	return out
}()

// meant returns the attribute that a misspelt key means, or nothing.
func meant(key string) string {
	if now, ok := misnomers[key]; ok {
		return now
	}
	if slices.Contains(conventions, key) {
		return ""
	}
	near, ok := known[plainName(key)]
	if !ok && strings.Contains(key, ".") { // tier is not a misspelt word, whatever is near
		i := slices.IndexFunc(conventions, func(k string) bool { return oneEdit(key, k) })
		if i < 0 {
			return ""
		}
		near = conventions[i]
	}
	if near == "" {
		return ""
	}
	return current(near)
}

// plainName returns a name without what people confuse: dots, dashes,
// underscores and capital letters.
func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == '_' {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

// oneEdit reports whether one letter put in, left out, changed or swapped with
// its neighbour makes b of a.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch {
	case a == b, len(b)-len(a) > 1:
		return false
	case len(a) < len(b):
		return a[i:] == b[i+1:]
	case a[i+1:] == b[i+1:]:
		return true
	default:
		return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	}
}

// warnKeys warns of attributes that no span carries.
func warnKeys(f *slo.Flow, path string, faults *source.Collector) {
	for _, part := range []struct {
		key string
		slo.Selector
	}{{"match", f.Match}, {"bad_when", f.BadWhen}} {
		for _, c := range part.Selector {
			w := source.Fault{Pos: c.Pos, Path: source.Join(source.Join(path, part.key), c.Key)}
			if now := meant(c.Key); now != "" {
				w.Fact = "is no attribute of OpenTelemetry's conventions"
				w.Want = "want " + now + ", unless your spans carry it"
				faults.Warn(w)
			} else if fact, ok := wholeURLs[c.Key]; ok && httpServer(f.Match) {
				w.Fact = fact
				w.Want = "want url.path, which is read from spans of either generation"
				faults.Warn(w)
			}
		}
	}
	if now := meant(f.By); now != "" && f.By != "" {
		faults.Warn(source.Fault{
			Pos: f.Pos, Path: source.Join(path, "by"), Fact: f.By + " is no attribute of OpenTelemetry's conventions",
			Want: "want " + now + ", unless your spans carry it",
		})
	}
}

// httpServer reports whether a selector picks server spans, as far as it says.
func httpServer(s slo.Selector) bool {
	return !slices.ContainsFunc(s, func(c slo.Condition) bool {
		return c.Key == slo.KeyKind && !c.Fits("server", true)
	})
}

// framework is how a web framework names routes, as measured on spans of its
// automatic instrumentation.
type framework struct {
	name   string // for people
	sends  bool   // http.route on server spans
	inName bool   // the route as part of the span's name, without http.route
	colon  bool   // parameters are :id; otherwise {id}
}

// frameworks are those whose spans were looked at: Express and Fastify apps
// under three generations of OpenTelemetry's instrumentation of Node.js, Node's
// own http module, and Go's net/http under otelhttp.
var frameworks = map[string]framework{
	"express":   {name: "Express", sends: true, colon: true},
	"fastify":   {name: "Fastify"},
	"node-http": {name: "Node's http module"},
	"go-http":   {name: "Go's net/http", inName: true},
}

// frameworkName reads what serves a flow's requests.
func frameworkName(v source.Value) string {
	want := "want one of " + strings.Join(slices.Sorted(maps.Keys(frameworks)), ", ")
	s, ok := v.Line(want + ", or no framework: at all")
	if _, known := frameworks[s]; ok && !known {
		v.Fault(source.Quote(s)+" is a framework whose spans slowburn does not know", want+", or no framework: at all")
	}
	return s
}

// warnRoutes warns of routes that no span has. What it says of a framework
// follows collector/match: a route is http.route, else url.template, else the
// path in a name such as "GET /stock/{id}", else the path that was asked for,
// with numbers, UUIDs and long hexadecimal segments replaced by {id}.
func warnRoutes(f *slo.Flow, path string, faults *source.Collector) {
	fw, named := frameworks[f.Framework]
	for _, c := range f.Match {
		warn := func(fact, want string) {
			faults.Warn(source.Fault{Pos: c.Pos, Path: source.Join(path, "match"), Fact: fact, Want: want})
		}
		if c.Key == slo.KeyRoute || c.Key == "url.path" {
			for _, p := range c.Any {
				if fact, want := wrongPath(p.Text); fact != "" {
					warn(fact, want)
				}
			}
		}
		if !named || len(c.Any) == 0 {
			continue
		}
		// A list may hold what other versions of a framework send: one that fits
		// is enough.
		var fact, want string
		for _, p := range c.Any {
			if fact, want = fw.wrong(c.Key, p.Text); fact == "" {
				break
			}
		}
		if fact != "" {
			warn(fact, want)
		}
	}
}

// wrongPath says why a pattern fits neither a route nor a path, if so.
func wrongPath(pattern string) (fact, want string) {
	if _, rest, whole := strings.Cut(pattern, "://"); whole {
		_, rest, _ = strings.Cut(rest, "/")
		return source.Quote(pattern) + " has a scheme and a host, which paths and routes have not", "want /" + source.Brief(rest)
	}
	// Express writes an optional parameter as :id?
	if before, query, asked := strings.Cut(pattern, "?"); asked && strings.Contains(query, "=") {
		return source.Quote(pattern) + " has a query, which paths and routes have not", "want " + source.Brief(before)
	}
	return "", ""
}

// wrong says why a pattern fits no server span of the framework, if so.
func (fw framework) wrong(key, pattern string) (fact, want string) {
	switch key {
	case slo.KeyName:
		verb, route, ok := strings.Cut(pattern, " ")
		if ok && slices.Contains(methods, verb) && strings.HasPrefix(route, "/") && !fw.sends && !fw.inName {
			return fmt.Sprintf("%s names its server spans %s, without a route", fw.name, verb), "want match: " + verb + " " + fallback(route)
		}
	case slo.KeyRoute:
		for segment := range strings.SplitSeq(pattern, "/") {
			colon := len(segment) > 1 && segment[0] == ':'
			braces := len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}'
			switch {
			case (fw.sends || fw.inName) && (colon && !fw.colon || braces && fw.colon):
				return fmt.Sprintf("%s writes the parameters of a route as %s", fw.name, fw.parameter("id")),
					"want " + parameters(pattern, fw.parameter)
			case !fw.sends && !fw.inName && (colon || braces && segment != "{id}"):
				return fw.name + " sends no http.route on server spans; slowburn falls back to the path, with numbers, UUIDs and long hexadecimal ids as {id}",
					"want " + fallback(pattern) + ", or * where the parameter is none of these"
			}
		}
	}
	return "", ""
}

func (fw framework) parameter(name string) string {
	if fw.colon {
		return ":" + name
	}
	return "{" + name + "}"
}

// fallback writes a route as slowburn makes it from a path.
func fallback(route string) string {
	return parameters(route, func(string) string { return "{id}" })
}

// parameters replaces the parameters of a route, written as :id or {id}.
func parameters(route string, with func(name string) string) string {
	segments := strings.Split(route, "/")
	for i, s := range segments {
		if len(s) > 1 && s[0] == ':' {
			segments[i] = with(s[1:])
		} else if len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' {
			segments[i] = with(s[1 : len(s)-1])
		}
	}
	return source.Brief(strings.Join(segments, "/"))
}
