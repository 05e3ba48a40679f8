package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/slowburn-slo/slowburn/slo"
)

// changes tells what a configuration does differently from the one before it, a
// sentence for each flow and objective.
func changes(was, now []slo.Flow) []string {
	type identity struct{ service, flow string }
	before := make(map[identity]*slo.Flow, len(was))
	for i := range was {
		before[identity{was[i].Service, was[i].Name}] = &was[i]
	}
	var out []string
	for i := range now {
		f := &now[i]
		id := identity{f.Service, f.Name}
		if old, ok := before[id]; ok {
			out = append(out, changed(old, f)...)
			delete(before, id)
			continue
		}
		var promises []string
		for _, o := range f.Objectives {
			promises = append(promises, o.Words())
		}
		out = append(out, fmt.Sprintf("%s on %s is new: %s", f.Name, f.Service, strings.Join(promises, ", ")))
	}
	for i := range was {
		if f := &was[i]; before[identity{f.Service, f.Name}] == f {
			out = append(out, fmt.Sprintf("%s on %s is gone; its budgets are kept aside for 7 days", f.Name, f.Service))
		}
	}
	if len(out) == 0 {
		out = []string{"nothing: the same flows and objectives"}
	}
	return out
}

// changed tells what of a flow differs.
func changed(was, now *slo.Flow) []string {
	var out []string
	name := now.Name + " on " + now.Service
	before := map[string]slo.Objective{}
	for _, s := range was.SLOs() {
		before[s.ID()] = s.Objective
	}
	for _, s := range now.SLOs() {
		old, ok := before[s.ID()]
		delete(before, s.ID())
		switch o := s.Objective; {
		case !ok:
			out = append(out, fmt.Sprintf("%s: %s is new", name, o.Words()))
		case old.Words() != o.Words():
			out = append(out, fmt.Sprintf("%s: %s is %s now", name, old.Words(), o.Words()))
		case !reflect.DeepEqual(unplaced(old), unplaced(o)):
			out = append(out, fmt.Sprintf("%s: %s has other alerts or another query", name, o.Words()))
		}
	}
	for _, s := range was.SLOs() {
		if _, gone := before[s.ID()]; gone {
			out = append(out, fmt.Sprintf("%s: %s is gone", name, s.Objective.Words()))
		}
	}
	var parts []string
	for _, part := range []struct {
		name     string
		was, now any
	}{
		{"what it matches", conditions(was.Match), conditions(now.Match)},
		{"what is bad", conditions(was.BadWhen), conditions(now.BadWhen)},
		{"what it is split by", []any{was.By, was.ByLimit}, []any{now.By, now.ByLimit}},
		{"who is told", []string{was.PageChannel, was.TicketChannel}, []string{now.PageChannel, now.TicketChannel}},
		{"its description", []string{was.Owner, was.Description, was.Runbook}, []string{now.Owner, now.Description, now.Runbook}},
		{"its labels", was.Labels, now.Labels},
		{"when it does not count", exclusions(was.Exclude), exclusions(now.Exclude)},
	} {
		if !reflect.DeepEqual(part.was, part.now) {
			parts = append(parts, part.name)
		}
	}
	if len(parts) > 0 {
		out = append(out, fmt.Sprintf("%s: other %s", name, strings.Join(parts, ", ")))
	}
	return out
}

// unplaced returns an objective wherever it is written.
func unplaced(o slo.Objective) slo.Objective {
	o.Pos = slo.Pos{}
	return o
}

// conditions and exclusions return the same, wherever it is written.
func conditions(s slo.Selector) slo.Selector {
	s = slices.Clone(s)
	for i := range s {
		s[i].Pos = slo.Pos{}
	}
	return s
}

func exclusions(list []slo.Exclusion) []slo.Exclusion {
	list = slices.Clone(list)
	for i := range list {
		list[i].Pos = slo.Pos{}
	}
	return list
}
