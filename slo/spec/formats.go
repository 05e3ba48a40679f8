package spec

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/foreign"
	"github.com/slowburn-slo/slowburn/slo/openslo"
	"github.com/slowburn-slo/slowburn/slo/pyrra"
	"github.com/slowburn-slo/slowburn/slo/sloth"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// formats reads the files of a configuration that are written in other tools'
// formats, and holds what in them concerns other files.
type formats struct {
	objects  openslo.Set
	windows  []sloth.Windows
	imported map[slo.Pos]bool // the places of their objectives
	first    slo.Pos          // of the first such file
}

// formatKeys are the keys by which a document says what it is; slowburn's own
// language has none of them.
var formatKeys = []string{"apiVersion", "kind", "version"}

// isForeign reports whether a file is written in another tool's format.
func isForeign(docs []*source.Node) bool {
	return slices.ContainsFunc(docs, func(doc *source.Node) bool {
		return slices.ContainsFunc(doc.Fields, func(f source.Field) bool { return slices.Contains(formatKeys, f.Key) })
	})
}

// read reads the documents of a file and returns their flows. Those of OpenSLO
// are complete after settle only.
func (f *formats) read(docs []*source.Node, faults *source.Collector) []slo.Flow {
	if f.first == (slo.Pos{}) {
		f.first = docs[0].Pos
		f.imported = map[slo.Pos]bool{}
	}
	var out []slo.Flow
	for _, doc := range docs {
		out = append(out, f.document(source.Value{Node: doc, Faults: faults})...)
	}
	for i := range out {
		for _, o := range out[i].Objectives {
			f.imported[o.Pos] = true
		}
	}
	return out
}

func (f *formats) document(doc source.Value) []slo.Flow {
	if doc.Kind != source.Table {
		doc.Path = "document"
		doc.Refuse("want a map with apiVersion: and kind:")
		return nil
	}
	version, kind := foreign.At(doc, "apiVersion"), foreign.At(doc, "kind")
	switch version.Text {
	case openslo.APIVersion:
		return f.objects.Read(doc)
	case openslo.APIVersionAlpha:
		return openslo.ReadAlpha(doc)
	case pyrra.APIVersion:
		if kind.Text == pyrra.Kind {
			return pyrra.Read(doc)
		}
		foreign.Unknown(doc, "kind", "want "+pyrra.Kind)
	case sloth.APIVersion:
		switch kind.Text {
		case sloth.KindServiceLevel:
			return sloth.ReadServiceLevel(doc)
		case sloth.KindWindows:
			if w, ok := sloth.ReadWindows(doc); ok {
				f.addWindows(w, doc.Faults)
			}
		default:
			foreign.Unknown(doc, "kind", "want "+sloth.KindServiceLevel+" or "+sloth.KindWindows)
		}
	case "":
		switch {
		case foreign.At(doc, "version").Text == sloth.Version:
			return sloth.Read(doc)
		case doc.Has("version"):
			foreign.Unknown(doc, "version", "want "+sloth.Version)
		default:
			foreign.Unknown(doc, "apiVersion", wantFormat)
		}
	default:
		foreign.Unknown(doc, "apiVersion", wantFormat)
	}
	return nil
}

const wantFormat = "want " + openslo.APIVersion + ", " + openslo.APIVersionAlpha + ", " + pyrra.APIVersion + ", " + sloth.APIVersion +
	", or version: " + sloth.Version

func (f *formats) addWindows(w sloth.Windows, faults *source.Collector) {
	for _, other := range f.windows {
		if other.Period == w.Period {
			faults.Add(source.Fault{
				Pos: w.Pos, Path: "spec.sloPeriod",
				Fact: fmt.Sprintf("there are alert windows for %s at %s already", slo.Duration(w.Period), other.Pos), Want: "want one of them",
			})
			return
		}
	}
	f.windows = append(f.windows, w)
}

// settle does what has to wait until all files are read.
func (f *formats) settle(flows []slo.Flow, faults *source.Collector) {
	if f.first == (slo.Pos{}) {
		return
	}
	f.objects.Resolve(flows)
	if faults.Len() > 0 {
		return
	}
	if len(flows) == 0 {
		faults.Add(source.Fault{Pos: f.first, Fact: "no SLO", Want: "want one beside what is defined here"})
		return
	}
	used := make([]bool, len(f.windows))
	for i := range flows {
		for j := range flows[i].Objectives {
			o := &flows[i].Objectives[j]
			wanted := slo.Tiers(1, o.Window) // with the factors as they are meant
			replaced := false
			for k, w := range f.windows {
				if w.Period == o.Window {
					used[k] = true
					if replaced = usual(*o); replaced {
						wanted = w.Tiers
					}
				}
			}
			if replaced || f.imported[o.Pos] {
				o.Tiers = reachable(*o, wanted, fmt.Sprintf("%s.slos[%d]", source.Join("flows", flows[i].Name), j), faults)
			}
		}
	}
	for k, w := range f.windows {
		if !used[k] {
			faults.Warn(source.Fault{
				Pos: w.Pos, Path: "spec.sloPeriod",
				Fact: "no objective has a period of " + slo.Duration(w.Period), Want: "want one that has, or these alert windows removed",
			})
		}
	}
}

// usual reports whether an objective has, of each severity it has alerts of,
// those that slowburn gives it unless it chooses others.
func usual(o slo.Objective) bool {
	var tiers []slo.Tier
	for _, t := range slo.Tiers(o.Target, o.Window) {
		if alertsBy(o, t.Severity) {
			tiers = append(tiers, t)
		}
	}
	return reflect.DeepEqual(tiers, o.Tiers)
}

func alertsBy(o slo.Objective, s slo.Severity) bool {
	return slices.ContainsFunc(o.Tiers, func(t slo.Tier) bool { return t.Severity == s })
}

// reachable returns the tiers of the severities that an objective has alerts
// of, with factors its target can reach, and warns of those that are lowered.
func reachable(o slo.Objective, tiers []slo.Tier, path string, faults *source.Collector) []slo.Tier {
	var out []slo.Tier
	for _, t := range tiers {
		if !alertsBy(o, t.Severity) {
			continue
		}
		meant := math.Round(t.Factor*1e6) / 1e6
		t.Factor = min(meant, slo.Reachable(meant, o.Target))
		if t.Factor < meant {
			fact := fmt.Sprintf("the %s alert over %s cannot fire at a burn rate of %.6g", t.Severity, slo.Duration(t.Long), meant)
			if highest := 1 / o.Budget(); meant < highest {
				fact = fmt.Sprintf("the %s alert over %s fires at a burn rate of %.6g only when more than %.3g%% of all events are bad",
					t.Severity, slo.Duration(t.Long), meant, 100*meant*o.Budget())
			}
			faults.Warn(source.Fault{Pos: o.Pos, Path: path, Fact: fact, Want: fmt.Sprintf("want %.6g, which is used", t.Factor)})
		}
		out = append(out, t)
	}
	return out
}
