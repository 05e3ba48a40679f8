package doctor

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/alerts/rulegen"
	"github.com/slowburn-slo/slowburn/slo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// past is the history that a test writes into a Prometheus before it starts.
type past struct {
	text  strings.Builder
	start time.Time
	end   time.Time
}

// add writes the samples of a series, as value tells them by their number;
// those it says no to are left out.
func (p *past) add(series string, every time.Duration, value func(i int) (float64, bool)) {
	i := 0
	for at := p.start; !at.After(p.end); at = at.Add(every) {
		if v, ok := value(i); ok {
			fmt.Fprintf(&p.text, "%s %g %d\n", series, v, at.Unix())
		}
		i++
	}
}

// count writes a counter that grows evenly.
func (p *past) count(series string, perSample float64) {
	p.add(series, 30*time.Second, func(i int) (float64, bool) { return perSample * float64(i), true })
}

func (p *past) up(job, instance string, every time.Duration, there func(i int) bool) {
	p.add(fmt.Sprintf("up{job=%q,instance=%q}", job, instance), every, func(i int) (float64, bool) { return 1, there(i) })
}

// histogram writes the buckets, the sum and the count of a histogram.
func (p *past) histogram(name, labels string, perSample float64, bounds ...string) {
	for i, le := range append(bounds, "+Inf") {
		p.count(fmt.Sprintf("%s_bucket{%s,le=%q}", name, labels, le), perSample*float64(i+1)/float64(len(bounds)+1))
	}
	p.count(name+"_sum{"+labels+"}", perSample/4)
	p.count(name+"_count{"+labels+"}", perSample)
}

var (
	seconds      = strings.Fields("0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10")
	milliseconds = strings.Fields("0 5 10 25 50 75 100 250 500 750 1000 2500 5000 7500 10000")
)

func always(int) bool { return true }

// run starts a Prometheus over a history until the test ends, and returns its
// address.
func run(t *testing.T, p *past, config string, files map[string]string) string {
	t.Helper()
	for _, tool := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed; want it where CI=true", tool)
			}
			t.Skipf("%s is not installed (Debian package prometheus): no real Prometheus is examined", tool)
		}
	}
	dir := t.TempDir()
	files = maps.Clone(files)
	if files == nil {
		files = map[string]string{}
	}
	files["prometheus.yml"], files["past.om"] = config, p.text.String()+"# EOF\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("promtool", "tsdb", "create-blocks-from", "openmetrics", filepath.Join(dir, "past.om"), filepath.Join(dir, "data")).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var log bytes.Buffer
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/-/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "http://" + addr
			}
		}
		if time.Now().After(end) {
			t.Fatalf("Prometheus is not ready: %v\n%s", err, &log)
		}
	}
}

// promqlFlow returns a flow with one PromQL objective.
func promqlFlow(name string, q slo.Query) slo.Flow {
	return slo.Flow{Name: name, Service: "shop", Objectives: []slo.Objective{{
		ID: name, Name: "availability", Kind: slo.PromQL, Target: 0.999, Window: slo.DefaultWindow, MinEvents: 1,
		Tiers: slo.Tiers(0.999, slo.DefaultWindow), Query: q,
	}}}
}

// placed gives every objective a line of its own.
func placed(flows []slo.Flow) []slo.Flow {
	for i := range flows {
		flows[i].Objectives[0].Pos = slo.Pos{File: "slos.yaml", Line: 10 * (i + 1), Column: 9}
	}
	return flows
}

// rulesOf generates the rules of flows; change may spoil them.
func rulesOf(t *testing.T, flows []slo.Flow, change func(*rulefmt.RuleGroup)) string {
	t.Helper()
	groups, _, err := rulegen.Record(flows, rulegen.RecordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range groups {
		if change != nil {
			change(&groups[i])
		}
	}
	out, err := rulegen.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// seen is a finding that a test wants: texts that Seen and Fix contain.
type seen struct {
	severity   Severity
	check      string
	saw, mends string
}

// compare holds the faults and warnings of a report against what is wanted,
// subject by subject: all of them, and nothing else.
func compare(t *testing.T, r *Report, want map[string][]seen) {
	t.Helper()
	got := map[string][]Finding{}
	for _, f := range r.Findings {
		// Whether a group of one minute was evaluated yet is a matter of chance.
		if f.Severity != OK && !strings.Contains(f.Seen, "slowburn-shop-metrics-fast is not healthy") {
			got[f.Subject] = append(got[f.Subject], f)
			if f.Fix == "" {
				t.Errorf("%s: a %s without a fix: %s", f.Subject, f.Severity, f.Seen)
			}
		}
	}
	subjects := map[string]bool{}
	for s := range got {
		subjects[s] = true
	}
	for s := range want {
		subjects[s] = true
	}
	for _, subject := range slices.Sorted(maps.Keys(subjects)) {
		rest := slices.Clone(got[subject])
		for _, w := range want[subject] {
			i := slices.IndexFunc(rest, func(f Finding) bool {
				return f.Severity == w.severity && f.Check == w.check && strings.Contains(f.Seen, w.saw) && strings.Contains(f.Fix, w.mends)
			})
			if i < 0 {
				t.Errorf("%s: got %+v\nwant a %s of %s with %q and the fix %q", subject, rest, w.severity, w.check, w.saw, w.mends)
				continue
			}
			rest = slices.Delete(rest, i, i+1)
		}
		for _, f := range rest {
			t.Errorf("%s: unwanted %s of %s: %s\nfix: %s", subject, f.Severity, f.Check, f.Seen, f.Fix)
		}
	}
}

// TestHealthy examines a Prometheus in which nothing is wrong.
func TestHealthy(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	p := &past{start: now.Add(-7 * time.Hour), end: now}
	p.up("shop", "shop:1", 30*time.Second, always)
	p.count(`http_requests_total{job="shop",instance="shop:1",code="200"}`, 300)
	p.count(`http_requests_total{job="shop",instance="shop:1",code="500"}`, 0.3)
	p.count(`quiet_requests_total{job="shop",instance="shop:1",code="200"}`, 300)
	p.histogram("http_request_duration_seconds", `job="shop",instance="shop:1"`, 300, seconds...)
	const own = `sloth_id="shop-checkout-availability",sloth_service="shop",sloth_slo="checkout-availability",slowburn_flow="checkout"`
	for _, collector := range []string{"a", "b"} {
		p.count(`slo_events_total{instance="`+collector+`",`+own+`}`, 100)
		p.count(`slo_errors_total{instance="`+collector+`",`+own+`}`, 0.02)
	}
	flows := placed([]slo.Flow{
		promqlFlow("requests", slo.Query{Bad: `sum(rate(http_requests_total{job="shop",code=~"5.."}[$window]))`, Total: `sum(rate(http_requests_total{job="shop"}[$window]))`}),
		promqlFlow("quiet", slo.Query{Bad: `sum(rate(quiet_requests_total{job="shop",code=~"5.."}[$window]))`, Total: `sum(rate(quiet_requests_total{job="shop"}[$window]))`}),
		promqlFlow("fast", slo.Query{
			Good:  `sum(rate(http_request_duration_seconds_bucket{job="shop",le="0.25"}[$window]))`,
			Total: `sum(rate(http_request_duration_seconds_count{job="shop"}[$window]))`,
		}),
		{Name: "checkout", Service: "shop", Objectives: []slo.Objective{{
			Name: "availability", Target: 0.999, Window: slo.DefaultWindow, MinEvents: 3, Tiers: slo.Tiers(0.999, slo.DefaultWindow),
		}}},
	})
	url := run(t, p, "rule_files: [rules.yaml]\nalerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:1']}]}]}\n",
		map[string]string{"rules.yaml": rulesOf(t, flows, nil)})
	waitForText(t, url+"/api/v1/alertmanagers", "127.0.0.1:1/")

	for _, tc := range []struct {
		name  string
		flows []slo.Flow
		want  []string // findings that say ok, as expressions
	}{
		{"with the flows", flows, []string{
			`shop-requests: 252,\d\d\d events in the last day, 0.0999% bad; the budget of 99.9% good over 30d burns at 1×$`,
			"shop-quiet: bad: nothing has failed so far: quiet_requests_total has code of 200",
			"shop-fast: all of its 28 rules are loaded in this version",
			"shop-checkout-availability: counted by 2 collectors, the last sample is ",
			`shop-checkout-availability: 168,\d\d\d requests in the last day, 0.02% bad; the budget of 99.9% succeed over 30d burns at 0.2×$`,
			`job shop: a sample comes every 30 s \(the rules need one every 30 s\); read by shop-fast, shop-quiet, shop-requests$`,
			"server: alerts go to 1 Alertmanager",
		}},
		{"without", nil, []string{"shop-checkout-availability: ", "server: alerts go to 1 Alertmanager"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Run(t.Context(), Options{URL: url, Flows: tc.flows})
			if err != nil {
				t.Fatal(err)
			}
			compare(t, r, nil)
			var said []string
			for _, f := range r.Findings {
				said = append(said, f.Subject+": "+f.Seen)
			}
			for _, w := range tc.want {
				if !slices.ContainsFunc(said, func(s string) bool { return regexp.MustCompile("^" + w).MatchString(s) }) {
					t.Errorf("nothing says %q, only\n%s", w, strings.Join(said, "\n"))
				}
			}
			if r.Version == "" || r.Queries == 0 || r.SLOs != 4 {
				t.Errorf("version %q, %d queries, %d SLOs; want a version, some queries and 4 SLOs", r.Version, r.Queries, r.SLOs)
			}
		})
	}
}

// TestTraps examines a Prometheus in which every SLO fell into another trap.
func TestTraps(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	p := &past{start: now.Add(-7 * time.Hour), end: now}
	const shop = `job="shop",instance="shop:1"`
	p.up("shop", "shop:1", 30*time.Second, always)
	for code, n := range map[string]float64{"200": 300, "404": 6, "500": 0.3} {
		p.count(`http_requests_total{`+shop+`,method="GET",code="`+code+`"}`, n)
	}
	p.count(`http_requests_total{job="api",instance="api:1",method="GET",code="500"}`, 1)
	p.up("api", "api:1", 30*time.Second, always)
	p.count(`orders_total{`+shop+`,outcome="ok"}`, 30)
	p.count(`orders_total{`+shop+`,outcome="timeout"}`, 1)
	p.histogram("http_request_duration_seconds", shop, 300, seconds...)
	p.histogram("sold_seconds", shop, 300, milliseconds...)
	p.histogram("wait_seconds", shop, 300, "0.1", "1")
	p.histogram("wait_seconds", `job="shop",instance="shop:2"`, 300, "0.1", "0.5", "1")
	p.histogram("http_server_duration_milliseconds", shop, 300, milliseconds...)
	p.histogram("http_server_request_duration_seconds", shop, 300, seconds...)
	p.add(`queue_restarts_total{`+shop+`}`, 30*time.Second, func(i int) (float64, bool) { return float64(i % 8), true })
	p.add(`gone_requests_total{`+shop+`}`, 30*time.Second, func(i int) (float64, bool) { return float64(i), i < 480 })
	// Scraped every minute, and not at all for 20 minutes three hours ago.
	there := func(i int) bool { return i < 220 || i >= 240 }
	p.up("batch", "batch:1", time.Minute, there)
	p.add(`jobs_total{job="batch",instance="batch:1",outcome="ok"}`, time.Minute, func(i int) (float64, bool) { return float64(i), there(i) })
	p.add(`up{job="flaky",instance="flaky:1"}`, 30*time.Second, func(i int) (float64, bool) { return map[bool]float64{true: 1}[i%10 > 1 || i > 830], true })
	p.count(`flaky_requests_total{job="flaky",instance="flaky:1"}`, 10)
	const own = `sloth_service="shop",sloth_slo="x",slowburn_flow="x"`
	p.add(`slo_events_total{sloth_id="shop-late-availability",`+own+`}`, 30*time.Second, func(i int) (float64, bool) { return float64(i), i < 800 })
	p.add(`slo_events_total{sloth_id="shop-twins-availability",`+own+`}`, 30*time.Second, func(i int) (float64, bool) { return float64(i % 100), true })
	for _, instance := range []string{"a", "b"} {
		p.add(`slo:objective:ratio{sloth_id="shop-twice",instance="`+instance+`"}`, 30*time.Second, func(int) (float64, bool) { return 0.999, true })
	}

	const total = `sum(rate(http_requests_total{job="shop"}[$window]))`
	const bad = `sum(rate(http_requests_total{job="shop",code=~"5.."}[$window]))`
	latency := func(name, le string) slo.Query {
		return slo.Query{
			Good:  `sum(rate(` + name + `_bucket{job="shop",le=` + le + `}[$window]))`,
			Total: `sum(rate(` + name + `_count{job="shop"}[$window]))`,
		}
	}
	traps := []struct {
		name  string
		query slo.Query
		want  []seen
	}{
		{"metric", slo.Query{Bad: bad, Total: `sum(rate(http_request_total{job="shop"}[$window]))`}, []seen{
			{Fault, "metric", "there is no metric http_request_total; http_requests_total comes nearest", `total: 'sum(rate(http_requests_total{job="shop"}[$window]))'`},
		}},
		{"nothing-like-it", slo.Query{Bad: bad, Total: `sum(rate(zebra_crossings_total[$window]))`}, []seen{
			{Fault, "metric", "there is no metric zebra_crossings_total, nor one with a name like it", `| grep -i 'crossings'`},
		}},
		{"never-failed", slo.Query{Bad: `sum(rate(http_failures_total[$window]))`, Total: total}, []seen{
			{Warning, "metric", "there is no metric http_failures_total, nor one with a name like it", "| grep -i 'failures'"},
		}},
		{"gone", slo.Query{Bad: bad, Total: `sum(rate(gone_requests_total[$window]))`}, []seen{
			{Fault, "metric", "gone_requests_total has had no sample for 3 h", "promtool query instant"},
		}},
		{"label", slo.Query{Bad: `sum(rate(http_requests_total{job="shop",status=~"5.."}[$window]))`, Total: total}, []seen{
			{Fault, "label", "no series of http_requests_total has a label status; code is there, with 200, 404, 500", `bad: 'sum(rate(http_requests_total{code=~"5..",job="shop"}[$window]))'`},
		}},
		{"value", slo.Query{Bad: bad, Total: `sum(rate(http_requests_total{job="shopp"}[$window]))`}, []seen{
			{Fault, "value", `no series of http_requests_total has job="shopp"; there are api, shop`, `total: 'sum(rate(http_requests_total{job="shop"}[$window]))'`},
		}},
		{"anchored", slo.Query{Bad: `sum(rate(orders_total{job="shop",outcome=~"time"}[$window]))`, Total: `sum(rate(orders_total{job="shop"}[$window]))`}, []seen{
			{Warning, "value", `an expression has to fit the whole of a value`, `outcome="timeout"`},
		}},
		{"together", slo.Query{Bad: bad, Total: `sum(rate(http_requests_total{code="404",job="api"}[$window]))`}, []seen{
			{Fault, "value", `no series of http_requests_total{job="api"} has code="404"; there are 500`, "count by (code)"},
		}},
		{"no-such-bucket", latency("http_request_duration_seconds", `"0.3"`), []seen{
			{
				Fault, "bucket", `no bucket of http_request_duration_seconds_bucket has le="0.3", so nothing is counted; 0.25 and 0.5 are nearest (the 14 boundaries reach from 0.005 to 10)`,
				`good: 'sum(rate(http_request_duration_seconds_bucket{job="shop",le="0.25"}[$window]))' # or le="0.5"`,
			},
		}},
		{"spelling", latency("http_request_duration_seconds", `"1.0"`), []seen{
			{Fault, "bucket", `has le="1.0", as the server spells it le="1"`, `le=~"1(\\.0)?"`},
		}},
		{"spelling-to-come", latency("http_request_duration_seconds", `"1"`), []seen{
			{Warning, "bucket", `from Prometheus 3 on the bucket is called le="1.0"`, `le=~"1(\\.0)?"`},
		}},
		{"ms-for-s", latency("http_request_duration_seconds", `"300"`), []seen{
			{Fault, "unit", `so le="300" is in milliseconds where the metric is in seconds`, `le="0.25"`},
		}},
		{"s-for-ms", latency("http_server_duration_milliseconds", `"0.25"`), []seen{
			{Fault, "unit", `so le="0.25" is in seconds where the metric is in milliseconds`, `le="250"`},
		}},
		{"name-lies", latency("sold_seconds", `"0.3"`), []seen{
			{Fault, "unit", `so le="0.3" is in seconds where the metric is in milliseconds`, `le="250"`},
			{Warning, "unit", "sold_seconds_bucket says seconds, but its boundaries (5, 250, … 10000) are those of milliseconds", "sold_seconds_sum"},
		}},
		{"some-lack-it", latency("wait_seconds", `"0.5"`), []seen{
			{Warning, "bucket", `only 1 of 2 series of wait_seconds_bucket have a bucket le="0.5"`, "count by (job, instance)"},
		}},
		{"many-buckets", latency("wait_seconds", `"0.1|0.5"`), nil}, // replaced below
		{"no-le", slo.Query{Good: `sum(rate(http_request_duration_seconds_bucket{job="shop"}[$window]))`, Total: total}, []seen{
			{Fault, "bucket", "counts a request once for every bucket it fits", "good: 'sum(rate(http_request_duration_seconds_count"},
			{Fault, "consistency", "total must count every event that good does", ""},
		}},
		{"both-generations", slo.Query{Bad: bad, Total: `sum(rate(http_server_duration_milliseconds_count[$window])) + sum(rate(http_server_request_duration_seconds_count[$window]))`}, []seen{
			{Fault, "semconv", `adds http_server_duration_milliseconds_count and http_server_request_duration_seconds_count, which both count the requests of job "shop"`, "OTEL_SEMCONV_STABILITY_OPT_IN=http "},
		}},
		{"by-name", slo.Query{Bad: bad, Total: `sum(rate({__name__=~"http_server_.*duration.*_count"}[$window]))`}, []seen{
			{Fault, "semconv", "each counts twice", "OTEL_SEMCONV_STABILITY_OPT_IN=http "},
			{Fault, "query", "the server cannot answer: execution: vector cannot contain metrics with the same labelset", "promtool query instant"},
		}},
		{"either-generation", slo.Query{Bad: bad, Total: `sum(rate(http_server_request_duration_seconds_count[$window])) or sum(rate(http_server_duration_milliseconds_count[$window]))`}, nil},
		{"splits-differ", slo.Query{Bad: `sum by (method) (rate(http_requests_total{job="shop",code=~"5.."}[$window]))`, Total: total}, []seen{
			{Fault, "label", "bad is split by (method), total by ()", "bad: 'sum(rate("},
		}},
		{"splits-nothing", slo.Query{
			Bad:   `sum by (methods) (rate(http_requests_total{job="shop",code=~"5.."}[$window]))`,
			Total: `sum by (methods) (rate(http_requests_total{job="shop"}[$window]))`,
		}, []seen{
			{Warning, "label", "bad: it is split by methods, which no series of http_requests_total has; there are code, instance, job, method", "bad: 'sum by (method) "},
			{Warning, "label", "total: it is split by methods", "total: 'sum by (method) "},
		}},
		{"other-job", slo.Query{Bad: `sum(rate(http_requests_total{job="api",code=~"5.."}[$window]))`, Total: total}, []seen{
			{Fault, "label", `bad counts job="api" where total counts job="shop"`, `bad: 'sum(rate(http_requests_total{code=~"5..",job="shop"}[$window]))'`},
		}},
		{"more-bad-than-all", slo.Query{Bad: total, Total: bad}, []seen{
			{Fault, "consistency", "total must count every event that bad does", "promtool query instant"},
		}},
		{"bad-is-good", slo.Query{Bad: `sum(rate(http_requests_total{job="shop",code="200"}[$window]))`, Total: total}, []seen{
			{Warning, "consistency", "bad is 97.9% of total over the last hour: is it the good events that it counts?", "good: 'sum(rate("},
		}},
		{"percent", slo.Query{Ratio: `100 * ` + bad + ` / ` + total}, nil}, // about 0.1: in bounds, and cannot be told
		{"percent-of-all", slo.Query{Ratio: `100 * sum(rate(http_requests_total{job="shop",code="404"}[$window])) / ` + total}, []seen{
			{Fault, "consistency", "ratio is 1.959 over the last hour; want a share from 0 to 1", "ratio: '(100 * "},
		}},
		{"good-ratio", slo.Query{Ratio: `sum(rate(http_requests_total{job="shop",code="200"}[$window])) / ` + total}, []seen{
			{Warning, "consistency", "it has to be the share of bad events", "ratio: '1 - ("},
		}},
		{"many-series", slo.Query{Bad: bad, Total: `rate(http_requests_total{job="shop"}[$window])`}, []seen{
			{Fault, "series", "total: gives 3 series where one is wanted", `total: 'sum(rate(http_requests_total{job="shop"}[$window]))'`},
		}},
		{"cannot-be-answered", slo.Query{Bad: bad, Total: `sum(rate(http_requests_total{job="shop"}[$window]) * on (job) rate(orders_total[$window]))`}, []seen{
			{Fault, "query", "many-to-many", "promtool query instant"},
		}},
		{"gauge", slo.Query{Bad: `sum(rate(in_flight[$window]))`, Total: `sum(rate(in_flight_total[$window]))`}, []seen{
			{Fault, "counter", "rate(in_flight) counts nothing: its targets say it is a gauge", `bad: 'sum(rate(in_flight_total[$window]))'`},
		}},
		{"restarts", slo.Query{Bad: `sum(rate(queue_restarts_total[$window]))`, Total: total}, []seen{
			{Fault, "counter", "queue_restarts_total falls back 1", "topk(3, resets(queue_restarts_total[1h]))"},
		}},
		{"summed", slo.Query{Bad: `sum(sum_over_time(in_flight_total[$window]))`, Total: `sum(sum_over_time(in_flight_total[$window]))`}, []seen{
			{Fault, "counter", "bad: sum_over_time(in_flight_total) counts scrapes, not events", "bad: 'sum(increase(in_flight_total[$window]))'"},
			{Fault, "counter", "total: sum_over_time(in_flight_total) counts scrapes, not events", "total: 'sum(increase(in_flight_total[$window]))'"},
			{Warning, "consistency", "bad is 100% of total", ""},
		}},
		{"slow-scrapes", slo.Query{Bad: `sum(rate(jobs_total{outcome="failed"}[$window]))`, Total: `sum(rate(jobs_total[$window]))`}, []seen{
			{Warning, "value", `no series of jobs_total has outcome="failed", which is right if nothing has failed so far; there are ok`, "count by (outcome) (jobs_total)"},
		}},
		{"flaky", slo.Query{Bad: `sum(rate(flaky_requests_total{code="500"}[$window]))`, Total: `sum(rate(flaky_requests_total[$window]))`}, []seen{
			{Fault, "label", "no series of flaky_requests_total has a label code; there are instance, job", ""},
		}},
		{"down", slo.Query{Bad: bad, Total: `sum(rate(down_requests_total[$window]))`}, nil},
	}
	for i := range traps {
		switch traps[i].name {
		case "many-buckets":
			traps[i].query.Good = strings.Replace(traps[i].query.Good, `le="`, `le=~"`, 1)
			traps[i].want = []seen{{Fault, "bucket", `le=~"0.1|0.5" picks 2 buckets of wait_seconds_bucket`, `le="0.5"`}}
		}
	}
	// A target that was scraped and then died: its counter is still there.
	p.count(`down_requests_total{job="dead",instance="127.0.0.1:1"}`, 10)

	// Of the rules of these, something is wrong.
	const unhealthy = `sum(rate(http_requests_total{job="shop"}[$window]) * on (job) rate(orders_total[$window]))`
	spoilt := []slo.Flow{
		promqlFlow("unloaded", slo.Query{Bad: bad, Total: total}),
		promqlFlow("half-loaded", slo.Query{Bad: bad, Total: total}),
		promqlFlow("outdated", slo.Query{Bad: bad, Total: total}),
		promqlFlow("hurried", slo.Query{Bad: bad, Total: unhealthy}),
		promqlFlow("twice", slo.Query{Bad: bad, Total: total}),
		promqlFlow("only-sloth", slo.Query{Bad: bad, Total: total}),
	}
	for i := range spoilt {
		spoilt[i].Service = "spoilt-" + spoilt[i].Name // groups of their own
		spoilt[i].Objectives[0].ID = "slo"
	}
	counted := func(name string) slo.Flow {
		return slo.Flow{Name: name, Service: "shop", Objectives: []slo.Objective{{
			Name: "availability", Target: 0.999, Window: slo.DefaultWindow, MinEvents: 3, Tiers: slo.Tiers(0.999, slo.DefaultWindow),
		}}}
	}
	var sound []slo.Flow
	want := map[string][]seen{}
	for _, trap := range traps {
		sound = append(sound, promqlFlow(trap.name, trap.query))
		want["shop-"+trap.name] = trap.want
	}
	sound = append(sound, counted("uncounted"), counted("late"), counted("twins"))
	flows := placed(append(slices.Clone(sound), spoilt...))
	sound, spoilt = flows[:len(sound)], flows[len(sound):]

	want["shop-uncounted-availability"] = []seen{{Fault, "collector", `no collector has sent slo_events_total{sloth_id="shop-uncounted-availability"} for an hour`, "slowburn serve --slos 'slos.yaml' --remote-write "}}
	want["shop-late-availability"] = []seen{{Fault, "collector", "the last sample of slo_events_total is 20 min old", "time() - timestamp(slo_events_total"}}
	want["shop-twins-availability"] = []seen{{Fault, "collector", "fell back 7 times in the last 6 h, which it never does: two collectors send under the same labels", "external_labels: {instance: "}}
	want["spoilt-unloaded-slo"] = []seen{{Fault, "rules", "none of its 28 rules is loaded: nothing is recorded and nobody is alerted", "slowburn generate --slos 'slos.yaml' --to prometheus"}}
	want["spoilt-half-loaded-slo"] = []seen{{Fault, "rules", "2 of its 28 rules are not loaded: SlowburnBudgetBurnPage, SlowburnBudgetBurnTicket", "slowburn generate"}}
	want["spoilt-outdated-slo"] = []seen{{Fault, "rules", "1 of its 28 rules are loaded as another version: slo:objective:ratio; the first has vector(0.99) where it should have vector(0.999)", "slowburn generate"}}
	want["spoilt-hurried-slo"] = []seen{
		{Fault, "query", "many-to-many", ""},
		{Fault, "rules", "rule slo:events_total:increase1m of group slowburn-spoilt-hurried-fast is not healthy: ", "promtool query instant"},
		{Fault, "rules", "group slowburn-spoilt-hurried-fast is evaluated every 1s, not every 1m", "interval: 1m # of group slowburn-spoilt-hurried-fast in "},
	}
	want["spoilt-twice-slo"] = []seen{{Fault, "rules", "2 series are recorded twice, by group sloth-slo-sli-recordings-spoilt-twice-slo (", "grep -n 'name: sloth-slo-sli-recordings-spoilt-twice-slo'"}}
	want["spoilt-only-sloth-slo"] = []seen{{Fault, "rules", "none of its 28 rules is loaded, only those of group sloth-slo-sli-recordings-spoilt-only-sloth-slo (", "slowburn generate"}}
	want["job batch"] = []seen{
		{Fault, "scrape", "a sample comes every 1 min, and the rules count on one every 30 s", "scrape_interval: 30s # of job batch"},
		{Warning, "scrape", "are missing in the last 6 h, the longest gap of ", "--catch-up"},
	}
	want["job flaky"] = []seen{{Warning, "target", "of the scrapes of flaky:1 failed in the last 6 h", "avg_over_time(up"}}
	want["job dead"] = []seen{{Fault, "target", "no target of the job can be scraped (127.0.0.1:1): Get ", "curl -sS -m 5 'http://127.0.0.1:1/metrics'"}}
	want[Server] = []seen{
		{Warning, "semconv", `job "shop": both generations of OpenTelemetry's HTTP metrics are sent`, "OTEL_SEMCONV_STABILITY_OPT_IN=http "},
		{Fault, "alertmanager", "no Alertmanager is known here: the alerts of ", "alerting: {alertmanagers: "},
	}

	sloth := func(id string) string {
		return fmt.Sprintf(`groups:
- name: sloth-slo-sli-recordings-%[1]s
  rules:
  - record: slo:sli_error:ratio_rate5m
    expr: (sum(rate(http_requests_total{job="shop",code=~"5.."}[5m]))) / (sum(rate(http_requests_total{job="shop"}[5m])))
    labels: {sloth_id: %[1]s, sloth_service: x, sloth_slo: slo, sloth_window: 5m}
  - record: slo:sli_error:ratio_rate30m
    expr: 1 - (sum(rate(http_request_duration_seconds_bucket{job="shop",le="0.3"}[30m])) / sum(rate(http_request_duration_seconds_count{job="shop"}[30m])))
    labels: {sloth_id: %[1]s, sloth_service: x, sloth_slo: slo, sloth_window: 30m}
`, id)
	}
	files := map[string]string{
		"sound.yaml": rulesOf(t, sound, nil),
		"half-loaded.yaml": rulesOf(t, spoilt[1:2], func(g *rulefmt.RuleGroup) {
			g.Rules = slices.DeleteFunc(g.Rules, func(r rulefmt.Rule) bool { return r.Alert != "" })
		}),
		"outdated.yaml": strings.Replace(rulesOf(t, spoilt[2:3], nil), "vector(0.999)", "vector(0.99)", 1),
		"hurried.yaml": rulesOf(t, spoilt[3:4], func(g *rulefmt.RuleGroup) {
			if strings.HasSuffix(g.Name, "-fast") {
				g.Interval = model.Duration(time.Second)
			}
		}),
		"twice.yaml":      rulesOf(t, spoilt[4:5], nil),
		"sloth.yaml":      sloth("spoilt-twice-slo"),
		"only-sloth.yaml": sloth("spoilt-only-sloth-slo"),
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := time.Since(now).Seconds()
		fmt.Fprintf(w, "# TYPE in_flight gauge\nin_flight 5\n# TYPE in_flight_total counter\nin_flight_total %g\n", 1000+n)
	}))
	defer target.Close()
	config := fmt.Sprintf(`rule_files: ['*.yaml']
global: {scrape_interval: 1s, evaluation_interval: 1s}
scrape_configs:
- {job_name: live, static_configs: [{targets: [%q]}]}
- {job_name: dead, static_configs: [{targets: ["127.0.0.1:1"]}]}
`, strings.TrimPrefix(target.URL, "http://"))
	url := run(t, p, config, files)
	waitFor(t, url, `count_over_time(in_flight_total[1m]) > 3 and on () count(up == 0) == 1`)
	waitForText(t, url+"/api/v1/rules", "many-to-many")

	t.Run("with the flows", func(t *testing.T) {
		began := time.Now()
		r, err := Run(t.Context(), Options{URL: url + "/", Flows: flows, Paths: []string{"slos.yaml"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d SLOs, %d queries in %.1f s", r.SLOs, r.Queries, time.Since(began).Seconds())
		var text strings.Builder
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		t.Log(text.String())
		compare(t, r, want)
		for _, f := range r.Findings {
			if strings.HasPrefix(f.Subject, "shop-") && f.Pos.Line == 0 {
				t.Errorf("%s has no place: %s", f.Subject, f.Seen)
			}
		}
	})
	t.Run("without", func(t *testing.T) {
		r, err := Run(t.Context(), Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		t.Log(text.String())
		for _, w := range []struct {
			subject string
			seen
		}{
			{"spoilt-twice-slo", seen{Fault, "rules", "recorded twice", ""}},
			{"spoilt-only-sloth-slo", seen{Fault, "bucket", `has le="0.3", so nothing is counted`, `expr: '1 - (`}},
			{"shop-twice", seen{Warning, "series", "slo:objective:ratio is there 2 times", ""}},
			{"shop-metric", seen{Fault, "metric", "http_requests_total comes nearest", ""}},
			{"spoilt-hurried-slo", seen{Fault, "rules", "not healthy", ""}},
			{Server, seen{Warning, "semconv", "both generations", ""}},
		} {
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
				return f.Subject == w.subject && f.Severity == w.severity && f.Check == w.check && strings.Contains(f.Seen, w.saw) && strings.Contains(f.Fix, w.mends)
			}) {
				t.Errorf("%s: want a %s of %s with %q and the fix %q", w.subject, w.severity, w.check, w.saw, w.mends)
			}
		}
	})
}

// waitFor waits until a query has an answer.
func waitFor(t *testing.T, url, expr string) {
	t.Helper()
	s, err := connect(Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		s.known = map[string]*answer{}
		if v, err := s.query(t.Context(), expr); err == nil && len(v) > 0 {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%s: %v, %v", expr, v, err)
		}
	}
}

// waitForText waits until an answer has a text.
func waitForText(t *testing.T, url, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		resp.Body.Close()
		if strings.Contains(b.String(), text) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not say %q: %s", url, text, b.String())
		}
	}
}
