package v1

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/slowburn-slo/slowburn/slo"
)

const (
	// maxSilence is the longest silence: whoever needs more wants another
	// objective.
	maxSilence = 30 * 24 * time.Hour

	// maxWhy and maxBy bound what people write, in characters.
	maxWhy = 1000
	maxBy  = 100
)

// silenceRequest is the body of POST /silences.
type silenceRequest struct {
	Service    string    `json:"service"`
	Flow       string    `json:"flow"`
	SLO        string    `json:"slo"`
	By         string    `json:"by"`
	Why        string    `json:"why"`
	EndsAt     time.Time `json:"ends_at"`
	ForSeconds float64   `json:"for_seconds"`
}

// errNoSilencing answers where nothing can be silenced.
var errNoSilencing = &fault{
	status:  http.StatusNotImplemented,
	message: "this slowburn cannot silence: it sends its alerts to no Alertmanager of its own; silence them where they are told",
}

// silences answers with the silences in force and to come.
func (a *api) silences(w http.ResponseWriter, _ *http.Request) error {
	if a.opt.Silences == nil {
		return errNoSilencing
	}
	list, err := a.opt.Silences()
	if err != nil {
		return fmt.Errorf("silences: %w", err)
	}
	out := Silences{Silences: []Silence{}}
	for _, s := range list {
		s.StartsAt, s.EndsAt = moment(s.StartsAt), moment(s.EndsAt)
		out.Silences = append(out.Silences, s)
	}
	return answer(w, http.StatusOK, out)
}

// silence makes a silence.
func (a *api) silence(w http.ResponseWriter, r *http.Request) error {
	if a.opt.Silence == nil {
		return errNoSilencing
	}
	var in silenceRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	now := time.Now()
	s, err := in.check(a.opt.Flows(), now)
	if err != nil {
		return err
	}
	id, err := a.opt.Silence(r.Context(), s)
	if err != nil {
		return fmt.Errorf("silence: %w", err)
	}
	a.forget()
	a.opt.Logger.Info("silenced", "id", id, "service", s.Service, "flow", s.Flow, "slo", s.SLO, "by", s.By, "why", s.Why, "until", s.Until)
	return answer(w, http.StatusCreated, Silence{
		ID: id, Service: s.Service, Flow: s.Flow, SLO: s.SLO, By: s.By, Why: s.Why, StartsAt: moment(now), EndsAt: s.Until,
	})
}

// check returns the silence that is asked for, or what is wrong with it.
func (in silenceRequest) check(flows []slo.Flow, now time.Time) (NewSilence, error) {
	out := NewSilence{Service: in.Service, Flow: in.Flow, SLO: in.SLO}
	wrong := func(field, format string, args ...any) (NewSilence, error) {
		return out, &fault{http.StatusUnprocessableEntity, field + ": " + fmt.Sprintf(format, args...), field}
	}
	at := slices.IndexFunc(flows, func(f slo.Flow) bool { return f.Service == in.Service && f.Name == in.Flow })
	if at < 0 {
		return wrong("flow", "there is no flow %q of %q; want one of GET %s/flows", in.Flow, in.Service, Prefix)
	}
	if in.SLO != "" && !slices.ContainsFunc(flows[at].SLOs(), func(s slo.SLO) bool { return s.ID() == in.SLO }) {
		return wrong("slo", "%q is no objective of this flow; want the slo of one, or none for all", in.SLO)
	}
	for _, line := range []struct {
		name, text, wanted string
		most               int
		into               *string
	}{
		{"by", in.By, "who silences", maxBy, &out.By},
		{"why", in.Why, "the reason", maxWhy, &out.Why},
	} {
		*line.into = oneLine(line.text)
		if n := len([]rune(*line.into)); n == 0 || n > line.most {
			return wrong(line.name, "%d characters; want %s, in 1 to %d", n, line.wanted, line.most)
		}
	}
	field := "ends_at"
	switch {
	case in.EndsAt.IsZero() == (in.ForSeconds == 0):
		return wrong(field, "want either this or for_seconds")
	case in.ForSeconds != 0:
		field = "for_seconds"
		if in.ForSeconds < 0 || in.ForSeconds > maxSilence.Seconds() { // before it is a duration, which might overflow
			return wrong(field, "%g is too short or too long; want at most %d, which is 30 days", in.ForSeconds, int(maxSilence.Seconds()))
		}
		out.Until = moment(now.Add(time.Duration(in.ForSeconds * float64(time.Second))))
	default:
		out.Until = moment(in.EndsAt)
	}
	if !out.Until.After(now) || out.Until.After(now.Add(maxSilence)) {
		return wrong(field, "%s is over or more than 30 days away; it is %s now", out.Until.Format(time.RFC3339), moment(now).Format(time.RFC3339))
	}
	return out, nil
}

// oneLine returns text with single spaces for everything that is not shown.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
}

// unsilence ends a silence.
func (a *api) unsilence(w http.ResponseWriter, r *http.Request) error {
	if a.opt.Unsilence == nil {
		return errNoSilencing
	}
	id := r.PathValue("id")
	err := a.opt.Unsilence(r.Context(), id)
	if errors.Is(err, ErrNoSilence) {
		return &fault{http.StatusNotFound, fmt.Sprintf("there is no silence %q; it may have ended long ago", id), "id"}
	}
	if err != nil {
		return fmt.Errorf("unsilence: %w", err)
	}
	a.forget()
	a.opt.Logger.Info("silence ended", "id", id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// forget makes the next look a new one, so that alerts are shown silenced at
// once.
func (a *api) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = time.Time{}
}
