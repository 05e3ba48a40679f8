package grafana

import (
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// Metrics of a Node.js process, as OpenTelemetry's instrumentation sends them
// and Prometheus' translator names them.
const (
	loopTime     = "nodejs_eventloop_time_seconds_total" // {nodejs_eventloop_state=active|idle}
	loopUsed     = "nodejs_eventloop_utilization_ratio"  // of older packages, which have no times
	loopDelayP50 = "nodejs_eventloop_delay_p50_seconds"
	loopDelayP99 = "nodejs_eventloop_delay_p99_seconds"
	gcTime       = "v8js_gc_duration_seconds_sum"
	heapUsed     = "v8js_memory_heap_used_bytes" // {v8js_heap_space_name}
	heapMax      = "v8js_memory_heap_max_bytes"
	heapLimit    = "v8js_memory_heap_limit_bytes" // of older packages: by space, and what V8 has taken so far
	cpuTime      = "process_cpu_time_seconds_total"
	memory       = "process_memory_usage_bytes"
)

// The limits that Node.js teams alert on.
const (
	loopBusy = 0.85 // of the event loop's time; above, requests queue
	heapFull = 0.85 // of the heap's ceiling; above, V8 collects garbage all the time
	gcHeavy  = 0.10 // of wall time
	delayBad = 0.11 // seconds: 100 ms above the 10 ms that its sampling takes
	restarts = 3    // in restartWindow: a crash loop
)

const restartWindow = "15m"

// runtime lays out the dashboard of a service's Node.js processes beside its
// flows. It offers the services whose processes send their metrics, so that its
// panels have data.
func runtime(flows []slo.Flow) *sheet {
	processes := like("job", "(.+/)?$service", "instance", "$instance")
	traffic := is(series.Service, "$service")
	s := &sheet{
		uid: runtimeUID, title: "slowburn / Node.js runtime",
		about: "What the Node.js processes of a service do, beside the latency of its flows: a blocked event loop, a full heap or a crash loop is often why a flow is slow. " +
			"Written by slowburn; changes are lost when it is written again.",
		annotations: firing(is(series.SLOServ, "$service"), flows...),
		links: []dashboard.DashboardLink{
			to("Overview", "/d/"+overviewUID+"?${datasource:queryparam}", "All flows, worst first"),
			toDashboards("Flows", flowTag),
		},
		variables: []dashboard.VariableModel{
			choice{
				name: "service", label: "Service", about: "A service whose Node.js processes send metrics.",
				// job is the service's name after its namespace, where it has one.
				query: "label_values(" + loopDelayP99 + ", job)", regex: "/(?:.*\\/)?(.+)/",
			}.variable(),
			choice{
				name: "instance", label: "Instance", about: "Shows some processes only.",
				query: "label_values(" + loopDelayP99 + like("job", "(.+/)?$service") + ", instance)", all: true, allValue: ".+",
			}.variable(),
		},
	}

	if slices.ContainsFunc(flows, func(f slo.Flow) bool { return f.Counted() }) {
		s.annotations = append(s.annotations, deploys(traffic))
		each, name := by(series.FlowName), "{{"+series.FlowName+"}}"
		s.row("Flows of $service")
		s.line(8,
			chart{
				title: "Latency of flows (p95)", about: "95% of the requests of a flow are faster than this, as its spans say. They do not see the time a request waits for a blocked event loop: compare with its delay below.",
				scale: seconds, queries: []query{{expr: quantile(0.95, traffic, interval, each), legend: name}}, noValue: "no requests, or no service with Node.js metrics",
			}.panel(),
			chart{
				title: "Failing requests", about: "The share of requests that fail, by flow.",
				scale: share, queries: []query{{expr: failing(traffic, interval, each), legend: name}}, noValue: "no requests, or no service with Node.js metrics",
			}.panel(),
		)
	}

	each, name := by("instance"), "{{instance}}"
	rate := func(metric, more string) string {
		return "sum" + each + " (rate(" + metric + of(processes, more) + "[" + interval + "]))"
	}
	s.row("Event loop")
	s.line(8,
		chart{
			title: "Event loop utilization", scale: scale{unit: share.unit, min: share.min, max: new(1.0)},
			about:   "The share of time a process is busy with JavaScript, which it runs on one thread. Above the line, 85%, new requests wait: it needs less work or more processes.",
			limits:  limits(neutral, step{loopBusy, warning}),
			noValue: "no nodejs.eventloop metrics",
			queries: []query{{
				expr: rate(loopTime, is("nodejs_eventloop_state", "active")) + " / (" + rate(loopTime, "{}") + " > 0)\nor max" + each + " (" + loopUsed + processes + ")", legend: name,
			}},
		}.panel(),
		chart{
			title: "Event loop delay", scale: seconds, softMax: 1.1 * delayBad,
			about:   "How late the event loop comes to what is due: every request in the process waits so long. 10 ms is its sampling, not a delay; above the line, 110 ms, something blocks it.",
			limits:  limits(neutral, step{delayBad, warning}),
			noValue: "no nodejs.eventloop metrics",
			queries: []query{
				{expr: "max" + each + " (" + loopDelayP50 + processes + ")", legend: "p50 " + name},
				{expr: "max" + each + " (" + loopDelayP99 + processes + ")", legend: "p99 " + name},
			},
		}.panel(),
	)

	ceiling := "(max" + each + " (" + heapMax + processes + ") or sum" + each + " (" + heapLimit + processes + "))"
	used := "sum" + each + " (" + heapUsed + processes + ")"
	s.row("Memory and garbage collection")
	s.line(8,
		chart{
			title: "Heap", scale: bytesIEC, noValue: "no v8js.memory metrics",
			about: "What JavaScript objects take, and the dashed ceiling at which V8 gives up and the process dies. Older packages send no ceiling, but what V8 has taken so far.",
			queries: []query{
				{expr: used, legend: "used " + name},
				{expr: ceiling, legend: "ceiling " + name, color: neutral, dashed: true},
			},
		}.panel(),
		chart{
			title: "Heap used", scale: scale{unit: share.unit, min: share.min, max: new(1.0)}, noValue: "no v8js.memory metrics",
			about:  "How full the heap is. Above the line, 85%, more and more time goes into garbage collection, until the process dies.",
			limits: limits(neutral, step{heapFull, warning}), queries: []query{{expr: used + " / " + ceiling, legend: name}},
		}.panel(),
		chart{
			title: "Garbage collection", scale: share, softMax: 1.1 * gcHeavy, noValue: "no v8js.gc metrics",
			about:  "The share of time a process stands still to collect garbage. Above the line, 10%, it makes too much of it or its heap is too small.",
			limits: limits(neutral, step{gcHeavy, warning}), queries: []query{{expr: rate(gcTime, "{}"), legend: name}},
		}.panel(),
	)

	// A process that starts is a new instance, or begins its counters anew.
	alive := "max" + each + " (" + loopTime + processes
	started := "count(" + alive + ") unless " + alive + " offset " + restartWindow + "))"
	reset := "sum(resets(" + loopTime + of(processes, is("nodejs_eventloop_state", "active")) + "[" + restartWindow + "]))"
	s.row("Processes")
	s.line(8,
		chart{
			title: "CPU", scale: scale{unit: "none", decimals: new(2.0), min: new(0.0)}, noValue: "no process.cpu metrics: they come with @opentelemetry/host-metrics",
			about:   "How many CPUs a process uses. JavaScript uses one at most, the rest is garbage collection, compression and the like.",
			queries: []query{{expr: rate(cpuTime, "{}"), legend: name}},
		}.panel(),
		chart{
			title: "Memory", scale: bytesIEC, noValue: "no process.memory metrics: they come with @opentelemetry/host-metrics",
			about:   "What a process takes of the machine's memory, the heap and all else. At a container's limit it is killed.",
			queries: []query{{expr: "max" + each + " (" + memory + processes + ")", legend: name}},
		}.panel(),
		chart{
			title: "Starts", scale: count, softMax: restarts + 1, noValue: "no nodejs.eventloop metrics",
			about:   "How many processes have started in the last 15 minutes: as many as there are at a deploy. More than 3, again and again, is a crash loop.",
			limits:  limits(neutral, step{restarts, warning}),
			queries: []query{{expr: "(" + started + " or vector(0)) + (" + reset + " or vector(0))", legend: "starts"}},
		}.panel(),
	)
	return s
}
