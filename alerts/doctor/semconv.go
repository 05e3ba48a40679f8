package doctor

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// The two generations of OpenTelemetry's conventions call the same measurement
// http.server.duration, in milliseconds, and http.server.request.duration, in
// seconds. A service may send both, and whoever adds them counts twice.
const (
	oldGeneration = `http[._]server[._]duration([._]milliseconds|[._]ms)?([._]count|[._]bucket|[._]sum)?`
	newGeneration = `http[._]server[._]request[._]duration([._]seconds)?([._]count|[._]bucket|[._]sum)?`

	oneGeneration = "OTEL_SEMCONV_STABILITY_OPT_IN=http # in the service's environment: the new names only, not http/dup"
)

var (
	isOld = regexp.MustCompile("^" + oldGeneration + "$")
	isNew = regexp.MustCompile("^" + newGeneration + "$")
)

// generations looks for services that send both.
func (d *doctor) generations(ctx context.Context) {
	const by = "job"
	old := d.byLabel(ctx, by, fmt.Sprintf("count by (%s) ({__name__=~%q})", by, oldGeneration))
	var both []string
	for job := range d.byLabel(ctx, by, fmt.Sprintf("count by (%s) ({__name__=~%q})", by, newGeneration)) {
		if _, ok := old[job]; ok {
			both = append(both, fmt.Sprintf("%q", job))
		}
	}
	if len(both) > 0 {
		slices.Sort(both)
		d.general.warn("semconv", oneGeneration, "job %s: both generations of OpenTelemetry's HTTP metrics are sent, "+
			"http_server_duration (ms) and http_server_request_duration (s): a query that adds them counts requests twice", list(both))
	}
}

// bothGenerations looks for a query that counts the same requests in both.
func (d *doctor) bothGenerations(ctx context.Context, s *sheet, p *part) {
	rs := p.readings()
	names := make([][]string, len(rs))
	for i, r := range rs {
		if names[i] = []string{r.name}; r.name == "" {
			v, _ := d.vector(ctx, fmt.Sprintf("count by (__name__) (%s)", r.selector()))
			for _, sample := range v {
				names[i] = append(names[i], string(sample.Metric[model.MetricNameLabel]))
			}
		}
	}
	for i := range rs {
		for j := i; j < len(rs); j++ {
			old := slices.IndexFunc(names[i], isOld.MatchString)
			new := slices.IndexFunc(names[j], isNew.MatchString)
			if old < 0 || new < 0 {
				old, new = slices.IndexFunc(names[j], isOld.MatchString), slices.IndexFunc(names[i], isNew.MatchString)
				if old < 0 || new < 0 {
					continue
				}
				rs, names = slices.Clone(rs), slices.Clone(names)
				rs[i], rs[j], names[i], names[j] = rs[j], rs[i], names[j], names[i]
			}
			if i != j && !added(rs[i], rs[j]) {
				continue
			}
			shared := d.sharedJobs(ctx, rs[i], rs[j])
			if len(shared) == 0 {
				continue
			}
			s.fault("semconv", oneGeneration, "%s: adds %s and %s, which both count the requests of job %s: each counts twice",
				p.name, names[i][old], names[j][new], list(shared))
			return
		}
	}
}

// sharedJobs returns the jobs in which two selectors both find series.
func (d *doctor) sharedJobs(ctx context.Context, a, b reading) []string {
	jobs := func(r reading) map[string]float64 {
		return d.byLabel(ctx, "job", fmt.Sprintf("count by (job) (%s)", r.selector()))
	}
	in := jobs(b)
	var out []string
	for _, job := range slices.Sorted(maps.Keys(jobs(a))) {
		if _, ok := in[job]; ok {
			out = append(out, fmt.Sprintf("%q", job))
		}
	}
	return out
}

// added reports whether two selectors of one part end up in one sum: by a plus
// between them, or by an "or" inside an aggregation.
func added(a, b reading) bool {
	for i := 0; i < min(len(a.path), len(b.path)) && a.path[i] == b.path[i]; i++ {
		op, ok := a.path[i].(*parser.BinaryExpr)
		if !ok || i+1 < min(len(a.path), len(b.path)) && a.path[i+1] == b.path[i+1] {
			continue // the part where they differ comes later
		}
		inside := slices.ContainsFunc(a.path[:i], func(n parser.Node) bool { _, ok := n.(*parser.AggregateExpr); return ok })
		return op.Op == parser.ADD || op.Op == parser.LOR && inside
	}
	return false
}

// isRecorded reports whether a name is that of a recorded series.
func isRecorded(name string) bool { return strings.Contains(name, ":") }
