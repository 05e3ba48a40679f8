package main

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	promapi "github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// rate is how many requests or events a flow has.
type rate struct {
	perSecond float64 // > 0
	text      string  // 20/s
	over      time.Duration
}

// usual are shown where nothing is known of a flow: a login at night, a small
// shop, a large one.
var usual = []rate{
	{perSecond: 1.0 / 60, text: "1/min"}, {perSecond: 1, text: "1/s"}, {perSecond: 10, text: "10/s"}, {perSecond: 100, text: "100/s"},
}

var perUnit = map[string]time.Duration{
	"s": time.Second, "m": time.Minute, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// parseRate reads how much traffic there is: 20/s, 5/min, 1200/h.
func parseRate(s string) (rate, error) {
	number, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	per, ok := perUnit[strings.TrimSpace(unit)]
	r := rate{perSecond: n / per.Seconds(), text: s}
	if err != nil || !ok || !(r.perSecond > 0) || math.IsInf(r.perSecond, 0) {
		return rate{}, fmt.Errorf("%q is not a rate; want one such as 20/s, 5/min or 1200/h", s)
	}
	return r, nil
}

// traffic is what is known of the flows' rates: what the user says, then what
// was counted.
type traffic struct {
	all    *rate
	byFlow map[string]rate    // by name, or service/name
	flows  map[[2]string]rate // counted, by service and name
	slos   map[string]rate    // counted, by id
}

// parseTraffic reads the values of --traffic: 20/s, checkout=20/s or
// shop/checkout=20/s. flows are those that there are.
func parseTraffic(values []string, flows []slo.Flow) (traffic, error) {
	t := traffic{byFlow: map[string]rate{}}
	known := map[string]bool{}
	for _, f := range flows {
		known[f.Name], known[f.Service+"/"+f.Name] = true, true
	}
	for _, v := range values {
		name, text, ok := strings.Cut(v, "=")
		if !ok {
			name, text = "", v
		}
		r, err := parseRate(text)
		switch {
		case err != nil:
			return t, fmt.Errorf("--traffic: %w", err)
		case ok && !known[name]:
			return t, fmt.Errorf("--traffic: there is no flow %q; want the name of one, or service/name", name)
		case ok:
			t.byFlow[name] = r
		default:
			t.all = &r
		}
	}
	return t, nil
}

// of returns the rates to show for an SLO.
func (t traffic) of(s slo.SLO) []rate {
	for _, name := range []string{s.Flow.Service + "/" + s.Flow.Name, s.Flow.Name} {
		if r, ok := t.byFlow[name]; ok {
			return []rate{r}
		}
	}
	if t.all != nil {
		return []rate{*t.all}
	}
	if r, ok := t.slos[s.ID()]; ok && s.Objective.Kind == slo.PromQL {
		return []rate{r}
	}
	if r, ok := t.flows[[2]string{s.Flow.Service, s.Flow.Name}]; ok && s.Objective.Kind != slo.PromQL {
		return []rate{r}
	}
	return usual
}

const (
	// lookedBack is the time whose traffic is averaged: a week holds working
	// days and a weekend.
	lookedBack = 7 * 24 * time.Hour
	lookStep   = 5 * time.Minute

	askTimeout = 30 * time.Second
)

// count asks the Prometheus query API at address for the average rates of the
// last days up to at, or of as long as there are counts.
func (t *traffic) count(ctx context.Context, address string, at time.Time) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--url: %q is not an address; want one such as http://localhost:9595", address)
	}
	client, err := promapi.NewClient(promapi.Config{Address: address})
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c := counter{prometheus.NewAPI(client), at}

	flows, err := c.rates(ctx, series.FlowRequests, series.Service, series.FlowName)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	slos, err := c.rates(ctx, series.Events, series.ID)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	t.flows, t.slos = map[[2]string]rate{}, map[string]rate{}
	for _, r := range flows {
		t.flows[[2]string{string(r.labels[series.Service]), string(r.labels[series.FlowName])}] = r.rate
	}
	for _, r := range slos {
		t.slos[string(r.labels[series.ID])] = r.rate
	}
	return nil
}

// counter asks a Prometheus for rates of the time up to at.
type counter struct {
	api prometheus.API
	at  time.Time
}

type counted struct {
	labels model.Metric
	rate
}

// rates returns how fast the counters of a metric grew, by labels. A counter
// that is younger than lookedBack is averaged over its life.
func (c counter) rates(ctx context.Context, metric string, labels ...string) ([]counted, error) {
	by := strings.Join(labels, ", ")
	grown, err := c.ask(ctx, fmt.Sprintf("sum by (%s) (increase(%s[%s]))", by, metric, model.Duration(lookedBack)))
	if err != nil {
		return nil, err
	}
	first, err := c.ask(ctx, fmt.Sprintf("min by (%s) (min_over_time(timestamp(%s)[%s:%s]))",
		by, metric, model.Duration(lookedBack), model.Duration(lookStep)))
	if err != nil {
		return nil, err
	}
	since := map[model.Fingerprint]time.Time{}
	for _, s := range first {
		since[s.Metric.Fingerprint()] = time.Unix(int64(s.Value), 0)
	}
	var out []counted
	for _, s := range grown {
		began, ok := since[s.Metric.Fingerprint()]
		over := c.at.Sub(began).Truncate(time.Second)
		if over > lookedBack-2*lookStep { // counted all the time: steps begin within the range
			over = lookedBack
		}
		if n := float64(s.Value); ok && n > 0 && over >= lookStep {
			perSecond := n / over.Seconds()
			out = append(out, counted{s.Metric, rate{perSecond: perSecond, text: rateWords(perSecond), over: over}})
		}
	}
	return out, nil
}

func (c counter) ask(ctx context.Context, query string) (model.Vector, error) {
	v, _, err := c.api.Query(ctx, query, c.at)
	if err != nil {
		return nil, err
	}
	vector, ok := v.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("%s is a %s; want a vector, as of Prometheus", query, v.Type())
	}
	return vector, nil
}

// rateWords writes a rate by the unit in which it is a readable number.
func rateWords(perSecond float64) string {
	for _, unit := range []string{"s", "min", "h"} {
		if n := perSecond * perUnit[unit].Seconds(); n >= 1 {
			return figure(n) + "/" + unit
		}
	}
	return figure(perSecond*perUnit["d"].Seconds()) + "/d"
}

// figure writes a number with the digits that say something: 0.043, 2.6, 86,
// 2,592,000.
func figure(v float64) string {
	switch {
	case v == math.Trunc(v) || v >= 10:
		return words.Number(math.Round(v), 0)
	case v >= 1:
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
}
