package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

// Config is how slowburn was told to run. It holds no secrets: whatever stands
// in it is shown.
type Config struct {
	Loaded  time.Time // when the configuration in force was read
	Cause   string    // why, such as "file change"
	Changes []string  // a sentence for each thing that it changed

	Refused time.Time // when a newer one was refused; zero: none was
	Faults  []Finding // what is wrong with that

	Warnings []Finding // of the configuration in force
	Settings []Setting
}

// Finding is something about the files at a place in them.
type Finding struct{ Place, What string }

// Setting is a flag, or something of its kind.
type Setting struct{ Name, Value, Means string }

const (
	// objectivesShown is how many objectives a page of the list has.
	objectivesShown = 500

	// findingsShown bounds faults, warnings and changes, each.
	findingsShown = 100
)

// configPages adds the page of the configuration.
func (s *site) configPages(mux *http.ServeMux) {
	if s.opt.Config == nil {
		s.opt.Config = func() Config { return Config{} }
	}
	mux.HandleFunc("GET /config", s.config)
}

// configPage is the view of the page.
type configPage struct {
	frame

	Headline string
	State    state

	Loaded   string
	Changes  findings
	Refused  string
	Faults   findings
	Warnings findings

	Count        string
	Files        []fileView
	Newer, Older string // addresses: fewer lines before, more after
	Settings     []Setting
}

// findings is a list, and how many there are beyond it.
type findings struct {
	List []Finding
	More int
}

type fileView struct {
	Name       string
	Objectives []configuredView
}

type configuredView struct {
	Flow, Link string
	Service    string
	First      bool // of its flow
	Sentence   string
	Window     string
	Alerts     string
	Line       string
}

// config serves the page.
func (s *site) config(w http.ResponseWriter, r *http.Request) {
	seen, err := s.look(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	out := configured(seen.picture, s.opt.Config(), number)
	html, err := s.render("config.html", &out)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, html)
}

// configured makes the page.
func configured(p picture, in Config, number int) configPage {
	reload := p.reload
	p.reload = "" // told below, with its places
	out := configPage{frame: p.frame("config"), Settings: in.Settings, State: calm}
	if reload != "" && len(in.Faults) == 0 {
		in.Faults = []Finding{{What: reload}}
	}
	out.Changes = firstOf(toFindings(in.Changes))
	out.Faults = firstOf(in.Faults)
	out.Warnings = firstOf(in.Warnings)
	if !in.Loaded.IsZero() {
		out.Loaded = fmt.Sprintf("Read at %s, %s ago", words.Clock(in.Loaded, p.now), words.Span(p.now.Sub(in.Loaded)))
		if in.Cause != "" {
			out.Loaded += " (" + in.Cause + ")"
		}
		out.Loaded += "."
	}
	if !in.Refused.IsZero() {
		out.Refused = fmt.Sprintf("at %s, %s ago", words.Clock(in.Refused, p.now), words.Span(p.now.Sub(in.Refused)))
	}
	switch {
	case len(in.Faults) > 0:
		out.Headline, out.State = "The changed configuration was refused", burning
	case len(in.Warnings) == 1:
		out.Headline, out.State = "In force, with one warning", spending
	case len(in.Warnings) > 1:
		out.Headline, out.State = fmt.Sprintf("In force, with %d warnings", len(in.Warnings)), spending
	default:
		out.Headline = "In force, nothing wrong"
	}
	out.Title = out.State.Mark() + " Configuration"

	all := slo.All(p.flows)
	slices.SortStableFunc(all, func(a, b slo.SLO) int {
		return cmp.Or(
			cmp.Compare(a.Objective.Pos.File, b.Objective.Pos.File),
			cmp.Compare(a.Objective.Pos.Line, b.Objective.Pos.Line),
			cmp.Compare(a.Objective.Pos.Column, b.Objective.Pos.Column),
		)
	})
	out.Count = words.Units(uint64(len(all)), "objectives") + " of " + words.Units(uint64(len(p.flows)), "flows")
	pages := max(1, (len(all)+objectivesShown-1)/objectivesShown)
	number = min(max(1, number), pages)
	if pages > 1 {
		out.Count += fmt.Sprintf(", page %d of %d", number, pages)
	}
	if number > 1 {
		out.Newer = fmt.Sprintf("%s/config?page=%d", p.base, number-1)
	}
	if number < pages {
		out.Older = fmt.Sprintf("%s/config?page=%d", p.base, number+1)
	}
	var before *slo.Flow
	for _, o := range all[(number-1)*objectivesShown : min(len(all), number*objectivesShown)] {
		pos := o.Objective.Pos
		name := cmp.Or(pos.File, "not from a file")
		if n := len(out.Files); n == 0 || out.Files[n-1].Name != name {
			out.Files = append(out.Files, fileView{Name: name})
			before = nil
		}
		file := &out.Files[len(out.Files)-1]
		v := configuredView{
			Flow: o.Flow.Name, Service: o.Flow.Service, Link: p.link(o.Flow), First: o.Flow != before,
			Sentence: o.Objective.Sentence(), Window: window(o.Objective), Alerts: tiers(o.Objective.Tiers),
		}
		if pos.Line > 0 {
			v.Line = strconv.Itoa(pos.Line)
		}
		before = o.Flow
		file.Objectives = append(file.Objectives, v)
	}
	return out
}

// window writes the period of an objective.
func window(o slo.Objective) string {
	if o.Calendar.Unit != slo.Rolling {
		return o.Calendar.String()
	}
	return slo.Duration(o.Window)
}

// tiers writes when an objective alerts: page at 14.4× and 6×, ticket at 3×.
func tiers(list []slo.Tier) string {
	var out []string
	for _, severity := range []slo.Severity{slo.Page, slo.Ticket} {
		var factors []string
		for _, t := range list {
			if t.Severity == severity {
				factors = append(factors, strconv.FormatFloat(t.Factor, 'g', 4, 64)+"×")
			}
		}
		if n := len(factors); n > 1 {
			factors = append(factors[:n-2], factors[n-2]+" and "+factors[n-1])
		}
		if len(factors) > 0 {
			out = append(out, string(severity)+" at "+strings.Join(factors, ", "))
		}
	}
	return cmp.Or(strings.Join(out, ", "), "none")
}

func toFindings(lines []string) []Finding {
	out := make([]Finding, len(lines))
	for i, line := range lines {
		out[i].What = line
	}
	return out
}

// firstOf cuts a list to what people read.
func firstOf(list []Finding) findings {
	if len(list) > findingsShown {
		return findings{list[:findingsShown], len(list) - findingsShown}
	}
	return findings{List: list}
}
