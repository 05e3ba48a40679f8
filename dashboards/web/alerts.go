package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

// Silencing keeps alerts from being told for a while.
type Silencing struct {
	// List returns the silences in force and to come, those that end first
	// before the others.
	List func() ([]Silence, error)

	// Add makes a silence, which has no ID yet and names a flow.
	Add func(context.Context, Silence) error

	// End ends the silence with that ID; one that has ended, or never was, is
	// no error.
	End func(ctx context.Context, id string) error
}

// Silence keeps alerts of a flow from being told for a while.
type Silence struct {
	ID            string
	Service, Flow string // empty when it is about something else, as Matchers tell
	SLO           string // slo.SLO.ID; empty: all of the flow's
	Matchers      string // its conditions as Alertmanager writes them
	By, Why       string
	From, Until   time.Time
}

const (
	// maxSilence is the longest silence: whoever needs more wants another
	// objective.
	maxSilence = 30 * 24 * time.Hour

	// firingShown and silencesShown bound the lists of the page.
	firingShown   = 200
	silencesShown = 200

	// pastShown is how much of the history a page of it has.
	pastShown = 100

	// flowsShown bounds the list to choose a flow from.
	flowsShown = 1000

	// maxForm is the longest form that is read: its longest field is a
	// paragraph.
	maxForm = 64 << 10

	// maxWhy and maxBy bound what people write, in characters.
	maxWhy = 1000
	maxBy  = 100

	// authorCookie keeps the name of whoever silenced last in this browser, so
	// that nobody types it twice at night.
	authorCookie = "slowburn_by"
)

// ranges are those that the history can be looked at over, the first by default.
var ranges = []struct {
	name, label string
	length      time.Duration
}{
	{"7d", "7 days", 7 * 24 * time.Hour},
	{"24h", "24 hours", 24 * time.Hour},
	{"30d", "30 days", 30 * 24 * time.Hour},
}

// silenceLengths are the usual lengths of a silence.
var silenceLengths = []struct {
	value, label string
	length       time.Duration // 0: until a time
}{
	{"1h", "1 hour", time.Hour},
	{"4h", "4 hours", 4 * time.Hour},
	{"1d", "1 day", 24 * time.Hour},
	{"until", "until", 0},
}

// alertsSite serves the page of alerts.
type alertsSite struct {
	*site
	history read.History

	mu  sync.Mutex
	now *alertsNow // the last look
}

// alertsNow is what fires and what is silenced.
type alertsNow struct {
	at       time.Time
	alerts   []Alert
	silences []Silence
	fault    error // of the list of silences
}

// alertsPages adds the page of alerts, and what silences them.
func (s *site) alertsPages(mux *http.ServeMux) {
	a := &alertsSite{site: s, history: read.History{Source: s.opt.Queryable}}
	mux.HandleFunc("GET /alerts", a.alerts)
	if s.opt.Silences == nil {
		return
	}
	cross := http.NewCrossOriginProtection()
	if u, err := url.Parse(s.opt.ExternalURL); err == nil && u.Host != "" {
		// A browser too old to say where a request comes from says which page
		// it was; a proxy may have changed the host meanwhile.
		_ = cross.AddTrustedOrigin(u.Scheme + "://" + u.Host)
	}
	mux.HandleFunc("GET /alerts/silence", a.silenceForm)
	mux.Handle("POST /alerts/silence", cross.Handler(http.HandlerFunc(a.silence)))
	mux.Handle("POST /alerts/unsilence", cross.Handler(http.HandlerFunc(a.unsilence)))
}

// look returns what fires and what is silenced, as of a second ago at most.
func (a *alertsSite) look() *alertsNow {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now == nil || time.Since(a.now.at) >= keepView {
		a.now = &alertsNow{at: time.Now(), alerts: a.opt.Alerts()}
		if a.opt.Silences != nil {
			a.now.silences, a.now.fault = a.opt.Silences.List()
		}
	}
	return a.now
}

// forget makes the next look a new one.
func (a *alertsSite) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = nil
}

// alertsPage is the view of the page.
type alertsPage struct {
	frame

	Headline string
	State    state

	Silencing bool // alerts can be silenced here
	Firing    []firingView
	More      int // alerts beyond those
	Silences  []silenceView
	MoreQuiet int // silences beyond those

	Ranges       []rangeView
	Range        string // in words
	Past         []pastView
	PastFault    string
	PastCount    string // "3 alerts"
	Newer, Older string // addresses
}

type firingView struct {
	Severity  slo.Severity
	State     state
	Flow      string
	Service   string
	Link      string // empty when the flow is no longer configured
	Objective string
	Summary   string
	Since     string
	For       string
	Burn      string
	Budget    string // what is left, and for how long
	Silenced  string // until when and by whom
	Silence   string // address of the form
}

type silenceView struct {
	ID, What, Link, Detail string
	By, Why                string
	When                   string // until 14:02 UTC, for another 3 h
	Mutes                  string
}

type rangeView struct {
	Label, Link string
	Current     bool
}

type pastView struct {
	Severity        slo.Severity
	State           state
	Flow, Link      string
	Service         string
	Objective       string
	Began, Lasted   string
	Firing          bool
	MachineReadable string // when it began
}

// alerts serves the page.
func (a *alertsSite) alerts(w http.ResponseWriter, r *http.Request) {
	seen, err := a.site.look(r.Context())
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out := a.firing(seen.picture, a.look())
	a.past(r, seen.picture, &out)
	html, err := a.render("alerts.html", &out)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, html)
}

// firing makes the page but for its history.
func (a *alertsSite) firing(p picture, now *alertsNow) alertsPage {
	out := alertsPage{frame: p.frame("alerts"), Silencing: a.opt.Silences != nil}
	if now.fault != nil {
		out.Notices = append(out.Notices, Notice{What: "Silences cannot be read. Alerts are current.", Detail: now.fault.Error()})
	}
	slos := map[string]slo.SLO{}
	for _, s := range slo.All(p.flows) {
		slos[s.ID()] = s
	}
	silences := map[string]Silence{}
	for _, s := range now.silences {
		silences[s.ID] = s
	}

	alerts := slices.Clone(now.alerts)
	slices.SortStableFunc(alerts, func(x, y Alert) int {
		return cmp.Or(
			cmp.Compare(min(1, len(x.Silences)), min(1, len(y.Silences))),
			cmp.Compare(severityState(y.Severity), severityState(x.Severity)),
			x.Since.Compare(y.Since),
			cmp.Compare(x.SLO, y.SLO),
		)
	})
	loud := map[state]int{}
	mutes := map[string]int{}
	for i, alert := range alerts {
		quiet := len(alert.Silences) > 0
		for _, id := range alert.Silences {
			mutes[id]++
		}
		if !quiet {
			loud[severityState(alert.Severity)]++
		}
		if i >= firingShown {
			out.More++
			continue
		}
		v := firingView{
			Severity: alert.Severity,
			State:    severityState(alert.Severity),
			Flow:     alert.SLO,
			Summary:  alert.Summary,
			Since:    words.Clock(alert.Since, p.now),
			For:      words.Span(p.now.Sub(alert.Since)),
			Burn:     words.Unknown,
		}
		if s, ok := slos[alert.SLO]; ok {
			v.Flow, v.Service, v.Link = s.Flow.Name, s.Flow.Service, p.link(s.Flow)
			if v.Objective = s.Objective.Words(); strings.Contains(v.Summary, v.Objective) {
				v.Objective = "" // said already
			}
			o := p.objective(p.numbers.Objective(s, read.StateOf(alert.Severity), false, false))
			v.Burn = o.Burn
			if o.Budget != nil {
				v.Budget = o.Budget.Words
			}
			if o.Pace != "" {
				v.Budget = strings.TrimPrefix(v.Budget+", "+o.Pace, ", ")
			}
			if out.Silencing && !quiet {
				v.Silence = p.silenceLink(s.Flow, alert.SLO)
			}
		}
		if quiet {
			v.State, v.Silenced = idle, "silenced"
			if s, ok := silences[alert.Silences[0]]; ok {
				v.Silenced = fmt.Sprintf("silenced until %s by %s", words.Clock(s.Until, p.now), s.By)
			}
		}
		out.Firing = append(out.Firing, v)
	}
	out.Headline, out.State = firingHeadline(loud, len(alerts) > 0)
	out.Title = out.State.Mark() + " " + out.Headline

	for i, s := range now.silences {
		if i == silencesShown {
			out.MoreQuiet = len(now.silences) - silencesShown
			break
		}
		out.Silences = append(out.Silences, p.silence(s, slos, mutes[s.ID]))
	}
	return out
}

// firingHeadline answers what fires that is not silenced.
func firingHeadline(loud map[state]int, any bool) (string, state) {
	pages, tickets := loud[burning], loud[spending]
	count := func(n int, noun string) string {
		if n == 1 {
			return "1 " + noun
		}
		return fmt.Sprintf("%d %ss", n, noun)
	}
	verb := " fire"
	if pages+tickets == 1 {
		verb = " fires"
	}
	switch {
	case pages > 0 && tickets > 0:
		return count(pages, "page") + " and " + count(tickets, "ticket") + verb, burning
	case pages > 0:
		return count(pages, "page") + verb, burning
	case tickets > 0:
		return count(tickets, "ticket") + verb, spending
	case any:
		return "All that fires is silenced", idle
	default:
		return "Nothing fires", calm
	}
}

// silence makes the line of a silence that mutes some of what fires.
func (p picture) silence(s Silence, slos map[string]slo.SLO, mutes int) silenceView {
	v := silenceView{
		ID: s.ID, What: s.Matchers, By: s.By, Why: s.Why,
		When: fmt.Sprintf("until %s, for another %s", words.Clock(s.Until, p.now), words.Span(s.Until.Sub(p.now))),
	}
	if s.From.After(p.now.Add(2 * keepView)) { // else it was made since p was taken
		v.When = fmt.Sprintf("from %s until %s", words.Clock(s.From, p.now), words.Clock(s.Until, p.now))
	}
	if s.Flow != "" {
		v.What, v.Detail = s.Flow, "every objective on "+s.Service
		for i := range p.flows {
			if f := &p.flows[i]; f.Service == s.Service && f.Name == s.Flow {
				v.Link = p.link(f)
			}
		}
		if s.SLO != "" {
			v.Detail = s.SLO
		}
	}
	if one, ok := slos[s.SLO]; ok && s.SLO != "" {
		v.What, v.Detail, v.Link = one.Flow.Name, one.Objective.Words()+" on "+one.Flow.Service, p.link(one.Flow)
	}
	switch mutes {
	case 0:
		v.Mutes = "nothing of it fires"
	case 1:
		v.Mutes = "mutes 1 alert"
	default:
		v.Mutes = fmt.Sprintf("mutes %d alerts", mutes)
	}
	return v
}

// past fills in the history that the request asks for.
func (a *alertsSite) past(r *http.Request, p picture, out *alertsPage) {
	chosen := 0
	for i, c := range ranges {
		if r.URL.Query().Get("range") == c.name {
			chosen = i
		}
	}
	shown := []int{1, 0, 2} // the shortest first
	for _, i := range shown {
		out.Ranges = append(out.Ranges, rangeView{Label: ranges[i].label, Link: a.base + "/alerts?range=" + ranges[i].name, Current: i == chosen})
	}
	out.Range = ranges[chosen].label
	past, err := a.history.Read(r.Context(), p.now, ranges[chosen].length)
	if err != nil {
		a.opt.Logger.Warn("history of alerts cannot be read", "err", err)
		out.PastFault = err.Error()
		return
	}

	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	past.List = withFiring(past.List, p.alerts, p.now, ranges[chosen].length)
	pages := max(1, (len(past.List)+pastShown-1)/pastShown)
	number = min(max(1, number), pages)
	address := func(page int) string {
		return fmt.Sprintf("%s&page=%d", a.base+"/alerts?range="+ranges[chosen].name, page)
	}
	if number > 1 {
		out.Newer = address(number - 1)
	}
	if number < pages {
		out.Older = address(number + 1)
	}
	switch n := len(past.List); {
	case past.Cut:
		out.PastCount = fmt.Sprintf("the last %s", words.Units(uint64(n), "alerts"))
	case n > 0:
		out.PastCount = words.Units(uint64(n), "alerts")
	}
	if pages > 1 {
		out.PastCount += fmt.Sprintf(", page %d of %d", number, pages)
	}

	slos := map[string]slo.SLO{}
	for _, s := range slo.All(p.flows) {
		slos[s.ID()] = s
	}
	firing := map[read.AlertKey]bool{}
	for _, x := range p.alerts {
		firing[read.AlertKey{SLO: x.SLO, Severity: x.Severity}] = true
	}
	for i, x := range past.List {
		if i/pastShown != number-1 {
			continue
		}
		v := pastView{
			Severity: x.Severity, State: severityState(x.Severity), Flow: x.SLO,
			Began: words.Clock(x.Began, p.now), Lasted: words.Span(x.Ended.Sub(x.Began)),
			MachineReadable: x.Began.UTC().Format(time.RFC3339),
		}
		if x.Open && firing[x.AlertKey] {
			v.Firing, v.Lasted = true, words.Span(p.now.Sub(x.Began))+" so far"
		}
		if x.Earlier {
			v.Began, v.Lasted = "before "+v.Began, "more than "+v.Lasted
		}
		if s, ok := slos[x.SLO]; ok {
			v.Flow, v.Service, v.Link, v.Objective = s.Flow.Name, s.Flow.Service, p.link(s.Flow), s.Objective.Words()
		}
		out.Past = append(out.Past, v)
	}
}

// withFiring adds to a history, the newest first, what fires since it was read.
func withFiring(list []read.PastAlert, firing []Alert, now time.Time, length time.Duration) []read.PastAlert {
	open := map[read.AlertKey]bool{}
	for _, x := range list {
		open[x.AlertKey] = open[x.AlertKey] || x.Open
	}
	var news []read.PastAlert
	for _, a := range firing {
		key := read.AlertKey{SLO: a.SLO, Severity: a.Severity}
		if !open[key] && now.Sub(a.Since) < length {
			news = append(news, read.PastAlert{AlertKey: key, Began: a.Since, Ended: now, Open: true})
			open[key] = true
		}
	}
	if len(news) == 0 {
		return list
	}
	out := read.Past{List: append(news, list...)} // list is what others read too
	out.Trim()
	return out.List
}

// frame returns the frame of a page other than those of flows.
func (p picture) frame(name string) frame {
	out := frame{Page: name}
	p.tellFaults(&out)
	return out
}
