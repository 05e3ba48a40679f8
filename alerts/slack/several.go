package slack

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// worstFirst sorts alerts by how much they matter: pages, tickets, what is over;
// then by subject; then by how fast the budget burns. Of the shares of one
// budget that are spent only the largest stays.
func worstFirst(alerts []*alert.Alert) []*alert.Alert {
	alerts = slices.Clone(alerts)
	number := func(text model.LabelValue) float64 {
		n, _ := strconv.ParseFloat(string(text), 64)
		return n
	}
	slices.SortStableFunc(alerts, func(a, b *alert.Alert) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(subjectOf(a), subjectOf(b)),
			cmp.Compare(number(b.Labels[series.Share]), number(a.Labels[series.Share])),
			cmp.Compare(number(b.Annotations[burnLong]), number(a.Annotations[burnLong])),
		)
	})
	type budget struct {
		id   model.LabelValue
		rank int
	}
	told := map[budget]bool{}
	return slices.DeleteFunc(alerts, func(a *alert.Alert) bool {
		key := budget{a.Labels[series.ID], rank(a)}
		if subjectOf(a) != spent {
			return false
		}
		again := told[key]
		told[key] = true
		return again
	})
}

// rank orders alerts by how much they matter.
func rank(a *alert.Alert) int {
	switch {
	case a.Resolved():
		return 2
	case a.Labels[series.Severity] == model.LabelValue(slo.Page):
		return 0
	default:
		return 1
	}
}

// byFlow parts alerts by flow, in their order. One that is not ours stands
// alone.
func byFlow(alerts []*alert.Alert) [][]*alert.Alert {
	var out [][]*alert.Alert
	at := map[[2]model.LabelValue]int{}
	for _, a := range alerts {
		key := [2]model.LabelValue{a.Labels[series.SLOServ], a.Labels[series.SLOFlow]}
		i, known := at[key]
		if !known || subjectOf(a) == other {
			i = len(out)
			out = append(out, nil)
		}
		if subjectOf(a) != other {
			at[key] = i
		}
		out[i] = append(out[i], a)
	}
	return out
}

// several tells the alerts of one flow, the worst first, as one story: the worst
// in full, and a line for each of the others.
func (v *voice) several(alerts []*alert.Alert, again bool) story {
	rest := alerts[1:min(len(alerts), maxAlerts)]
	worst := v.look(alerts[0], again)
	var lines []line
	var marks []mark
	for _, a := range rest {
		s := v.look(a, again)
		if burns(worst.alert) && burns(a) && rank(a) == rank(worst.alert) {
			worst.besides = append(worst.besides, s.ails())
		}
		l := s.part()
		lines = append(lines, l)
		marks = append(marks, mark{"part " + string(a.Fingerprint().String()) + " " + string(a.Status()), l.label + ": " + l.text})
	}
	if n := len(alerts) - 1 - len(rest); n > 0 {
		lines = append(lines, line{text: "and " + words.Count(uint64(n)) + " more"})
	}
	if worst.alert.Resolved() { // all are: the flow was in trouble from the first to the last
		whole := *worst.alert
		for _, a := range alerts {
			if a.StartsAt.Before(whole.StartsAt) {
				whole.StartsAt = a.StartsAt
			}
			if a.EndsAt.After(whole.EndsAt) {
				whole.EndsAt = a.EndsAt
			}
		}
		worst.alert = &whole
	}
	out := worst.story(v)
	out.lines = append(out.lines, lines...)
	out.marks = append(out.marks, marks...)
	return out
}

// burns reports whether an alert says that a budget burns now.
func burns(a *alert.Alert) bool { return subjectOf(a) == burn && !a.Resolved() }

// part is the line of an objective in the story of another of the same flow.
func (s told) part() line {
	over := s.alert.Resolved()
	lasted := words.Span(s.alert.EndsAt.Sub(s.alert.StartsAt))
	switch subject := subjectOf(s.alert); {
	case subject == burn && over:
		parts := []string{s.objective(), lasted}
		if s.known && s.counted() {
			parts = append(parts, s.cost())
		}
		if s.known {
			parts = append(parts, s.left())
		}
		return line{"Recovered", join(parts)}
	case subject == burn:
		tier, known := s.tier()
		pace, share, paced := s.pace(tier)
		parts := []string{s.objective()}
		if !known {
			return line{"Also " + s.burden(), join(append(parts, s.notedRates()))}
		}
		switch {
		case s.doubt() != "":
			parts = append(parts, s.doubt())
		case paced:
			parts = append(parts, s.bad(share), s.rates(tier), ends(s.facts.Objective, s.facts.BudgetLeft, pace, time.Now()))
		}
		return line{"Also " + s.burden(), join(parts)}
	case subject == traffic && over:
		return line{"Traffic", "back after " + lasted}
	case subject == traffic:
		_, lines := s.traffic()
		return lines[0]
	case subject == spent:
		head, _ := s.spent()
		return line{"Budget", join([]string{trimSign(head), s.objective()})}
	default:
		head, _ := s.runsOut()
		return line{"Budget", join([]string{trimSign(head), s.objective()})}
	}
}

// burden is how the flow ails by a page, and that its budget burns by a ticket.
func (s told) burden() string {
	if s.page() {
		return s.ails()
	}
	return "burning"
}

// trimSign returns a headline without the sign it begins with.
func trimSign(headline string) string {
	_, size := utf8.DecodeRuneInString(headline)
	return headline[size+1:]
}

// storm tells of many flows at once, each with its alerts, the worst first: how
// many there are, a line for some, and the way to all.
func (v *voice) storm(flows [][]*alert.Alert, again bool) story {
	var counts [3]int // by rank
	for _, alerts := range flows {
		counts[rank(alerts[0])]++
	}
	pages, tickets, over := counts[0], counts[1], counts[2]
	plural := "flows"
	service := flows[0][0].Labels[series.SLOServ]
	for _, alerts := range flows {
		if alerts[0].Labels[series.SLOServ] != service {
			service = ""
		}
		if subjectOf(alerts[0]) == other {
			plural = "alerts"
		}
	}
	count := func(n int) string {
		out := words.Units(uint64(n), plural)
		if service != "" && plural == "flows" {
			out += " of " + datum(service)
		}
		return out
	}
	still := ""
	if again {
		still = "still "
	}
	var head []string
	out := story{color: green}
	switch {
	case pages > 0:
		out.color = red
		head = []string{"🔴 " + count(pages) + " " + areIs(pages) + still + v.ailing(flows[:pages])}
		if tickets > 0 {
			head = append(head, words.Count(uint64(tickets))+" with a ticket")
		}
	case tickets > 0:
		out.color = amber
		head = []string{"🟠 " + count(tickets) + " " + areIs(tickets) + still + "in need of a look"}
	default:
		head = []string{"🟢 " + count(over) + " recovered"}
	}
	if over > 0 && pages+tickets > 0 {
		head = append(head, words.Count(uint64(over))+" recovered")
	}
	out.headline = join(head)
	if service != "" {
		out.footer = datum(service)
	}
	shown := flows[:min(len(flows), maxAlerts)]
	for _, alerts := range shown {
		s := v.story(alerts[0], again)
		if len(alerts) > 1 {
			s = v.several(alerts, again)
		}
		out.lines = append(out.lines, line{text: "• " + s.headline})
	}
	all := ""
	if v.external != nil {
		all = v.external.JoinPath("alerts").String()
		out.links = []target{{"Alerts", all}}
	}
	if n := len(flows) - len(shown); n > 0 {
		text := "and " + words.Count(uint64(n)) + " more"
		if all != "" {
			text = "and <" + urlSafe.Replace(all) + "|" + words.Count(uint64(n)) + " more>"
		}
		out.more = append(out.more, line{text: text})
	}
	return out
}

func areIs(n int) string {
	if n == 1 {
		return "is "
	}
	return "are "
}

// ailing says how flows ail: failing, failing or slow. It asks for no facts,
// which of thousands of flows would take long.
func (v *voice) ailing(flows [][]*alert.Alert) string {
	var all []string
	for _, alerts := range flows {
		ails := "in trouble"
		if subjectOf(alerts[0]) == burn {
			ails = told{alert: alerts[0]}.ails()
		}
		if !slices.Contains(all, ails) {
			all = append(all, ails)
		}
	}
	if slices.Contains(all, "in trouble") || len(all) > 2 {
		return "in trouble"
	}
	slices.Sort(all)
	out := all[0]
	for _, a := range all[1:] {
		out += " or " + a
	}
	return out
}

// upper returns text as a sentence begins.
func upper(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// mark is an event of an incident, which its thread tells once.
type mark struct {
	id   string // the same as long as it is the same event
	text string
}

// worsens are the shares of bad events whose crossing is told.
var worsens = []float64{0.9, 0.5, 0.25, 0.1}

// marks are the events of the incident so far.
func (s told) marks() []mark {
	if s.alert.Resolved() || subjectOf(s.alert) != burn {
		return nil
	}
	var out []mark
	add := func(kind string, at time.Time, text string) {
		out = append(out, mark{fmt.Sprint(kind, " ", at.Unix()), text})
	}
	f := &s.facts
	if f.Chart != nil {
		for _, d := range f.Chart.Deploys {
			if d.At.Before(f.Since.Add(-deployBefore)) {
				continue
			}
			text := "Deploy: " + short(d.Name) + " was first seen " + clock(d.At)
			if before := f.Since.Sub(d.At); before > 0 {
				text += ", " + words.Span(before) + " before it began"
			}
			add("deploy", d.At, text)
		}
	}
	if tier, ok := s.tier(); ok && s.doubt() == "" && s.page() {
		if pace, share, ok := s.pace(tier); ok {
			for _, over := range worsens {
				if share >= over && over > tier.Factor*f.Objective.Budget() {
					add("worse", time.Unix(int64(over*100), 0), "Worse: "+s.bad(share)+", burning "+times(pace))
					break
				}
			}
		}
	}
	if s.known && f.BudgetLeft <= 0 {
		add("spent", time.Time{}, upper(cmp.Or(s.account(), "the budget"))+" is spent.")
	}
	for _, l := range s.judgement() {
		switch l.label {
		case "Held":
			add("held", f.Held.Since, "Held: "+l.text)
		case "Quiet":
			add("quiet", f.Quiet.Since, "Quiet: "+l.text)
		case "Reopened":
			add("reopened", f.Reopened, "Reopened: "+l.text)
		case "Outage":
			add("outage", s.alert.StartsAt, "Outage: "+l.text)
		}
	}
	return out
}

// deployBefore is how long before an incident a deploy may be for its thread to
// name it.
const deployBefore = 30 * time.Minute

// news returns what a thread, in which the marks told were told before, is to
// say now, and all marks to remember as told.
func (s story) news(before []string) (said, told []string) {
	told = slices.Clone(before)
	for _, m := range s.marks {
		if !slices.Contains(told, m.id) {
			said, told = append(said, m.text), append(told, m.id)
		}
	}
	return said, told
}
