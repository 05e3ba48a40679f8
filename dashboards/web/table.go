package web

import (
	"cmp"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// rowsShown is how many flows a page of the table has. More would be a
// longer page to send every few seconds, and nobody reads it.
const rowsShown = 100

// column is one of the table of flows.
type column struct {
	Key, Label, Class string

	// value is what flows are sorted by, NaN where it is not known; nil sorts
	// by name. down says that the greatest value is what people look for.
	value func(*flowView) float64
	down  bool
}

var columns = []column{
	{Key: "flow", Label: "flow"},
	{Key: "objective", Label: "objective", value: func(f *flowView) float64 { return f.values.target }, down: true},
	{Key: "now", Label: "now", Class: "num", value: func(f *flowView) float64 { return -f.values.bad }},
	{Key: "budget", Label: "budget left", Class: "wide", value: func(f *flowView) float64 { return f.values.left }},
	{Key: "burn", Label: "burn", Class: "num", value: func(f *flowView) float64 { return f.values.burn }, down: true},
	{Key: "p50", Label: "p50", Class: "num", value: func(f *flowView) float64 { return f.values.latency[0] }, down: true},
	{Key: "p95", Label: "p95", Class: "num", value: func(f *flowView) float64 { return f.values.latency[1] }, down: true},
	{Key: "p99", Label: "p99", Class: "num", value: func(f *flowView) float64 { return f.values.latency[2] }, down: true},
	{Key: "rate", Label: "rate", Class: "num", value: func(f *flowView) float64 { return f.values.rate }, down: true},
	{Key: "errors", Label: "errors", Class: "num", value: func(f *flowView) float64 { return f.values.errors }, down: true},
	{Key: "hour", Label: "last hour", value: func(f *flowView) float64 { return f.values.hour }, down: true},
}

// values are what a flow is sorted by: of several objectives the worst. NaN is
// not known.
type values struct {
	target, bad, left, burn float64
	latency                 [3]float64
	rate, errors, hour      float64
}

// worst returns the worse of two values that may be unknown.
func worst(a, b float64, pick func(a, b float64) float64) float64 {
	switch {
	case math.IsNaN(a):
		return b
	case math.IsNaN(b):
		return a
	default:
		return pick(a, b)
	}
}

// selection is what of the flows to show, as it stands in the address.
type selection struct {
	Search  string
	Service string
	State   string // word of a state
	sort    string // key of a column, empty for the worst first
	up      bool   // ascending
	page    int    // from 1
}

// newSelection reads a query. What it does not know is left out of it.
func newSelection(v url.Values) selection {
	s := selection{Search: strings.TrimSpace(v.Get("q")), Service: v.Get("service"), State: v.Get("state")}
	if len(s.Search) > 200 || len(s.Service) > 200 || len(s.State) > 20 {
		return selection{page: 1}
	}
	key, down := strings.CutPrefix(v.Get("sort"), "-")
	if slices.ContainsFunc(columns, func(c column) bool { return c.Key == key }) {
		s.sort, s.up = key, !down
	}
	s.page, _ = strconv.Atoi(v.Get("page"))
	s.page = max(1, s.page)
	return s
}

// Sort is the order as it stands in the address.
func (s selection) Sort() string {
	if s.sort != "" && !s.up {
		return "-" + s.sort
	}
	return s.sort
}

// query is the address of the selection, relative to the page.
func (s selection) query() string {
	v := url.Values{}
	for _, p := range []struct{ name, value string }{{"q", s.Search}, {"service", s.Service}, {"state", s.State}, {"sort", s.Sort()}} {
		if p.value != "" {
			v.Set(p.name, p.value)
		}
	}
	if s.page > 1 {
		v.Set("page", strconv.Itoa(s.page))
	}
	return "?" + v.Encode()
}

func (s selection) withPage(n int) string { s.page = n; return s.query() }

// tableView is what stands around the rows.
type tableView struct {
	selection
	Narrowed bool // not all flows are meant
	Services []string
	Columns  []columnView
	Found    int // flows that are meant
	From, To int // of them, those shown, from 1
	Prev     string
	Next     string
}

type columnView struct {
	column
	Link   string
	Sorted string // ascending or descending, empty when it is not
}

// narrow returns the page with the rows of a selection alone. Headline and
// counts stay those of all flows.
func (p page) narrow(s selection) page {
	t := tableView{selection: s, Narrowed: s.Search != "" || s.Service != "" || s.State != ""}
	for i := range p.Flows {
		t.Services = append(t.Services, p.Flows[i].Service)
	}
	slices.Sort(t.Services)
	t.Services = slices.Compact(t.Services)
	if !slices.Contains(t.Services, s.Service) && s.Service != "" {
		t.Services = append(t.Services, s.Service) // it may come back
	}

	rows := make([]flowView, 0, len(p.Flows))
	wanted := strings.ToLower(s.Search)
	for i := range p.Flows {
		f := &p.Flows[i]
		if s.Service != "" && f.Service != s.Service || s.State != "" && f.State.String() != s.State {
			continue
		}
		if wanted == "" || strings.Contains(strings.ToLower(f.Service+" "+f.Name+" "+f.Owner), wanted) {
			rows = append(rows, *f)
		}
	}
	for _, c := range columns {
		v := columnView{column: c}
		link := s
		link.page, link.sort, link.up = 1, c.Key, !c.down
		if s.sort == c.Key {
			c.sort(rows, s.up)
			v.Sorted = "descending"
			if s.up {
				v.Sorted = "ascending"
			}
			if link.up == s.up {
				link.up = !s.up
			} else { // both were had: back to the worst first
				link.sort = ""
			}
		}
		v.Link = link.query()
		t.Columns = append(t.Columns, v)
	}

	t.Found = len(rows)
	t.page = min(t.page, max(1, (len(rows)+rowsShown-1)/rowsShown))
	first := (t.page - 1) * rowsShown
	rows = rows[first:min(first+rowsShown, len(rows))]
	t.From, t.To = first+1, first+len(rows)
	if t.page > 1 {
		t.Prev = t.withPage(t.page - 1)
	}
	if t.To < t.Found {
		t.Next = t.withPage(t.page + 1)
	}

	p.Counts = slices.Clone(p.Counts)
	for i := range p.Counts {
		link := s
		link.page, link.State = 1, p.Counts[i].State.String()
		if p.Counts[i].Chosen = link.State == s.State; p.Counts[i].Chosen {
			link.State = ""
		}
		p.Counts[i].Link = link.query()
	}
	p.Table, p.Flows = t, rows
	return p
}

// sort sorts rows by the column; what is not known comes last either way.
// Equals stay in the order they are in, the worst first.
func (c column) sort(rows []flowView, up bool) {
	slices.SortStableFunc(rows, func(a, b flowView) int {
		var order int
		if c.value == nil {
			order = cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Service, b.Service))
		} else {
			x, y := c.value(&a), c.value(&b)
			if math.IsNaN(x) || math.IsNaN(y) {
				return cmp.Compare(unknownLast(x), unknownLast(y))
			}
			order = cmp.Compare(x, y)
		}
		if !up {
			order = -order
		}
		return order
	})
}

func unknownLast(v float64) int {
	if math.IsNaN(v) {
		return 1
	}
	return 0
}
