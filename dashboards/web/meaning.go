package web

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

const (
	// pastShownOfFlow and samplesShown bound the lists of a flow's page.
	pastShownOfFlow = 20
	samplesShown    = 12
)

// flowPage is what the page of a flow shows.
type flowPage struct {
	page
	Ranges  []flowRange
	Between string // the time of the charts where it is none of those
	Charts  []chartFrame
	Data    string // address of what the charts show
	Past    []pastOfFlow
	PastCut int // alerts beyond those
	PastErr string
	Where   []culpritView
	Samples []sampleView
}

type flowRange struct {
	chartRange
	Chosen bool
}

type pastOfFlow struct {
	Severity           slo.Severity
	State              state
	Sentence, From, To string
	For                string
}

// culpritView is a line of what sets bad requests apart.
type culpritView struct {
	Bad, Verb      string
	Values         []read.Value
	Normal, Counts string
}

type sampleView struct {
	ID, Link, At, Took, Outcome string
	State                       state
}

// tierView is an alert and its arithmetic.
type tierView struct {
	Severity                                 slo.Severity
	State                                    state
	Factor, Windows, Bad, Spent, Outage, End string
}

// detail makes the page of one flow.
func (s *site) detail(ctx context.Context, p picture, f *slo.Flow, query url.Values) flowPage {
	chosen, err := rangeOf(f, query, p.now)
	out := flowPage{page: detail(p, f), Charts: framesOf(f, chosen), Between: chosen.between(p.now)}
	if err != nil {
		out.Notices = append(out.Notices, Notice{What: "The time asked for cannot be shown; this is the usual one.", Detail: err.Error()})
	}
	for _, r := range rangesOf(f) {
		out.Ranges = append(out.Ranges, flowRange{r, r.Name == chosen.Name})
	}
	out.Data = p.link(f) + "/data?" + chosen.query()
	s.alertsOf(ctx, p, f, &out)
	if s.opt.Where != nil {
		for _, c := range s.opt.Where(f.Service, f.Name) {
			v := culpritView{
				Bad: words.Share(c.Bad), Verb: "on", Values: c.Values, Normal: words.Share(c.Normal),
				Counts: words.Count(c.BadCount) + " bad, " + words.Count(c.GoodCount) + " good",
			}
			if c.Symptom {
				v.Verb = "with"
			}
			out.Where = append(out.Where, v)
		}
	}
	if s.opt.Judgement != nil {
		firing := read.Firing(p.alerts)
		for i, one := range f.SLOs() {
			out.Flow.Objectives[i].Judged = judged(one.Objective, s.opt.Judgement(one.ID()), firing[one.ID()] != read.NoData, p.now)
		}
	}
	if s.opt.Samples != nil {
		for i, x := range s.opt.Samples(f.Service, f.Name) {
			if i == samplesShown {
				break
			}
			v := sampleView{ID: x.TraceID, At: words.Clock(x.At, p.now), Took: words.Latency(x.Duration.Seconds()), Outcome: "good", State: calm}
			if x.Bad {
				v.Outcome, v.State = "bad", burning
			}
			if s.opt.TraceURL != "" {
				v.Link = strings.ReplaceAll(s.opt.TraceURL, "{trace_id}", url.PathEscape(x.TraceID))
			}
			out.Samples = append(out.Samples, v)
		}
	}
	return out
}

// alertsOf fills in when alerts of the flow fired.
func (s *site) alertsOf(ctx context.Context, p picture, f *slo.Flow, out *flowPage) {
	past, err := s.past.Read(ctx, p.at, pastLength)
	if err != nil {
		out.PastErr = err.Error()
		return
	}
	sentences := map[string]string{}
	for _, one := range f.SLOs() {
		sentences[one.ID()] = one.Objective.Sentence()
	}
	for _, a := range past.List {
		sentence, ours := sentences[a.SLO]
		if !ours {
			continue
		}
		if len(out.Past) == pastShownOfFlow {
			out.PastCut++
			continue
		}
		v := pastOfFlow{
			Severity: a.Severity, State: severityState(a.Severity), Sentence: sentence,
			From: words.Clock(a.Began, p.now), To: words.Clock(a.Ended, p.now), For: words.Span(a.Ended.Sub(a.Began)),
		}
		if a.Open {
			v.To = "now"
		}
		out.Past = append(out.Past, v)
	}
}

// meaning adds to an objective what it comes to in figures. perSecond is the
// rate of requests now, NaN where nobody knows.
func meaning(o slo.Objective, perSecond float64, now time.Time, out *objectiveView) {
	out.YAML = strings.TrimRight(spec.LongForm(o), "\n")
	out.Means = budgetMeans(o, perSecond, now)
	total := 1 / o.Budget()
	for _, t := range o.Tiers {
		outage := "never"
		if d, ok := detection(o, t, total); ok {
			outage = lasting(d)
		}
		out.Tiers = append(out.Tiers, tierView{
			Severity: t.Severity, State: severityState(t.Severity),
			Factor:  strconv.FormatFloat(t.Factor, 'f', -1, 64) + "×",
			Windows: slo.Duration(t.Long) + " and " + slo.Duration(t.Short),
			Bad:     percent(t.Factor * o.Budget()),
			Spent:   percent(t.Factor * float64(t.Long) / float64(o.Window)),
			Outage:  outage,
			End:     lasting(t.Reset(total)),
		})
	}
	if len(o.Tiers) > 0 {
		t := o.Tiers[0]
		factor := strconv.FormatFloat(t.Factor, 'f', -1, 64)
		out.Sum = fmt.Sprintf("The first line: to burn at %s×, %s × %s = %s must be bad. %s of that spend %s × %s / %s = %s of the budget.",
			factor, factor, slo.Percent(o.Budget()), percent(t.Factor*o.Budget()),
			slo.Duration(t.Long), factor, slo.Duration(t.Long), slo.Duration(o.Window),
			percent(t.Factor*float64(t.Long)/float64(o.Window)))
	}
}

// budgetMeans says how much may go wrong.
func budgetMeans(o slo.Objective, perSecond float64, now time.Time) []string {
	period, name := o.Window, "any "+slo.Duration(o.Window)
	if o.Calendar.Unit != slo.Rolling {
		start, end := o.Calendar.Bounds(now)
		period, name = end.Sub(start), words.Period(o.Calendar, now)
	}
	b := o.Budget()
	out := []string{fmt.Sprintf("%s of %s may be bad: 100%% less the target of %s.", slo.Percent(b), o.Unit(), slo.Percent(o.Target))}
	if o.Query.Ratio != "" {
		out[0] = fmt.Sprintf("The ratio may be %s on the average of %s.", slo.Percent(b), name)
	}
	if o.Slice > 0 {
		count := b * float64(period/o.Slice)
		out = append(out, fmt.Sprintf("In %s that is %s of %s %s.", name, words.Number(count, 0), words.Number(float64(period/o.Slice), 0), o.Unit()))
	} else if all := perSecond * period.Seconds(); all > 0 && o.Query.Ratio == "" {
		out = append(out, fmt.Sprintf("At the %s of now, %s holds %s %s, of which %s may be bad: %s a day.", words.Rate(perSecond), name,
			words.Number(all, 0), o.Unit(), few(all*b), few(perSecond*86400*b)))
	}
	return append(out, fmt.Sprintf("If everything is bad, the whole budget is spent in %s.", lasting(time.Duration(b*float64(period)))))
}

// detection returns how long a steady burn takes to fire a tier. Slices are
// judged when they end, so that it takes whole ones: the first by which more
// are bad than may be.
func detection(o slo.Objective, t slo.Tier, burn float64) (time.Duration, bool) {
	d, ok := t.Detection(burn)
	if ok && o.Slice > 0 {
		d = max(d/o.Slice+1, time.Duration(o.MinEvents)) * o.Slice
	}
	return d, ok
}

// percent writes a share with three digits that say something.
func percent(ratio float64) string { return strconv.FormatFloat(ratio*100, 'g', 3, 64) + "%" }

// lasting writes a length of time in the two units that matter, rounded: 52 s,
// 43 min 12 s, 1 d 12 h.
func lasting(d time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	for i, u := range units[:len(units)-1] {
		next := units[i+1]
		if r := d.Round(next.size); r >= u.size {
			out := fmt.Sprintf("%d %s", r/u.size, u.name)
			if rest := r % u.size / next.size; rest > 0 {
				out += fmt.Sprintf(" %d %s", rest, next.name)
			}
			return out
		}
	}
	return strconv.FormatFloat(math.Round(d.Seconds()*10)/10, 'f', -1, 64) + " s"
}
