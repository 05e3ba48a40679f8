package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

func newExplain() *cobra.Command {
	var rates []string
	var address, at string
	cmd := &cobra.Command{
		Use:   "explain PATH…",
		Short: "Say what each SLO means: its long form, its budget, its alerts",
		Long: `Say what SLO files mean, in words and figures: each sentence in full, how many
requests may fail, for how long everything may, how burn rates and windows of the
alerts follow from the target, and how soon they fire and end. PATHs are files
and directories of slowburn, Sloth, OpenSLO and Pyrra; - is standard input.

How much may fail depends on the traffic. Say it, or let explain ask a slowburn,
or a Prometheus that holds its series:

  slowburn explain slos.yaml --traffic 20/s
  slowburn explain slos.yaml --traffic checkout=20/s --traffic search=300/min
  slowburn explain slos.yaml --url http://localhost:9595`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			now := time.Now()
			if at != "" {
				var err error
				if now, err = parseAt(at); err != nil {
					return err
				}
			}
			in := &input{opened: map[string]bool{}}
			if err := in.resolve(paths, cmd.InOrStdin()); err != nil {
				return err
			}
			config, err := spec.Load(in, paths...)
			if err != nil {
				return err
			}
			t, err := parseTraffic(rates, config.Flows)
			if err != nil {
				return err
			}
			if address != "" {
				if err := t.count(cmd.Context(), address, now); err != nil {
					return err
				}
			}
			for _, w := range config.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "slowburn: warning:", w)
			}
			e := explainer{at: now, traffic: t}
			for i := range config.Flows {
				e.flow(&config.Flows[i])
			}
			e.glossary()
			_, err = cmd.OutOrStdout().Write([]byte(e.String()))
			return err
		},
	}
	cmd.Flags().StringArrayVar(&rates, "traffic", nil, "requests of every flow, as 20/s, or of one, as checkout=20/s; may be repeated")
	cmd.Flags().StringVar(&address, "url", "", "address of a slowburn or Prometheus to ask for the traffic of the last 7 days")
	cmd.Flags().StringVar(&at, "at", "", "the moment to explain for, as 2026-12-01 or 2026-12-01T14:00:00+01:00 (default now)")
	return cmd
}

func parseAt(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--at: %q is not a time; want one such as 2026-12-01 or 2026-12-01T14:00:00+01:00", s)
}

// explainer writes what flows and their objectives mean.
type explainer struct {
	strings.Builder
	at      time.Time
	traffic traffic
}

// line writes one line.
func (e *explainer) line(format string, args ...any) {
	fmt.Fprintf(e, format, args...)
	e.WriteByte('\n')
}

// margin is where lines are broken.
const margin = 92

// prose writes a text that begins with a label and goes on below itself.
func (e *explainer) prose(label, text string) {
	indent := strings.Repeat(" ", len([]rune(label)))
	line := label
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case len([]rune(line))+1+len([]rune(word)) > margin:
			e.line("%s", line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	e.line("%s", line)
}

// table writes columns, at least one row, with their heads if they have any;
// those whose head begins with > are aligned to the right.
func (e *explainer) table(indent string, heads []string, rows [][]string) {
	widths := make([]int, len(rows[0]))
	right := make([]bool, len(rows[0]))
	all := rows
	if heads != nil {
		for i, h := range heads {
			heads[i], right[i] = strings.CutPrefix(h, ">")
		}
		all = append([][]string{heads}, rows...)
	}
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range all {
		line := indent
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i > 0 {
				line += "   "
			}
			if right[i] {
				line += space + cell
			} else {
				line += cell + space
			}
		}
		e.line("%s", strings.TrimRight(line, " "))
	}
}

// flow explains a flow and its objectives.
func (e *explainer) flow(f *slo.Flow) {
	if e.Len() > 0 {
		e.line("")
	}
	e.line("%s / %s   (%s)", f.Service, f.Name, f.Pos)
	e.line("%s", strings.Repeat("=", len([]rune(f.Service))+3+len([]rune(f.Name))))
	if f.Description != "" {
		e.prose("", f.Description)
	}
	if f.Counted() {
		e.selector("  Counts   ", "server, consumer and root spans of service "+f.Service, f.Match)
		if len(f.BadWhen) > 0 {
			e.selector("  Failed   ", "those", f.BadWhen)
		} else {
			e.line("  Failed   those with span status error, or an HTTP status of 500 and above")
		}
		if keys := f.Compared(); len(keys) > 0 {
			e.prose("  Where    ", "what bad requests have in common is sought in "+strings.Join(keys, ", "))
		} else {
			e.line("  Where    off: what bad requests have in common is not sought")
		}
	}
	if f.By != "" {
		e.prose("  Split    ", fmt.Sprintf("by %s: the first %d values are shown apart, the rest as one; objectives count all together", f.By, f.ByLimit))
	}
	if alerting(f) {
		e.prose("  Alerts   ", "pages to "+cmp.Or(f.PageChannel, "the channel of the webhook")+", tickets to "+cmp.Or(f.TicketChannel, "the channel of the webhook"))
	}
	if f.Owner != "" {
		e.prose("  Owner    ", f.Owner)
	}
	if f.Runbook != "" {
		e.prose("  Runbook  ", f.Runbook)
	}
	for i, x := range f.Exclude {
		label := "  Left out "
		if i > 0 {
			label = "           "
		}
		e.prose(label, e.exclusion(x))
	}
	for _, s := range f.SLOs() {
		e.objective(s)
	}
}

func alerting(f *slo.Flow) bool {
	return slices.ContainsFunc(f.Objectives, func(o slo.Objective) bool { return o.Alerts(slo.Page) || o.Alerts(slo.Ticket) })
}

// selector writes which spans are meant.
func (e *explainer) selector(label, spans string, sel slo.Selector) {
	if len(sel) == 0 {
		e.line("%s%s", label, spans)
		return
	}
	e.line("%s%s with", label, spans)
	var rows [][]string
	for _, c := range sel {
		var patterns []string
		for _, p := range c.Any {
			patterns = append(patterns, p.String())
		}
		value := strings.Join(patterns, " or ")
		if c.Not {
			value = "not " + strings.Join(patterns, ", nor ")
		}
		rows = append(rows, []string{c.Key, value})
	}
	e.table("             ", nil, rows)
}

// exclusion writes time that does not count, and when it comes next.
func (e *explainer) exclusion(x slo.Exclusion) string {
	text := slo.Duration(x.For) + " "
	if x.Every == slo.Once {
		text += "from " + clock(x.From, x.Zone)
	} else {
		at := fmt.Sprintf("at %02d:%02d", x.At/time.Hour, x.At%time.Hour/time.Minute)
		if x.Zone != nil && x.Zone != time.UTC {
			at += " " + x.Zone.String()
		} else {
			at += " UTC"
		}
		switch x.Every {
		case slo.Daily:
			text += "every day " + at
		case slo.Monthly:
			text += fmt.Sprintf("on day %d of every month %s", x.Day, at)
		default:
			var days []string
			for _, d := range x.Days {
				days = append(days, d.String())
			}
			text += "every " + strings.Join(days, ", ") + " " + at
		}
	}
	if x.Why != "" {
		text += " (" + x.Why + ")"
	}
	if x.Every == slo.Once {
		if !x.From.Add(x.For).After(e.at) {
			return text + ": over"
		}
		return text
	}
	// A day of the month that comes once in four years is found within five.
	const far = 5 * 366 * 24 * time.Hour
	var next []string
	for i := range x.Between(e.at, e.at.Add(far)) {
		if next = append(next, clock(i.Start, x.Zone)); len(next) == 3 {
			break
		}
	}
	if len(next) == 0 {
		return text + ": over"
	}
	return text + ": next " + strings.Join(next, ", ")
}

// clock writes an instant as clocks in a zone show it.
func clock(t time.Time, zone *time.Location) string {
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format("2006-01-02 15:04 MST")
}

// objective explains an objective: what it says in full, its budget, its
// alerts.
func (e *explainer) objective(s slo.SLO) {
	o := s.Objective
	e.line("")
	e.line("  %s   (%s)", o.Words(), s.ID())
	e.line("  %s", strings.Repeat("-", len([]rune(o.Words()))))
	e.line("    In full")
	for line := range strings.SplitSeq(strings.TrimRight(spec.LongForm(o), "\n"), "\n") {
		e.line("      %s", line)
	}
	e.line("")
	start, end := e.period(o)
	e.budget(s, end.Sub(start))
	e.line("")
	e.alerts(s)
}

// period writes what the window is, and returns its bounds around e.at.
func (e *explainer) period(o slo.Objective) (start, end time.Time) {
	if o.Calendar.Unit == slo.Rolling {
		e.prose("    Window   ", fmt.Sprintf("rolling: at any moment, the last %s count.", slo.Duration(o.Window)))
		return e.at.Add(-o.Window), e.at
	}
	start, end = o.Calendar.Bounds(e.at)
	e.prose("    Window   ", fmt.Sprintf("by the calendar: this %s began %s and ends %s, %s in all; then the budget is whole again. Burn rates are reckoned with %s.",
		o.Calendar.Unit, clock(start, o.Calendar.Zone), clock(end, o.Calendar.Zone), lasting(end.Sub(start)), slo.Duration(o.Window)))
	return start, end
}

// budget writes how much may go wrong in a period of the given length.
func (e *explainer) budget(s slo.SLO, period time.Duration) {
	o := s.Objective
	b := o.Budget()
	share := slo.Percent(b)
	within := time.Duration(b * float64(period))
	slices := b * float64(period/max(o.Slice, 1))
	span := slo.Duration(o.Window)
	if o.Calendar.Unit != slo.Rolling {
		span = "this " + o.Calendar.Unit.String()
	}
	switch {
	case o.Kind == slo.Fresh:
		e.prose("    Budget   ", fmt.Sprintf("%s of the minutes of %s may find the last success older than %s: %s minutes, which is %s.",
			share, span, slo.Duration(o.Threshold), figure(slices), lasting(within)))
		return
	case o.Slice > 0:
		e.prose("    Budget   ", fmt.Sprintf("%s of the %s of %s may be bad: %s, which is %s of a total outage. One is bad when fewer than %s of its %s; one without traffic is good.",
			share, unitOf(o), span, figure(slices), lasting(within), slo.Percent(o.SliceTarget), promised(o)))
		return
	case o.Kind == slo.FasterThan:
		e.prose("    Budget   ", fmt.Sprintf("%s of the requests may take longer than %s, %s. Failed ones count by their time alone.", share, slo.Duration(o.Threshold), oneIn(b)))
	case o.Query.Ratio != "":
		e.prose("    Budget   ", fmt.Sprintf("the ratio of the query may be %s on the average of %s.", share, span))
	case o.Kind == slo.PromQL:
		e.prose("    Budget   ", fmt.Sprintf("%s of the events that the query counts may be bad, %s.", share, oneIn(b)))
	default:
		e.prose("    Budget   ", fmt.Sprintf("%s of the requests may fail, %s.", share, oneIn(b)))
	}
	e.prose("             ", fmt.Sprintf("If everything is bad, it is spent in %s.", lasting(within)))
	if o.Query.Ratio != "" {
		return
	}
	e.line("")
	var rows [][]string
	for _, r := range e.traffic.of(s) {
		all := r.perSecond * period.Seconds()
		at := r.text
		if r.over > 0 {
			at += " in the last " + lasting(r.over)
		}
		first := "none"
		if d, ok := firstAlert(o, r.perSecond); ok {
			first = lasting(d)
		}
		rows = append(rows, []string{at, figure(math.Round(all)), figure(all * b), figure(all * b * 24 * float64(time.Hour) / float64(period)), first})
	}
	e.table("      ", []string{"traffic", ">" + o.Unit() + " in " + span, ">may be bad", ">each day", ">first alert of an outage"}, rows)
}

// firstAlert returns how long a total outage takes to alert, at a rate of
// requests.
func firstAlert(o slo.Objective, perSecond float64) (first time.Duration, ok bool) {
	if o.Outage && perSecond >= outagePerSecond {
		first, ok = outageWithin, true
	}
	for _, t := range o.Tiers {
		d, fires := detection(o, t, 1/o.Budget())
		if !fires {
			continue
		}
		d = max(d, time.Duration(float64(o.MinEvents)/perSecond*float64(time.Second)))
		if d <= t.Long && (!ok || d < first) {
			first, ok = d, true
		}
	}
	return first, ok
}

func unitOf(o slo.Objective) string {
	if o.Slice == time.Minute {
		return "minutes"
	}
	return "slices of " + slo.Duration(o.Slice)
}

// promised writes what an objective wants of the events of a slice.
func promised(o slo.Objective) string {
	switch o.Kind {
	case slo.FasterThan:
		return "requests take at most " + slo.Duration(o.Threshold)
	case slo.PromQL:
		return "events are good"
	default:
		return "requests succeed"
	}
}

// oneIn writes a share: 1 in 1,000.
func oneIn(share float64) string {
	switch n := 1 / share; {
	case share > 0.5:
		return figure(share*1000) + " in 1,000"
	case math.Abs(n-math.Round(n)) < 1e-6*n:
		return "1 in " + figure(math.Round(n))
	default:
		return "1 in about " + figure(n)
	}
}

// alerts writes when the objective alerts and when it stops.
func (e *explainer) alerts(s slo.SLO) {
	o := s.Objective
	if !o.Alerts(slo.Page) && !o.Alerts(slo.Ticket) {
		e.line("    Alerts   off")
		return
	}
	if len(o.Tiers) > 0 {
		e.tiers(o)
		if o.Outage || len(o.Spent) > 0 || o.RunsOut {
			e.line("")
		}
	} else {
		e.line("    Alerts   none by burn rate")
	}
	if o.Outage {
		bad := "fail"
		if o.Kind == slo.FasterThan {
			bad = "take longer than " + slo.Duration(o.Threshold)
		}
		e.prose("    Outage   ", fmt.Sprintf("pages within %s when nearly all requests %s: nine in ten, of one a second at least.", lasting(outageWithin), bad))
	}
	if len(o.Spent) > 0 {
		var shares []string
		for _, share := range o.Spent {
			shares = append(shares, slo.Percent(share))
		}
		e.prose("    Spent    ", "a ticket when what is spent of the budget reaches "+orList(shares)+".")
	}
	if o.RunsOut {
		end := "within " + slo.Duration(o.Window/4) + ", a quarter of its window"
		if o.Calendar.Unit != slo.Rolling {
			end = "before the " + o.Calendar.Unit.String() + " is over"
		}
		e.prose("    Runs out ", "a ticket when the budget, burning on as it does, will be gone "+end+".")
	}
}

// What package judge takes for an outage is ten bad requests in ten seconds, and
// nine in ten of all. It pages so soon after the first of them at the latest.
const (
	outageWithin    = 20 * time.Second
	outagePerSecond = 1.0
)

// orList writes at least one word as alternatives: a, b or c.
func orList(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// tiers writes the burn-rate alerts of an objective that has some.
func (e *explainer) tiers(o slo.Objective) {
	unit := o.Unit()
	text := "each fires while the budget burns at its rate or faster over both windows"
	if o.MinEvents > 1 {
		text += fmt.Sprintf(", the longer of which holds at least %d bad %s", o.MinEvents, unit)
	}
	e.prose("    Alerts   ", text+".")
	if o.Kind == slo.Fresh {
		e.prose("             ", "Times count from when the last success is "+slo.Duration(o.Threshold)+" old.")
	}
	e.line("")
	total := 1 / o.Budget()
	var rows [][]string
	for _, t := range o.Tiers {
		rows = append(rows, []string{
			string(t.Severity), number(t.Factor), slo.Duration(t.Long) + " and " + slo.Duration(t.Short),
			percent(t.Factor * o.Budget()), percent(spends(t, o)), fires(o, t, total), fires(o, t, 2), lasting(t.Reset(total)),
		})
	}
	e.table("      ", []string{"alert", ">burn rate", "windows", ">bad", ">spent", ">outage", ">2× burn", ">ends"}, rows)
	t := o.Tiers[0]
	e.line("")
	bad := " of the " + unit + " must be bad"
	if o.Query.Ratio != "" {
		bad = " must be the ratio"
	}
	e.prose("      ", fmt.Sprintf("The first line: to burn at %s, %s × %s = %s%s; %s of that spend %s × %s / %s = %s of the budget.",
		number(t.Factor), number(t.Factor), slo.Percent(o.Budget()), percent(t.Factor*o.Budget()), bad,
		slo.Duration(t.Long), number(t.Factor), slo.Duration(t.Long), slo.Duration(o.Window), percent(spends(t, o))))
	if changes, to := lowered(o); len(changes) > 0 {
		e.prose("      ", fmt.Sprintf("Lowered: %s. When everything is bad %s burns at %s, so that %s being bad is enough.",
			strings.Join(changes, ", "), slo.Percent(o.Target), figure(total), percent(to*o.Budget())))
	}
}

// lowered returns which of the usual burn rates the objective's target cannot
// reach, or hardly, as "14.4 to 10", and the one that is used instead of them.
func lowered(o slo.Objective) (changes []string, to float64) {
	for _, usual := range slo.Tiers(1, o.Window) {
		for _, t := range o.Tiers {
			same := t.Severity == usual.Severity && t.Long == usual.Long && t.Short == usual.Short
			if same && t.Factor < usual.Factor && t.Factor == slo.Reachable(usual.Factor, o.Target) {
				changes, to = append(changes, number(usual.Factor)+" to "+number(t.Factor)), t.Factor
			}
		}
	}
	return changes, to
}

// spends returns the share of the budget that is spent when a tier fires.
func spends(t slo.Tier, o slo.Objective) float64 {
	return t.Factor * float64(t.Long) / float64(o.Window)
}

// number writes a burn rate.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// fires writes how long a steady burn takes to fire a tier.
func fires(o slo.Objective, t slo.Tier, burn float64) string {
	if burn*o.Budget() > 1+1e-9 {
		return "–" // more than everything would have to be bad
	}
	d, ok := detection(o, t, burn)
	if !ok {
		return "never"
	}
	return lasting(d)
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

// percent writes a share with two digits that say something.
func percent(ratio float64) string {
	return strconv.FormatFloat(ratio*100, 'g', max(3, len(strconv.Itoa(int(ratio*100)))), 64) + "%"
}

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
	if d < 10*time.Second {
		return figure(d.Round(time.Millisecond).Seconds()) + " s"
	}
	return fmt.Sprintf("%d s", d.Round(time.Second)/time.Second)
}

// glossary says what the words mean.
func (e *explainer) glossary() {
	e.line("")
	e.line("How to read this")
	e.line("----------------")
	for _, g := range [][2]string{
		{"budget    ", "What may go wrong in the window: 100% less the target."},
		{"burn rate ", "How fast the budget is spent: at 1 it lasts exactly the window, at 2 half of it."},
		{"windows   ", "The long one shows that the trouble matters, the short one that it is still there."},
		{"bad       ", "The share that must be bad in both windows for the alert to fire."},
		{"spent     ", "The share of the budget that is gone by then."},
		{"outage    ", "How long it takes to fire when all is well and then everything is bad."},
		{"2× burn   ", "How long it takes when twice as much is bad as may be, all the time."},
		{"ends      ", "How long after such an outage the alert stops by itself."},
		{"page      ", "Wakes somebody. A ticket waits for office hours."},
	} {
		e.prose("  "+g[0]+" ", g[1])
	}
}
