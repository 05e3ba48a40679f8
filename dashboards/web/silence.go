package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

// silenceLink returns the address of the form that silences an SLO of a flow,
// or all of it.
func (p picture) silenceLink(f *slo.Flow, id string) string {
	q := url.Values{"service": {f.Service}, "flow": {f.Name}}
	if id != "" {
		q.Set("slo", id)
	}
	return p.base + "/alerts/silence?" + q.Encode()
}

// silencePage is the view of the form.
type silencePage struct {
	frame

	// To choose a flow first.
	Flows []flowChoice
	More  int

	Service, Flow, Link    string
	SLO                    string
	Choices                []choice
	Lengths                []choice
	Why, By, Until         string
	Zone                   string
	UntilMin, UntilMax     string
	WhyMax, ByMax          int
	WhyFault, ByFault      string
	WhatFault, LengthFault string
	UntilFault, Fault      string
}

type flowChoice struct{ Service, Flow, Link string }

type choice struct {
	Value, Label string
	Checked      bool
}

// inputTime is how browsers write a moment in a form.
const inputTime = "2006-01-02T15:04"

// silenceForm serves the form, or the choice of a flow to silence.
func (a *alertsSite) silenceForm(w http.ResponseWriter, r *http.Request) {
	seen, err := a.site.look(r.Context())
	if err != nil {
		a.fail(w, r, err)
		return
	}
	q := r.URL.Query()
	out, status := a.form(seen.picture, q.Get("service"), q.Get("flow"), q.Get("slo"), ranges[0].name), http.StatusOK
	for i := range out.Lengths {
		out.Lengths[i].Checked = i == 0
	}
	if c, err := r.Cookie(authorCookie); err == nil {
		if by, err := url.QueryUnescape(c.Value); err == nil {
			out.By, _ = written(by, maxBy)
		}
	}
	if out.Flow == "" && q.Get("flow") != "" {
		status = http.StatusNotFound
		out.Fault = "There is no such flow. It may have been renamed or removed from the configuration."
	}
	a.showForm(w, r, status, out)
}

func (a *alertsSite) showForm(w http.ResponseWriter, r *http.Request, status int, out silencePage) {
	html, err := a.render("silence.html", &out)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	write(w, status, html)
}

// form makes the form for a flow with nothing filled in; for one that there is
// not, the choice of flows.
func (a *alertsSite) form(p picture, service, flow, id, length string) silencePage {
	out := silencePage{frame: p.frame("alerts"), SLO: id, WhyMax: maxWhy, ByMax: maxBy}
	out.Still, out.DataAge = true, ""
	out.Title = "Silence a flow"
	out.Zone = p.now.Format("MST")
	out.UntilMin = p.now.Add(time.Minute).Format(inputTime)
	out.UntilMax = p.now.Add(maxSilence).Format(inputTime)
	for _, l := range silenceLengths {
		out.Lengths = append(out.Lengths, choice{Value: l.value, Label: l.label, Checked: l.value == length})
	}
	for i := range p.flows {
		f := &p.flows[i]
		if f.Service != service || f.Name != flow {
			continue
		}
		out.Service, out.Flow, out.Link = service, flow, p.link(f)
		out.Title = "Silence " + flow
		known := false
		for _, s := range f.SLOs() {
			known = known || s.ID() == id
			out.Choices = append(out.Choices, choice{Value: s.ID(), Label: s.Objective.Words(), Checked: s.ID() == id})
		}
		out.Choices = append(out.Choices, choice{Label: "everything of " + flow, Checked: !known})
		return out
	}
	for i := range p.flows {
		if i == flowsShown {
			out.More = len(p.flows) - flowsShown
			break
		}
		f := &p.flows[i]
		out.Flows = append(out.Flows, flowChoice{f.Service, f.Name, p.silenceLink(f, "")})
	}
	return out
}

// silence makes the silence that the form asks for.
func (a *alertsSite) silence(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "This is not the form of a silence: "+err.Error(), http.StatusBadRequest)
		return
	}
	seen, err := a.site.look(r.Context())
	if err != nil {
		a.fail(w, r, err)
		return
	}
	now := time.Now()
	get := func(name string) string { return r.PostForm.Get(name) }
	out := a.form(seen.picture, get("service"), get("flow"), get("slo"), get("for"))
	out.Why, out.WhyFault = written(get("why"), maxWhy)
	out.By, out.ByFault = written(get("by"), maxBy)
	out.Until = get("until")
	if out.Flow == "" {
		out.Fault = "There is no such flow. It may have been renamed or removed from the configuration."
		a.showForm(w, r, http.StatusNotFound, out)
		return
	}
	if out.Why == "" {
		out.WhyFault = "Say why, for whoever wonders at night."
	}
	if out.By == "" {
		out.ByFault = "Say who you are, for whoever wants to ask."
	}
	if out.SLO != "" && !slices.ContainsFunc(out.Choices, func(c choice) bool { return c.Value == out.SLO }) {
		out.WhatFault = "The flow has no such objective any more. Choose another."
	}
	var until time.Time
	until, out.LengthFault, out.UntilFault = ends(get("for"), out.Until, now)
	if out.WhyFault+out.ByFault+out.WhatFault+out.LengthFault+out.UntilFault != "" {
		out.Title = "Not silenced yet"
		a.showForm(w, r, http.StatusUnprocessableEntity, out)
		return
	}
	err = a.opt.Silences.Add(r.Context(), Silence{
		Service: out.Service, Flow: out.Flow, SLO: out.SLO, By: out.By, Why: out.Why, From: now, Until: until,
	})
	if err != nil {
		a.opt.Logger.Error("silence cannot be made", "err", err)
		out.Fault = "The silence could not be made: " + err.Error()
		a.showForm(w, r, http.StatusInternalServerError, out)
		return
	}
	a.opt.Logger.Info("silenced", "service", out.Service, "flow", out.Flow, "slo", out.SLO, "by", out.By, "why", out.Why, "until", until)
	http.SetCookie(w, &http.Cookie{
		Name: authorCookie, Value: url.QueryEscape(out.By), Path: a.base + "/alerts",
		MaxAge: 365 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	a.done(w, r)
}

// unsilence ends a silence.
func (a *alertsSite) unsilence(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	id := r.PostFormValue("id")
	if id == "" {
		http.Error(w, "This is not the form of a silence: it names none.", http.StatusBadRequest)
		return
	}
	if err := a.opt.Silences.End(r.Context(), id); err != nil {
		a.opt.Logger.Error("silence cannot be ended", "id", id, "err", err)
		http.Error(w, "The silence could not be ended: "+err.Error(), http.StatusInternalServerError)
		return
	}
	a.opt.Logger.Info("silence ended", "id", id)
	a.done(w, r)
}

// done shows the page of alerts as it is now.
func (a *alertsSite) done(w http.ResponseWriter, r *http.Request) {
	a.forget()
	http.Redirect(w, r, a.base+"/alerts", http.StatusSeeOther)
}

// written returns what somebody wrote into a line of a form, of limit
// characters at most, and what is wrong with it.
func written(text string, limit int) (line, fault string) {
	line = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if n := len([]rune(line)); n > limit {
		return line, fmt.Sprintf("This has %s characters; want %s at most.", words.Count(uint64(n)), words.Count(uint64(limit)))
	}
	return line, ""
}

// ends returns when a silence ends that begins now, and what is wrong with the
// chosen length or the time.
func ends(length, until string, now time.Time) (end time.Time, lengthFault, untilFault string) {
	for _, l := range silenceLengths {
		switch {
		case l.value != length:
			continue
		case l.length > 0:
			return now.Add(l.length), "", ""
		}
		for _, layout := range []string{inputTime, "2006-01-02T15:04:05", "2006-01-02 15:04"} {
			if t, err := time.ParseInLocation(layout, strings.TrimSpace(until), now.Location()); err == nil {
				end = t
			}
		}
		switch {
		case end.IsZero():
			return end, "", "This is not a time; want one such as " + now.Add(2*time.Hour).Format("2006-01-02 15:04") + "."
		case !end.After(now):
			return end, "", "This is over already; it is " + now.Format("2006-01-02 15:04 MST") + " now."
		case end.After(now.Add(maxSilence)):
			return end, "", "This is more than 30 days away; want a time before " + now.Add(maxSilence).Format("2 Jan 2006") + "."
		}
		return end, "", ""
	}
	return end, "Choose for how long.", ""
}
