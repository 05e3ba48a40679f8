package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/dashboards/web"
	"github.com/slowburn-slo/slowburn/slo"
)

// noted is for how long the pages show what a reload did to the history of an
// SLO: whoever changed it is still about.
const noted = time.Hour

// rename is an SLO that has gone while another with the same promise came.
type rename struct {
	from, to slo.SLO
	at       time.Time
}

// String says what becomes of the history, and how to keep it.
func (r rename) String() string {
	return fmt.Sprintf("%s is %s now and begins anew. The budget of the old name is kept aside for 7 days and its series stay under it; "+
		"to go on with them, write id: %s on the objective at %s.", r.from.ID(), r.to.ID(), r.from.Name(), r.to.Objective.Pos)
}

// compare says which SLOs came and went with a reload that began at the time
// given, and what that means for their history.
func (s *server) compare(was, now []slo.Flow, at time.Time) {
	gone, come := without(slo.All(was), slo.All(now)), without(slo.All(now), slo.All(was))
	var renames []rename
	var fresh, back []slo.SLO
	left := map[string][]slo.SLO{}
	for _, o := range gone {
		left[promise(o)] = append(left[promise(o)], o)
	}
	for _, o := range come {
		if state, ok := s.pipeline.Ledger().State(o.ID()); ok && state.Created.Before(at.Truncate(time.Millisecond)) {
			back = append(back, o)
			continue
		}
		fresh = append(fresh, o)
		if old := left[promise(o)]; len(old) > 0 {
			renames = append(renames, rename{old[0], o, at})
			left[promise(o)] = old[1:]
		}
	}
	for _, list := range []struct {
		slos []slo.SLO
		what string
	}{
		{gone, "SLOs are gone; their budgets are kept aside for 7 days, their series as long as any"},
		{back, "SLOs are back and go on with the history kept for them"},
		{fresh, "SLOs are new; their history begins now"},
	} {
		if len(list.slos) > 0 {
			s.logger.Info(list.what, "count", len(list.slos), "slos", names(list.slos))
		}
	}
	for _, r := range renames {
		s.logger.Warn("an SLO seems to have been renamed", "history", r.String())
	}
	renames = append(renames, s.pending(now, at)...)
	s.renames.Store(&renames)
}

// pending returns the renames still worth telling: not those that were undone,
// or are long ago.
func (s *server) pending(flows []slo.Flow, now time.Time) []rename {
	ids := map[string]bool{}
	for _, o := range slo.All(flows) {
		ids[o.ID()] = true
	}
	var out []rename
	for _, r := range *s.renames.Load() {
		if now.Sub(r.at) < noted && ids[r.to.ID()] && !ids[r.from.ID()] {
			out = append(out, r)
		}
	}
	return out
}

// notices are what readers of the pages have to know of slowburn itself.
func (s *server) notices(now time.Time) []web.Notice {
	var out []web.Notice
	if f := s.probe.Failing(); f.SLOs > 0 {
		which := f.SLO
		if f.SLOs > 1 {
			which = fmt.Sprintf("%s and %d more objectives", f.SLO, f.SLOs-1)
		}
		out = append(out, web.Notice{
			What:   which + " cannot be counted since " + f.Since.Format("15:04 MST") + ".",
			Detail: f.Err.Error(),
		})
	}
	if renames := s.pending(*s.flows.Load(), now); len(renames) > 0 {
		lines := make([]string, len(renames))
		for i, r := range renames {
			lines[i] = r.String()
		}
		out = append(out, web.Notice{What: "SLOs seem to have been renamed.", Detail: strings.Join(lines, "\n")})
	}
	return out
}

// without returns the SLOs of a that are not in b, by their identity.
func without(a, b []slo.SLO) []slo.SLO {
	known := make(map[string]bool, len(b))
	for _, o := range b {
		known[o.ID()] = true
	}
	var out []slo.SLO
	for _, o := range a {
		if !known[o.ID()] {
			out = append(out, o)
		}
	}
	return out
}

// promise returns what an SLO promises of which requests, whatever it is
// called.
func promise(s slo.SLO) string {
	var b strings.Builder
	for _, c := range s.Flow.Match {
		fmt.Fprintf(&b, "%q %t %v\n", c.Key, c.Not, c.Any)
	}
	o := s.Objective
	fmt.Fprintf(&b, "%q %d %g %d %q %d %g %d %s", s.Flow.Service, o.Kind, o.Target, o.Threshold, o.Query, o.Slice, o.SliceTarget, o.Window, o.Calendar)
	return b.String()
}

// names lists SLOs, as many as people read.
func names(slos []slo.SLO) string {
	const shown = 10
	var out []string
	for i, o := range slos {
		if i == shown {
			out = append(out, fmt.Sprintf("and %d more", len(slos)-shown))
			break
		}
		out = append(out, o.ID())
	}
	return strings.Join(out, ", ")
}
