package main

import (
	"time"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/collector/where"
	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/judge"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

const (
	// goodData is how much of it has to come after a gap before an alert ends.
	goodData = 5 * time.Minute

	// quarter is the time over which traffic is judged.
	quarter = 15 * time.Minute

	// lately is what the pages compare requests of.
	lately = time.Hour
)

// judged adds to the facts of a message what the judge says of the alert that
// fires, the page before the ticket.
func judged(f *slack.Facts, v judge.Verdict, state ledger.State, now time.Time) {
	a := v.Page
	if !a.Firing {
		a = v.Ticket
	}
	if v.RunsOut {
		f.Forecast = v.RunsOutAt
	}
	if !a.Firing {
		return
	}
	if a.Confidence > 0 {
		f.Evidence = slack.Evidence{Bad: a.Bad, Total: a.Total, Sure: a.Confidence}
	}
	if a.Outage {
		f.Outage = slack.Outage{Bad: a.Bad, Total: a.Total, In: 10 * time.Second}
	}
	switch {
	case !v.DataMissingSince.IsZero():
		f.Held = slack.Held{Since: v.DataMissingSince, Good: goodData}
	case !a.QuietSince.IsZero():
		f.Quiet = slack.Quiet{Since: a.QuietSince, Closes: a.KeptUntil}
	}
	if v.Learning {
		f.Learning = now.Sub(state.Created)
	}
}

// trafficFacts tells a message of the traffic of a flow, named service/flow,
// that does not come.
func (s *server) trafficFacts(name string) (slack.Facts, bool) {
	for i, flows := 0, *s.flows.Load(); i < len(flows); i++ {
		f := &flows[i]
		if f.Service+"/"+f.Name != name {
			continue
		}
		v, ok := s.pipeline.TrafficVerdict(f.Service, f.Name)
		of, counted := judge.TrafficOf(f)
		if !ok || !counted {
			return slack.Facts{}, false
		}
		_, got := s.pipeline.Ledger().Since(of.ID(), time.Now().Add(-quarter))
		since := v.Since
		if !since.IsZero() {
			since = since.Add(-quarter)
		}
		return slack.Facts{Since: since, Traffic: slack.Traffic{Since: since, Got: got, Usual: v.Expected, In: quarter}}, true
	}
	return slack.Facts{}, false
}

// culprits returns what sets the bad requests of an objective apart since then.
func (s *server) culprits(o slo.SLO, since, now time.Time) (out []slack.Culprit) {
	if o.Objective.Kind != slo.Succeed && o.Objective.Kind != slo.FasterThan {
		return nil
	}
	for _, c := range s.pipeline.Culprits(o.Flow.Service, o.Flow.Name, o.Objective.Kind == slo.FasterThan, since, now) {
		x := slack.Culprit{
			Attribute: c.Values[0].Attribute, Value: c.Values[0].Text,
			Bad: c.Bad, Normal: c.Normal, Symptom: c.Symptom,
		}
		if len(c.Values) > 1 {
			x.WithAttribute, x.WithValue = c.Values[1].Attribute, c.Values[1].Text
		}
		if x.Attribute == "service.version" {
			for _, d := range s.deploysOf(o.Flow.Service, since.Add(-lately), now) {
				if d.Name == x.Value {
					x.Since = d.At
				}
			}
		}
		out = append(out, x)
	}
	return out
}

// where is what sets bad requests of a flow apart lately, for pages and API:
// those that failed or, where nothing is to be said of them, those that are slow.
func (s *server) where(service, flow string) []read.Culprit {
	now := time.Now()
	found := s.pipeline.Culprits(service, flow, false, now.Add(-lately), now)
	if len(found) == 0 {
		found = s.pipeline.Culprits(service, flow, true, now.Add(-lately), now)
	}
	return readCulprits(found)
}

func readCulprits(found []where.Culprit) (out []read.Culprit) {
	for _, c := range found {
		x := read.Culprit{
			Symptom: c.Symptom, Bad: c.Bad, Normal: c.Normal, BadCount: c.BadCount, GoodCount: c.GoodCount,
		}
		for _, v := range c.Values {
			x.Values = append(x.Values, read.Value(v))
		}
		out = append(out, x)
	}
	return out
}

// judgement is what the judge says of an SLO, for pages and API.
func (s *server) judgement(id string) read.Judgement {
	v, ok := s.pipeline.Verdict(id)
	if !ok {
		return read.Judgement{}
	}
	a := v.Page
	if !a.Firing {
		a = v.Ticket
	}
	out := read.Judgement{
		TooLittle: v.TooLittle, Learning: v.Learning, DataMissingSince: v.DataMissingSince,
		QuietSince: a.QuietSince, KeptUntil: a.KeptUntil,
	}
	for i, flows := 0, *s.flows.Load(); i < len(flows); i++ {
		f := &flows[i]
		if of, ok := judge.TrafficOf(f); !ok || of.ID() != id {
			continue
		}
		if t, ok := s.pipeline.TrafficVerdict(f.Service, f.Name); ok && t.Missing {
			out.TrafficMissingSince, out.Expected = t.Since, t.Expected
		}
	}
	return out
}
