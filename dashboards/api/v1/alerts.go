package v1

import (
	"net/http"
	"slices"
	"time"
)

const (
	// maxHistory is how far back alerts are told: the samples of all of them
	// are read, 17,000 a day for one that always fires.
	maxHistory = 30 * 24 * time.Hour

	// maxPast is the most of them in one answer.
	maxPast = 1000
)

// alerts answers with the alerts that fire, and those that did.
func (a *api) alerts(w http.ResponseWriter, r *http.Request) error {
	length, err := duration(r, "history", 0, time.Minute, maxHistory)
	if err != nil {
		return err
	}
	p := a.look(r.Context())
	out := Alerts{At: moment(p.at), Firing: []Firing{}}
	for _, x := range slices.SortedStableFunc(slices.Values(p.alerts), Alert.Compare) {
		out.Firing = append(out.Firing, Firing{
			Of: p.of(x.SLO), Severity: x.Severity, BeganAt: moment(x.Since), Summary: x.Summary,
			SilencedBy: append([]string{}, x.Silences...),
		})
	}
	if length > 0 {
		past, err := a.history.Read(r.Context(), p.at, length)
		if err != nil {
			return &fault{status: http.StatusServiceUnavailable, message: "the history cannot be read: " + err.Error()}
		}
		out.History, out.HistoryTruncated = []PastAlert{}, past.Cut || len(past.List) > maxPast
		for _, x := range past.List[:min(maxPast, len(past.List))] {
			y := PastAlert{Of: p.of(x.SLO), Severity: x.Severity}
			if !x.Earlier {
				y.BeganAt = moment(x.Began)
			}
			if !x.Open {
				y.EndedAt = moment(x.Ended)
			}
			out.History = append(out.History, y)
		}
	}
	return answer(w, http.StatusOK, out)
}

// of says what an alert of an SLO is about.
func (p *reading) of(id string) Of {
	out := Of{SLO: id}
	if s, ok := p.slos[id]; ok {
		out.Service, out.Flow, out.Objective = s.Flow.Service, s.Flow.Name, s.Objective.Sentence()
	}
	return out
}
