package web

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// Setup is what arrives, and where. Its figures are since slowburn started.
type Setup struct {
	HTTP, GRPC string // host:port where OTLP is taken

	Spans     uint64
	PerSecond float64
	Last      time.Time // zero: nothing came
	Services  []Service
	More      int // services beyond those
	Rejected  []Rejection
}

// Service is what arrives from one service.
type Service struct {
	Name          string
	Spans         uint64
	PerSecond     float64
	Last          time.Time
	Language, SDK string
	Versions      []ServiceVersion // the newest last
	Routes        []Route
	More          int  // routes beyond those
	Sampled       bool // the figures of the routes are estimates
}

// ServiceVersion is a service.version, and when it was first seen.
type ServiceVersion struct {
	Value string
	First time.Time
}

// Route is what the entry spans of a service have in common.
type Route struct {
	Kind, Method, Route string
	Requests            uint64
	PerSecond           float64
	Last                time.Time
	Flows               []string // that count it, as service/flow
}

// Rejection is why spans were not counted.
type Rejection struct {
	Reason string
	Spans  uint64
	Last   time.Time
}

const (
	// quietAfter is the age of the last span from which it is said that
	// nothing arrives: exporters send every five seconds.
	quietAfter = time.Minute

	// routesShown and servicesShown bound the page; each is the busiest of
	// them.
	routesShown   = 1000
	servicesShown = 200
)

// setupPages adds the page of what arrives.
func (s *site) setupPages(mux *http.ServeMux) {
	if s.opt.Setup == nil {
		s.opt.Setup = func() Setup { return Setup{} }
	}
	mux.HandleFunc("GET /setup", s.setup)
	mux.HandleFunc("GET /setup/flow", s.makeFlow)
}

// setupPage is the view of the page.
type setupPage struct {
	frame

	Headline string
	State    state
	Empty    bool // no span has come

	Rejected  []rejectionView
	Services  []serviceView
	More      int // services beyond those
	Cut       int // routes beyond those shown
	Unmatched int // routes that no flow counts

	Exporters []exporterView
	Curl      string
	Unreached string // why the addresses below may not be reached from elsewhere
	GRPC      string
}

type rejectionView struct{ What, Spans, Last, Do string }

type serviceView struct {
	Name, About, Rate, Last string
	Versions                string
	Quiet, Sampled          bool
	Routes                  []routeView
	More                    int
}

type routeView struct {
	What, Kind           string
	Requests, Rate, Last string
	Flows                []routeFlow
	Make                 string // address of the page that makes a flow of it
}

type routeFlow struct{ Name, Link string }

type exporterView struct{ Language, Text, Note string }

// setup serves the page.
func (s *site) setup(w http.ResponseWriter, r *http.Request) {
	seen, err := s.look(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	p, in := seen.picture, s.opt.Setup()
	p.now = time.Now()
	out := arrived(p, in, r.Host)
	html, err := s.render("setup.html", &out)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, html)
}

// arrived makes the page for a reader who reached slowburn as host.
func arrived(p picture, in Setup, host string) setupPage {
	out := setupPage{frame: p.frame("setup"), Empty: in.Last.IsZero()}
	out.Headline, out.State = in.headline(p.now)
	out.Title = out.State.Mark() + " " + out.Headline
	out.More = in.More

	for _, x := range in.Rejected {
		out.Rejected = append(out.Rejected, rejectionView{
			What: x.Reason, Do: rejection(x.Reason), Spans: words.Count(x.Spans), Last: ago(x.Last, p.now),
		})
	}

	links := make(map[string]routeFlow, len(p.flows))
	for i := range p.flows {
		f := &p.flows[i]
		links[f.Service+"/"+f.Name] = routeFlow{f.Name, p.link(f)}
	}
	services := slices.Clone(in.Services)
	slices.SortStableFunc(services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	shown := 0
	for i := range services {
		for _, route := range services[i].Routes {
			if len(route.Flows) == 0 {
				out.Unmatched++
			}
		}
		if i >= servicesShown {
			out.More++
			continue
		}
		v := services[i].view(p, links, routesShown-shown)
		shown += len(v.Routes)
		out.Cut += len(services[i].Routes) - len(v.Routes)
		out.Services = append(out.Services, v)
	}

	service := "my-service"
	for i := range p.flows {
		if p.flows[i].Counted() {
			service = p.flows[i].Service
			break
		}
	}
	name, local := reached(host)
	address := endpoint(name, in.HTTP, "4318")
	out.GRPC = endpoint(name, in.GRPC, "4317")
	out.Exporters = exporters(service, "http://"+address)
	out.Curl = curl("http://" + address)
	if at, _, err := net.SplitHostPort(in.HTTP); err == nil && !local {
		if ip := net.ParseIP(at); at == "localhost" || (ip != nil && ip.IsLoopback()) {
			out.Unreached = fmt.Sprintf("slowburn takes spans on %s only, from its own machine. For other machines start it with --otlp-http-listen 0.0.0.0:%s.", in.HTTP, port(in.HTTP, "4318"))
		}
	}
	return out
}

// headline says what arrives.
func (in *Setup) headline(now time.Time) (string, state) {
	if in.Last.IsZero() {
		return "No spans yet", noData
	}
	age := now.Sub(in.Last)
	if age >= quietAfter {
		return "No spans for " + words.Span(age), idle
	}
	return fmt.Sprintf("Receiving from %s, %s, the last %s",
		words.Units(uint64(len(in.Services)), "services"), spansPerSecond(in.PerSecond), ago(in.Last, now)), calm
}

// spansPerSecond writes a rate of spans: 118 spans/s.
func spansPerSecond(v float64) string {
	n, per, _ := strings.Cut(words.Rate(v), "/")
	return n + " spans/" + per
}

// view makes the block of a service with as many routes as there is room for,
// those first that no flow counts.
func (x *Service) view(p picture, links map[string]routeFlow, room int) serviceView {
	v := serviceView{
		Name: x.Name, Rate: spansPerSecond(x.PerSecond), Last: ago(x.Last, p.now),
		Quiet: p.now.Sub(x.Last) >= quietAfter, More: x.More, Sampled: x.Sampled,
	}
	var about []string
	for _, part := range []string{language(x.Language), x.SDK} {
		if part != "" {
			about = append(about, part)
		}
	}
	v.About = strings.Join(about, " · ")
	if v.Name == "" {
		v.Name = "without service.name"
	}
	switch n := len(x.Versions); {
	case n == 1:
		v.Versions = "version " + x.Versions[0].Value
	case n > 1:
		v.Versions = fmt.Sprintf("version %s since %s, before that %s", x.Versions[n-1].Value, words.Clock(x.Versions[n-1].First, p.now), x.Versions[n-2].Value)
	}
	routes := slices.Clone(x.Routes)
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(
			cmp.Compare(min(1, len(a.Flows)), min(1, len(b.Flows))),
			cmp.Compare(b.PerSecond, a.PerSecond), cmp.Compare(b.Requests, a.Requests),
			cmp.Compare(a.Route, b.Route), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Kind, b.Kind),
		)
	})
	for _, route := range routes[:min(len(routes), max(0, room))] {
		line := routeView{
			What: route.words(), Requests: words.Count(route.Requests), Rate: words.Rate(route.PerSecond), Last: ago(route.Last, p.now),
		}
		if route.Kind != "server" {
			line.Kind = route.Kind
		}
		for _, id := range route.Flows {
			f, ok := links[id]
			if !ok {
				f.Name = id // removed meanwhile
			}
			line.Flows = append(line.Flows, f)
		}
		if len(route.Flows) == 0 {
			line.Make = p.base + "/setup/flow?" + url.Values{
				"service": {x.Name}, "kind": {route.Kind}, "method": {route.Method}, "route": {route.Route},
			}.Encode()
		}
		v.Routes = append(v.Routes, line)
	}
	return v
}

// words writes what the spans of a route have in common.
func (r Route) words() string {
	return cmp.Or(strings.TrimSpace(r.Method+" "+r.Route), "without a route")
}

// language writes telemetry.sdk.language as people do.
func language(name string) string {
	for known, shown := range map[string]string{
		"nodejs": "Node.js", "go": "Go", "python": "Python", "java": "Java", "dotnet": ".NET", "ruby": "Ruby", "php": "PHP",
		"rust": "Rust", "cpp": "C++", "webjs": "browser", "erlang": "Erlang", "swift": "Swift",
	} {
		if name == known {
			return shown
		}
	}
	return name
}

// ago writes how long ago something was.
func ago(t, now time.Time) string {
	switch age := now.Sub(t); {
	case t.IsZero():
		return "never"
	case age < time.Second:
		return "just now"
	default:
		return words.Span(age) + " ago"
	}
}

// rejections are what to do about spans that were not counted, by words in the
// reason.
var rejections = []struct{ word, do string }{
	{" ago", "A request counts when it arrives; one so old would be told too late. When all spans of a host are: set its clock (NTP). When they came after an outage, the exporter caught up, and nothing is to be done."},
	{"future", "The clock of the host that sends them is ahead of this one. Set both by NTP."},
	{"before their start", "The clock of the host was set back while a request ran, or the instrumentation gives times of its own. NTP sets clocks in small steps."},
}

// rejection returns what to do about rejected spans.
func rejection(reason string) string {
	for _, r := range rejections {
		if strings.Contains(reason, r.word) {
			return r.do
		}
	}
	return "The answer to the exporter says more; slowburn's log does so with --log-level debug."
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// reached returns the host under which a reader reached slowburn, as it stands
// in an address, and whether that is the machine the reader is at. What is not
// the name of a host is taken for this machine: it will be pasted into a shell.
func reached(host string) (name string, local bool) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if ip := net.ParseIP(host); ip != nil {
		if ip.To4() == nil {
			return "[" + ip.String() + "]", ip.IsLoopback()
		}
		return ip.String(), ip.IsLoopback()
	}
	if !hostName.MatchString(host) || host == "localhost" {
		return "localhost", true
	}
	return host, false
}

// endpoint returns host:port of a listener for a reader who knows the host by
// that name.
func endpoint(name, listener, usual string) string { return name + ":" + port(listener, usual) }

func port(listener, usual string) string {
	if _, p, err := net.SplitHostPort(listener); err == nil && p != "" {
		return p
	}
	return usual
}

// quoteShell returns text as one word of a shell.
func quoteShell(text string) string {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/:@", r))
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// exporters returns how services in the usual languages send their spans to an
// address. slowburn takes spans only, so that nothing else is sent.
func exporters(service, address string) []exporterView {
	environment := "export OTEL_SERVICE_NAME=" + quoteShell(service) + `
export OTEL_EXPORTER_OTLP_ENDPOINT=` + address + `
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_TRACES_EXPORTER=otlp
export OTEL_METRICS_EXPORTER=none
export OTEL_LOGS_EXPORTER=none
`
	return []exporterView{
		{Language: "Node.js", Text: "npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node\n" + environment +
			"node --require @opentelemetry/auto-instrumentations-node/register app.js"},
		{Language: "Python", Text: "pip install opentelemetry-distro opentelemetry-exporter-otlp\nopentelemetry-bootstrap -a install\n" + environment +
			"opentelemetry-instrument python app.py"},
		{Language: "Java", Text: "curl -LO https://github.com/open-telemetry/opentelemetry-java-instrumentation/releases/latest/download/opentelemetry-javaagent.jar\n" + environment +
			"java -javaagent:opentelemetry-javaagent.jar -jar app.jar"},
		{
			Language: "Go", Text: `go get go.opentelemetry.io/otel/sdk
go get go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp
go get go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp
export OTEL_SERVICE_NAME=` + quoteShell(service) + `
export OTEL_EXPORTER_OTLP_ENDPOINT=` + address,
			Note: `// In main. Package trace is go.opentelemetry.io/otel/sdk/trace.
exporter, err := otlptracehttp.New(ctx)
if err != nil {
	return err
}
provider := trace.NewTracerProvider(trace.WithBatcher(exporter))
defer provider.Shutdown(context.Background())
otel.SetTracerProvider(provider)

// Around the handlers. Patterns such as "POST /api/refund"
// give the route.
http.ListenAndServe(":8080", otelhttp.NewHandler(mux, "server"))`,
		},
	}
}

// curl returns the command that sends one span of a service of its own, so that
// it counts for nobody's objective.
func curl(address string) string {
	return `curl ` + address + `/v1/traces -H 'Content-Type: application/json' -d '{
  "resourceSpans": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "hello"}}]},
    "scopeSpans": [{"spans": [{
      "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
      "name": "GET /hello", "kind": 2,
      "startTimeUnixNano": "'$(date +%s)'000000000", "endTimeUnixNano": "'$(date +%s)'050000000",
      "attributes": [
        {"key": "http.request.method", "value": {"stringValue": "GET"}},
        {"key": "http.route", "value": {"stringValue": "/hello"}},
        {"key": "http.response.status_code", "value": {"intValue": "200"}}
      ]
    }]}]
  }]
}'`
}

// makePage is the view of the page that makes a flow of a route.
type makePage struct {
	frame

	What, Service string
	Flow, YAML    string
	Fault         string // why there is none
}

// makeFlow serves a flow for a route, as YAML to copy.
func (s *site) makeFlow(w http.ResponseWriter, r *http.Request) {
	seen, err := s.look(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	q := r.URL.Query()
	service, route := q.Get("service"), Route{Kind: q.Get("kind"), Method: q.Get("method"), Route: q.Get("route")}
	out := makePage{frame: seen.picture.frame("setup"), Service: service, What: route.words()}
	out.Still, out.DataAge = true, ""
	taken := map[string]bool{}
	for i := range seen.flows {
		if f := &seen.flows[i]; f.Service == service {
			taken[f.Name] = true
		}
	}
	out.Title = "A flow of " + out.What
	if out.Flow, out.YAML, err = flowYAML(service, route, taken); err != nil {
		out.Fault = err.Error()
	}
	html, err := s.render("make.html", &out)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, html)
}

// promises are the objectives of a new flow: those that most services can keep.
var promises = map[bool]string{
	true:  "service: x\nflows:\n  x:\n    match: POST /x\n    slos: [99.9% succeed, 95% under 300ms]\n",
	false: "service: x\nflows:\n  x:\n    match: POST /x\n    slos: [99% succeed]\n",
}

// flowYAML writes a flow that counts a route, under a name that is not taken.
// What it returns loads; an error says what of the route cannot be written.
func flowYAML(service string, route Route, taken map[string]bool) (name, text string, err error) {
	// Where a request has no route, its span's name stands for it, which begins
	// with the method: GET.
	http := strings.HasPrefix(route.Route, "/") || route.Method != "" && !strings.HasPrefix(route.Route, route.Method)
	model, err := spec.Parse("flow", []byte(promises[http]))
	if err != nil {
		return "", "", err
	}
	f := model.Flows[0]
	f.Service, f.Match, f.Name = service, nil, route.flowName(taken)
	is := func(key, value string) {
		if value != "" {
			f.Match = append(f.Match, slo.Condition{Key: key, Any: []slo.Pattern{{Text: value}}})
		}
	}
	switch {
	case http:
		is(slo.KeyMethod, route.Method)
		is(slo.KeyRoute, route.Route)
	default:
		is(slo.KeyKind, route.Kind)
		is(slo.KeyName, route.Route)
	}
	files, err := spec.Marshal([]slo.Flow{f})
	if err != nil {
		return "", "", err
	}
	return f.Name, string(files[0].Data), nil
}

var (
	parameter = regexp.MustCompile(`^([:*].*|\{.*\}|<.*>|\[.*\]|\(.*\))$`)
	notInSlug = regexp.MustCompile(`[^a-z0-9]+`)
	version   = regexp.MustCompile(`^v[0-9]+$`)
)

// flowName returns a slug for what a route does: POST /api/v1/orders/{id}/refund
// is orders-refund.
func (r Route) flowName(taken map[string]bool) string {
	const readable = 48
	var parts []string
	for part := range strings.SplitSeq(r.Route, "/") {
		slug := strings.Trim(notInSlug.ReplaceAllString(strings.ToLower(part), "-"), "-")
		if slug == "" || slug == "api" || version.MatchString(slug) || parameter.MatchString(part) {
			continue
		}
		parts = append(parts, slug)
	}
	base := strings.Join(parts, "-")
	base = cmp.Or(strings.TrimRight(base[:min(len(base), readable)], "-"), "home")
	names := []string{base}
	if method := notInSlug.ReplaceAllString(strings.ToLower(r.Method), ""); method != "" && len(method) <= 10 {
		names = append(names, method+"-"+base)
	}
	for i := 2; ; i++ {
		for _, name := range names {
			if !taken[name] {
				return name
			}
		}
		names = []string{fmt.Sprintf("%s-%d", base, i)}
	}
}
