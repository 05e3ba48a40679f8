package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

// job is what scrapes the metrics of some SLOs; its name is empty for metrics
// that were not scraped but written, such as over OTLP.
type job struct {
	name     string
	selector string // of one of its metrics
	pos      slo.Pos
	subjects []string
}

// reads remembers which job an SLO's selector finds.
func (d *doctor) reads(name string, s *sheet, r reading) {
	key, selector := name, r.selector()
	if name == "" {
		key = "\xff" + r.name
	}
	if isRecorded(r.name) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.jobs[key]
	if j == nil {
		j = &job{name: name, selector: selector, pos: s.pos}
		d.jobs[key] = j
	}
	if !slices.Contains(j.subjects, s.subject) {
		j.subjects = append(j.subjects, s.subject)
	}
}

// scrapes looks at how a job is scraped.
func (d *doctor) scrapes(ctx context.Context, j *job) {
	slices.Sort(j.subjects)
	s := &sheet{subject: "job " + j.name}
	if len(j.subjects) == 1 {
		s.pos = j.pos
	}
	defer d.keep(s)
	up := "up" + selector([]*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "job", j.name)})
	targets, found, ok := d.number(ctx, "count("+up+")")
	switch {
	case !ok:
		return
	case j.name != "" && found:
		d.down(ctx, s, j, up, targets)
	case j.name == "":
		s.subject, up = "metric "+j.selector, j.selector
	default: // written to the server, with a job of its own
		up = j.selector
	}
	interval, ok := d.interval(ctx, up)
	if !ok {
		return
	}
	read := fmt.Sprintf("; read by %s", list(j.subjects))
	const slack = 1.25
	switch {
	case float64(interval) > slack*float64(d.Scrape):
		s.fault("scrape", fmt.Sprintf("scrape_interval: %s # of job %s; or: slowburn generate --scrape-interval %s", slo.Duration(d.Scrape), j.name, slo.Duration(interval)),
			"a sample comes every %s, and the rules count on one every %s: they miss events%s", span(interval), span(d.Scrape), read)
	default:
		s.ok("scrape", "a sample comes every %s (the rules need one every %s)%s", span(interval), span(d.Scrape), read)
	}
	d.gaps(ctx, s, up, interval)
}

// span writes a time between samples.
func span(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%g s", d.Seconds())
	}
	return words.Span(d.Round(time.Second))
}

// down looks for targets that are not scraped.
func (d *doctor) down(ctx context.Context, s *sheet, j *job, up string, targets float64) {
	v, ok := d.vector(ctx, up+" == 0")
	if !ok {
		return
	}
	if len(v) > 0 {
		var instances []string
		for _, sample := range v {
			instances = append(instances, string(sample.Metric["instance"]))
		}
		slices.Sort(instances)
		address, reason := d.target(ctx, j.name, instances[0])
		fix := "curl -sS -m 5 " + shell(address) + " | head"
		if float64(len(v)) == targets {
			s.fault("target", fix, "no target of the job can be scraped (%s)%s", list(instances), reason)
		} else {
			s.warn("target", fix, "%d of %s targets cannot be scraped (%s)%s", len(v), words.Number(targets, 0), list(instances), reason)
		}
	}
	const most = 0.99
	failed, _ := d.vector(ctx, fmt.Sprintf("bottomk(1, avg_over_time(%s[%s]) < %g and %s == 1)", up, slo.Duration(d.Past), most, up))
	for _, sample := range failed {
		s.warn("target", promtool(d.url, fmt.Sprintf("avg_over_time(%s[%s])", up, slo.Duration(d.Past))),
			"%s of the scrapes of %s failed in the last %s", share(1-float64(sample.Value)), sample.Metric["instance"], words.Span(d.Past))
	}
}

// target returns where a target is scraped, and why it cannot be.
func (d *doctor) target(ctx context.Context, job, instance string) (address, reason string) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	d.count()
	address = "http://" + instance + "/metrics"
	answer, err := d.api.Targets(ctx)
	if err != nil && !absent(err) {
		d.fail("the targets", plain(err))
	}
	for _, t := range answer.Active {
		if string(t.Labels["job"]) == job && string(t.Labels["instance"]) == instance {
			if t.LastError != "" {
				reason = ": " + t.LastError
			}
			return t.ScrapeURL, reason
		}
	}
	return address, ""
}

// interval returns how far apart the samples of one series are.
func (d *doctor) interval(ctx context.Context, selector string) (time.Duration, bool) {
	one, ok := d.vector(ctx, "topk(1, "+selector+")")
	if !ok || len(one) == 0 {
		return 0, false
	}
	past := max(10*d.Scrape, 10*time.Minute)
	m, ok := d.samples(ctx, one[0].Metric.String(), past)
	if !ok || len(m) == 0 {
		return 0, false
	}
	var apart []time.Duration
	for i := 1; i < len(m[0].Values); i++ {
		apart = append(apart, m[0].Values[i].Timestamp.Sub(m[0].Values[i-1].Timestamp))
	}
	if len(apart) == 0 {
		return 0, false
	}
	slices.Sort(apart)
	middle := apart[len(apart)/2].Round(100 * time.Millisecond)
	return middle, middle > 0
}

// gaps looks for times without samples.
func (d *doctor) gaps(ctx context.Context, s *sheet, selector string, interval time.Duration) {
	const points = 72
	step := max(d.Past/points, 5*interval, time.Second).Round(time.Second)
	m, ok := d.history(ctx, fmt.Sprintf("max(count_over_time(%s[%s]))", selector, slo.Duration(step)), d.Past, step)
	if !ok || len(m) == 0 || len(m[0].Values) < 3 {
		return
	}
	// The first point may look back to before the first scrape.
	values := m[0].Values[1:]
	expect := step.Seconds() / interval.Seconds()
	var lost, longest, run float64
	var from, until, began time.Time
	at := values[0].Timestamp
	miss := func(t model.Time, got float64) {
		gone := expect - min(got, expect)
		if gone < max(0.1*expect, 1.5) {
			run = 0
			return
		}
		if run == 0 {
			began = t.Time().Add(-step)
		}
		lost += gone
		if run += gone; run > longest {
			longest, from, until = run, began, t.Time()
		}
	}
	for _, v := range values {
		if v.Timestamp.Time().After(d.now.Add(step)) {
			break // not what was asked for
		}
		for ; at.Before(v.Timestamp); at = at.Add(step) {
			miss(at, 0)
		}
		miss(v.Timestamp, float64(v.Value))
		at = v.Timestamp.Add(step)
	}
	if lost == 0 {
		return
	}
	length := func(samples float64) string { return words.Span(time.Duration(samples * float64(interval))) }
	s.warn("scrape", fmt.Sprintf("slowburn generate %s --to prometheus --out rules --catch-up", d.slosFlags()),
		"samples of %s are missing in the last %s, the longest gap of %s between %s and %s: plain rules lose what happened meanwhile",
		length(lost), words.Span(d.Past), length(longest), from.UTC().Format("15:04"), clock(until))
}
