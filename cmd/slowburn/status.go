package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"golang.org/x/text/width"

	v1 "github.com/slowburn-slo/slowburn/dashboards/api/v1"
	"github.com/slowburn-slo/slowburn/internal/words"
)

const (
	// watchEvery is how often --watch looks. Data is written every ten seconds;
	// an alert may fire between.
	watchEvery = 2 * time.Second

	// statusTimeout bounds one question to a running slowburn.
	statusTimeout = 5 * time.Second

	// maxStatus is the longest answer that is read: 1,000 flows are 1.3 MB.
	maxStatus = 64 << 20
)

func newStatus() *cobra.Command {
	var address, service, format string
	var watch, ready bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show all flows of a running slowburn, worst first",
		Long: `Show the flows of a running slowburn in the terminal, worst first: how much is good
now, what is left of the error budget and what the burn rate means for it, the
latency that 95% of the requests keep, requests, errors, and the errors of the last
hour. The figures are those of its pages.

--watch draws the same every 2 seconds until Ctrl-C, and goes on trying while
slowburn cannot be reached. --ready only asks whether it works: the health check
of a container.

The exit code is 0, or 1 if slowburn cannot be reached or, with --ready, is not
ready. Colours are left out where the output is no terminal or NO_COLOR is set.`,
		Example: `  slowburn status --watch
  slowburn status --url https://slowburn.example --service shop
  slowburn status --format json | jq '.flows[] | select(.state == "burning").flow'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asked, err := newAsked(address, service)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case format != "table" && format != "json":
				return fmt.Errorf("--format: %q is not a format; want table or json", format)
			case ready:
				if err := asked.ready(cmd.Context()); err != nil {
					return err
				}
				_, err := fmt.Fprintln(out, "ready")
				return err
			case watch && (format == "json" || !isTerminal(out)):
				return errors.New("--watch draws a table on a terminal; leave it away here, and run this again")
			case watch:
				w := watcher{fetch: asked.flows, out: out, name: asked.name(), screen: func() screen { return screenOf(out) }}
				return w.run(cmd.Context())
			}
			flows, body, err := asked.flows(cmd.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				return writeAnswer(out, body)
			}
			s := screenOf(out)
			s.height = 0 // it may scroll
			_, err = io.WriteString(out, strings.Join(s.table(flows, time.Now()), "\n")+"\n")
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&address, "url", "http://127.0.0.1:9595", "address of the slowburn to ask")
	f.StringVar(&service, "service", "", "only flows of this service")
	f.BoolVar(&watch, "watch", false, "draw it again every 2 seconds, until Ctrl-C")
	f.BoolVar(&ready, "ready", false, "only ask whether slowburn is ready, and print one line")
	f.StringVar(&format, "format", "table", "table or json")
	return cmd
}

// asked is a running slowburn.
type asked struct {
	url     *url.URL
	service string // whose flows are asked for; empty: all
}

func newAsked(address, service string) (asked, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		// Without the address: it may hold a password.
		return asked{}, errors.New("--url: not the address of a slowburn; want one such as http://127.0.0.1:9595")
	}
	return asked{u, service}, nil
}

// name is the address for people.
func (a asked) name() string { return clean(a.url.Redacted()) }

// get returns the answer to a GET of a path, of maxStatus bytes at most.
func (a asked) get(ctx context.Context, path string, query url.Values) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	u := a.url.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err == nil {
		defer res.Body.Close()
		status = res.StatusCode
		body, err = io.ReadAll(io.LimitReader(res.Body, maxStatus))
	}
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the address is told once
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %s", words.Span(statusTimeout))
		}
		return 0, nil, fmt.Errorf("%s cannot be reached: %s", a.name(), clean(err.Error()))
	}
	return status, body, nil
}

// flows asks for the flows, and returns the answer as it came as well.
func (a asked) flows(ctx context.Context) (v1.Flows, []byte, error) {
	var out v1.Flows
	query := url.Values{}
	if a.service != "" {
		query.Set("service", a.service)
	}
	status, body, err := a.get(ctx, v1.Prefix+"/flows", query)
	if err != nil {
		return out, nil, err
	}
	if status != http.StatusOK {
		var e v1.Error
		_ = json.Unmarshal(body, &e) // whoever else answers writes something else
		return out, nil, fmt.Errorf("%s answers %s", a.name(),
			strings.TrimSuffix(fmt.Sprintf("%d %s: %s", status, http.StatusText(status), clean(e.Error.Message)), ": "))
	}
	if err := json.Unmarshal(body, &out); err != nil || out.At.IsZero() {
		return out, nil, fmt.Errorf("%s does not answer as slowburn does; want the address of its pages", a.name())
	}
	return out, body, nil
}

// ready returns why slowburn is not ready, in one line.
func (a asked) ready(ctx context.Context) error {
	status, body, err := a.get(ctx, "/readyz", nil)
	if err != nil || status == http.StatusOK {
		return err
	}
	return fmt.Errorf("not ready: %s", clean(strings.ReplaceAll(strings.TrimSpace(string(body[:min(len(body), 1000)])), "\n", "; ")))
}

// writeAnswer indents an answer. What a terminal might take for a command is
// escaped; JSON has it inside of strings only.
func writeAnswer(out io.Writer, body []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(body), "", "  "); err != nil {
		return err
	}
	var safe strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			safe.WriteRune(r)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&safe, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&safe, `\u%04x`, r)
		}
	}
	_, err := io.WriteString(out, safe.String()+"\n")
	return err
}

// screen is what there is to write on.
type screen struct {
	width, height int // in cells; 0: as much as is needed
	colour        bool
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// screenOf returns what out is. COLUMNS says how wide it is where nothing else
// does.
func screenOf(out io.Writer) screen {
	var s screen
	if isTerminal(out) {
		s.width, s.height, _ = term.GetSize(int(out.(*os.File).Fd()))
		s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	if s.width == 0 {
		s.width, _ = strconv.Atoi(os.Getenv("COLUMNS"))
	}
	return s
}

// watcher draws the flows again and again.
type watcher struct {
	fetch  func(context.Context) (v1.Flows, []byte, error)
	out    io.Writer
	name   string // of what is watched
	screen func() screen
}

// run draws until ctx ends. It returns an error only when it cannot write.
func (w watcher) run(ctx context.Context) (err error) {
	// On a screen of its own, which leaves the terminal as it was.
	if _, err = io.WriteString(w.out, "\x1b[?1049h\x1b[?25l"); err != nil {
		return err
	}
	defer func() {
		_, e := io.WriteString(w.out, "\x1b[?25h\x1b[?1049l")
		err = errors.Join(err, e)
	}()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last v1.Flows
	var reached, failing time.Time
	for {
		flows, _, err := w.fetch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		s := w.screen()
		var lines []string
		if err == nil {
			last, reached, failing = flows, now, time.Time{}
		} else {
			if failing.IsZero() {
				failing = now
			}
			since := fmt.Sprintf("! %v, for %s now. Trying every %s.", err, words.Span(now.Sub(failing)), words.Span(watchEvery))
			if !reached.IsZero() {
				since += " What follows is as of " + reached.Format("15:04:05") + "."
			}
			lines = append(s.wrap(since, red), "")
		}
		if !reached.IsZero() {
			s.height -= len(lines)
			lines = append(lines, s.table(last, now)...)
		}
		if err := draw(w.out, lines); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// draw puts lines over what was drawn before, in one write and without
// clearing first, so that nothing flickers.
func draw(out io.Writer, lines []string) error {
	_, err := io.WriteString(out, "\x1b[?2026h\x1b[H"+strings.Join(lines, "\x1b[K\n")+"\x1b[K\x1b[J\x1b[?2026l")
	return err
}

// Styles, as a terminal knows them.
const (
	plain  = ""
	dim    = "2"
	red    = "1;31"
	yellow = "33"
	green  = "32"
)

// looks are how states look: a mark, a word and a style.
var looks = map[v1.State]struct{ mark, word, style string }{
	v1.Burning:  {"●", "burning", red},
	v1.Spending: {"◐", "spending", yellow},
	v1.Spent:    {"◐", "spent", yellow},
	v1.Unknown:  {"?", "unknown", dim},
	v1.Calm:     {"○", "calm", green},
	v1.Excluded: {"–", "excluded", dim},
	v1.Idle:     {"–", "idle", dim},
	v1.NoData:   {"–", "no data", dim},
}

// cell is a part of a line.
type cell struct {
	text, style string
	right       bool // aligned
}

// paint writes text in a style where there are colours.
func (s screen) paint(text, style string) string {
	if !s.colour || style == plain || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// line writes cells in columns of the given widths, no wider than the screen.
func (s screen) line(cells []cell, widths []int) string {
	var b strings.Builder
	room := s.width
	if room <= 0 {
		room = math.MaxInt
	}
	for i, c := range cells {
		text := cut(c.text, min(widths[i], room))
		pad := strings.Repeat(" ", min(widths[i], room)-cellCount(text))
		room -= cellCount(text) + len(pad)
		switch {
		case c.right:
			b.WriteString(pad + s.paint(text, c.style))
		default:
			b.WriteString(s.paint(text, c.style) + pad)
		}
		gap := min(2, room)
		room -= gap
		b.WriteString(strings.Repeat(" ", gap))
	}
	return strings.TrimRight(b.String(), " ")
}

// flow writes cells in as many lines as they take.
func (s screen) flow(cells []cell) []string {
	var out []string
	for len(cells) > 0 {
		n, used := 0, 0
		var widths []int
		for n < len(cells) {
			w := cellCount(cells[n].text)
			if used += w; n > 0 && s.width > 0 && used > s.width {
				break
			}
			widths = append(widths, w)
			n, used = n+1, used+2
		}
		out, cells = append(out, s.line(cells[:n], widths)), cells[n:]
	}
	return out
}

// wrap writes a sentence in lines that fit.
func (s screen) wrap(text, style string) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && s.width > 0 && cellCount(line)+1+cellCount(word) > s.width {
			out, line = append(out, s.paint(line, style)), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
		if s.width > 0 {
			line = cut(line, s.width)
		}
	}
	return append(out, s.paint(line, style))
}

// table writes the flows in lines that fit, the first of them when not all do.
func (s screen) table(in v1.Flows, now time.Time) []string {
	out := s.head(in, now)
	switch {
	case len(in.Flows) == 0:
		return append(out, s.wrap("No flows. They are in the file or directory given to slowburn serve --slos, or of another service.", plain)...)
	case !slices.ContainsFunc(in.Flows, func(f v1.Flow) bool { return f.State != v1.NoData }):
		out = append(out, s.wrap("Nothing has arrived yet. slowburn serve --help shows how to send traces.", plain)...)
		out = append(out, "")
	}
	heads, blocks := s.columns(in.Flows, now)
	out = append(out, heads...)
	for i, block := range blocks {
		last := i == len(blocks)-1
		if s.height > 0 && (len(out)+len(block) > s.height || !last && len(out)+len(block) == s.height) {
			out = out[:min(len(out), s.height-1)]
			return append(out, s.line([]cell{{text: "… " + words.Units(uint64(len(blocks)-i), "flows") + " more", style: dim}}, []int{s.width}))
		}
		out = append(out, block...)
	}
	return out
}

// head counts the states, and tells what is to be known before the figures are
// believed.
func (s screen) head(in v1.Flows, now time.Time) []string {
	var counts []cell
	for _, state := range v1.States {
		n := 0
		for _, f := range in.Flows {
			if f.State == state {
				n++
			}
		}
		if n > 0 {
			text := fmt.Sprintf("%s %d %s", looks[state].mark, n, looks[state].word)
			counts = append(counts, cell{text: text, style: looks[state].style})
		}
	}
	age := "no data yet"
	if !in.DataAt.IsZero() {
		age = "data " + words.Span(now.Sub(in.DataAt)) + " ago"
	}
	out := s.flow(append(counts, cell{text: age, style: dim}))
	if in.Stale {
		out = append(out, s.wrap(fmt.Sprintf("! Data ends %s ago, at %s. All figures are as of then.", words.Span(now.Sub(in.DataAt)), in.DataAt.In(now.Location()).Format("15:04:05 MST")), yellow)...)
	}
	for _, n := range in.Notices {
		out = append(out, s.wrap("! "+clean(n), yellow)...)
	}
	return append(out, "")
}

// columns writes the flows as a table where that fits, and otherwise each as a
// line with its objectives below.
func (s screen) columns(flows []v1.Flow, now time.Time) (heads []string, blocks [][]string) {
	head := []cell{
		{text: "STATE"},
		{text: "FLOW"},
		{text: "SERVICE"},
		{text: "OBJECTIVE"},
		{text: "NOW", right: true},
		{text: "BUDGET LEFT"},
		{text: "BURN", right: true},
		{},
		{text: "P95", right: true},
		{text: "RATE", right: true},
		{text: "ERRORS", right: true},
		{text: "LAST HOUR"},
	}
	const name, kind, hour = 1, 3, 11 // columns that may shrink
	rows := make([][][]cell, len(flows))
	widths := make([]int, len(head))
	grow := func(row []cell) {
		for i, c := range row {
			widths[i] = max(widths[i], cellCount(c.text))
		}
	}
	grow(head)
	for i, f := range flows {
		look := looks[f.State]
		first := []cell{
			{text: look.mark + " " + look.word, style: look.style}, {text: clean(f.Name)}, {text: clean(f.Service), style: dim},
		}
		rest := []cell{
			{text: latencyOf(f.P95Seconds), right: true},
			{text: rateOf(f.RequestsPerSecond), right: true},
			{text: shareOf(f.ErrorRatio), right: true},
			{text: sparkOf(f.LastHour, 1), style: look.style},
		}
		if len(f.Objectives) == 0 {
			rows[i] = append(rows[i], slices.Concat(first, make([]cell, 5), rest))
		}
		for j, o := range f.Objectives {
			if j > 0 {
				first, rest = make([]cell, 3), make([]cell, 4)
			}
			rows[i] = append(rows[i], slices.Concat(first, objectiveCells(o, now), rest))
		}
		for _, row := range rows[i] {
			grow(row)
		}
	}
	total := func() int {
		n := 2 * (len(widths) - 1)
		for _, w := range widths {
			n += w
		}
		return n
	}
	steps := 1 // of the chart in one cell
	for _, steps = range []int{1, 2, 3} {
		widths[hour] = max(len("LAST HOUR"), (30+steps-1)/steps)
		if s.width <= 0 || total() <= s.width {
			break
		}
	}
	for s.width > 0 && total() > s.width {
		// The longer of both gives first.
		switch {
		case widths[kind] > 24 && widths[kind] >= widths[name]:
			widths[kind]--
		case widths[name] > 16:
			widths[name]--
		default:
			return nil, s.stacked(rows, flows)
		}
	}
	for i := range head {
		head[i].style = dim
	}
	heads = []string{s.line(head, widths)}
	for i, f := range flows {
		rows[i][0][hour].text = sparkOf(f.LastHour, steps)
		var block []string
		for _, row := range rows[i] {
			block = append(block, s.line(row, widths))
		}
		blocks = append(blocks, block)
	}
	return heads, blocks
}

// stacked writes rows of the table for a narrow screen.
func (s screen) stacked(rows [][][]cell, flows []v1.Flow) (blocks [][]string) {
	const around = 10 + 10 + 6 + 12 + 10 + 2*5 // of the name, in the first line
	const beside = 2 + 7 + 16 + 5 + 15 + 2*5   // of the objective, below
	first := []int{10, max(10, s.width-around), 10, 6, 12, 10}
	below := []int{2, max(10, s.width-beside), 7, 16, 5, 15}
	for i, f := range flows {
		row := rows[i][0]
		name := row[1]
		name.text += " (" + row[2].text + ")"
		p95, rate, errors := row[8], row[9], row[10]
		p95.text, errors.text = "p95 "+p95.text, errors.text+" errors"
		for _, absent := range []struct {
			figure *float64
			cell   *cell
		}{{f.P95Seconds, &p95}, {f.RequestsPerSecond, &rate}, {f.ErrorRatio, &errors}} {
			if absent.figure == nil {
				absent.cell.text = ""
			}
		}
		block := []string{s.line([]cell{row[0], name, p95, rate, errors, {text: sparkOf(f.LastHour, 3), style: row[11].style}}, first)}
		for _, row := range rows[i] {
			block = append(block, s.line(append([]cell{{}}, row[3:8]...), below))
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// objectiveCells are what the table tells of an objective.
func objectiveCells(o v1.Objective, now time.Time) []cell {
	look := looks[o.State]
	sentence := clean(o.Objective)
	if o.Period != "" {
		sentence += " · " + clean(o.Period)
	}
	meaning := pace(o, now)
	return []cell{
		{text: sentence},
		{text: goodOf(o.GoodRatio), right: true},
		{text: budgetOf(o.BudgetLeftRatio), style: look.style},
		{text: burnOf(o.BurnRate), style: look.style, right: true},
		{text: meaning},
	}
}

// pace says what the burn rate means for the budget.
func pace(o v1.Objective, now time.Time) string {
	lasts := "lasts"
	if !o.PeriodEndsAt.IsZero() {
		lasts += " to " + o.PeriodEndsAt.Add(-time.Second).In(now.Location()).Format("2 Jan")
	}
	left := o.BudgetLeftRatio
	urgent := o.State == v1.Burning || o.State == v1.Spending
	switch {
	case left == nil || *left == 0:
		return ""
	case *left < 0:
		over := -*left
		return shareOf(&over) + " over"
	case urgent && !o.BudgetEndsAt.IsZero():
		in := o.BudgetEndsAt.Sub(now)
		switch {
		case in < 90*time.Minute:
			return fmt.Sprintf("gone in %d min", max(1, in/time.Minute))
		case in < 48*time.Hour:
			return fmt.Sprintf("gone in %d h", in/time.Hour)
		case in < 6*24*time.Hour:
			return "gone " + o.BudgetEndsAt.In(now.Location()).Format("Monday")
		default:
			return "gone on " + o.BudgetEndsAt.In(now.Location()).Format("2 Jan")
		}
	case (urgent || o.State == v1.Calm) && o.BurnRate != nil && (urgent && *o.BurnRate > 1 || *o.BurnRate <= 1):
		return lasts
	}
	return ""
}

// sparkOf draws the errors of an hour, a cell for some steps: the worst of
// them. A full cell is the worst share of the hour, and 1% at least, for a
// single failed request is no outage; an empty one is without requests.
func sparkOf(h *v1.Hour, steps int) string {
	if h == nil {
		return ""
	}
	n := min(len(h.RequestsPerSecond), len(h.ErrorsPerSecond))
	const none = -1
	shares := make([]float64, (n+steps-1)/steps)
	top := 0.01
	for i := range shares {
		shares[i] = none
		for j := i * steps; j < min(n, (i+1)*steps); j++ {
			if h.RequestsPerSecond[j] > 0 {
				shares[i] = max(shares[i], min(1, h.ErrorsPerSecond[j]/h.RequestsPerSecond[j]))
			}
		}
		top = max(top, shares[i])
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range shares {
		if v == none {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(bars[max(0, min(len(bars)-1, int(math.Round(v/top*float64(len(bars)-1)))))])
	}
	return b.String()
}

// budgetOf draws what is left of a budget.
func budgetOf(left *float64) string {
	const cells = 10
	if left == nil {
		return ""
	}
	full := max(0, min(cells, int(math.Round(*left*cells))))
	text := "spent"
	if *left > 0 {
		full, text = max(1, full), shareOf(left)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", cells-full) + " " + text
}

const unknownFigure = "–"

// shareOf writes a ratio in percent with as many digits as tell it apart from
// its neighbours; one above 0 is never 0%.
func shareOf(ratio *float64) string {
	if ratio == nil {
		return unknownFigure
	}
	switch pct := *ratio * 100; {
	case pct == 0:
		return "0%"
	case pct >= 9.95:
		return words.Number(pct, 0) + "%"
	case pct >= 0.995:
		return words.Number(pct, 1) + "%"
	case pct >= 0.01:
		return words.Number(pct, 2) + "%"
	default:
		return "<0.01%"
	}
}

// goodOf writes a share of good events with the digits the bad share needs; it
// is 100% only when nothing was bad.
func goodOf(good *float64) string {
	if good == nil {
		return unknownFigure
	}
	switch bad := 1 - *good; {
	case bad == 0:
		return "100%"
	case bad >= 0.01:
		return words.Number(*good*100, 1) + "%"
	case bad >= 0.0001:
		return words.Number(*good*100, 2) + "%"
	default:
		return ">99.99%"
	}
}

// burnOf writes a burn rate: 31×, 1.2×.
func burnOf(burn *float64) string {
	switch {
	case burn == nil:
		return unknownFigure
	case *burn == 0:
		return "0×"
	case *burn >= 9.95:
		return words.Number(*burn, 0) + "×"
	case *burn >= 0.05:
		return words.Number(*burn, 1) + "×"
	default:
		return "<0.1×"
	}
}

// latencyOf writes seconds with the unit that suits.
func latencyOf(seconds *float64) string {
	if seconds == nil {
		return unknownFigure
	}
	switch ms := *seconds * 1000; {
	case ms < 1:
		return words.Number(ms, 2) + " ms"
	case ms < 9.95:
		return words.Number(ms, 1) + " ms"
	case ms < 999.5:
		return words.Number(ms, 0) + " ms"
	case *seconds < 9.95:
		return words.Number(*seconds, 1) + " s"
	default:
		return words.Number(*seconds, 0) + " s"
	}
}

// rateOf writes requests per second in the unit that gives at least 1.
func rateOf(perSecond *float64) string {
	switch {
	case perSecond == nil:
		return unknownFigure
	case *perSecond == 0:
		return "0/s"
	case *perSecond >= 9.95:
		return words.Number(*perSecond, 0) + "/s"
	case *perSecond >= 1:
		return words.Number(*perSecond, 1) + "/s"
	case *perSecond >= 1.0/60:
		return words.Number(*perSecond*60, 0) + "/min"
	default:
		return words.Number(*perSecond*3600, 0) + "/h"
	}
}

// clean returns text without what a terminal would obey instead of show, such
// as escape sequences and marks that change the direction of writing.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// cellCount returns how many cells of a terminal a text takes.
func cellCount(text string) int {
	n := 0
	for _, r := range text {
		n += cellsOf(r)
	}
	return n
}

func cellsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// cut shortens a text to some cells and says so with its last.
func cut(text string, room int) string {
	if cellCount(text) <= room {
		return text
	}
	n := 0
	for i, r := range text {
		if n += cellsOf(r); n > room-1 {
			if room < 1 {
				return ""
			}
			return text[:i] + "…"
		}
	}
	return text
}
