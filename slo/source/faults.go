package source

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/slowburn-slo/slowburn/slo"
)

// Fault is one thing that is wrong in a configuration, or that is legal and
// hardly meant.
type Fault struct {
	Pos  slo.Pos
	Path string // what it concerns, e.g. flows.checkout.slos[1].for; empty for the file itself
	Fact string // what is there
	Want string // what is wanted instead
}

// String returns the fault on one line: file:line:column: path: fact; want.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.Pos.String())
	b.WriteString(": ")
	if f.Path != "" {
		b.WriteString(f.Path)
		b.WriteString(": ")
	}
	b.WriteString(f.Fact)
	b.WriteString("; ")
	b.WriteString(f.Want)
	return b.String()
}

// Faults is everything that is wrong in a configuration, sorted by place. As an
// error it is never empty.
type Faults []Fault

// Error returns one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// maxFaults bounds what a file of nonsense costs; nobody mends a thousand
// faults before trying again.
const maxFaults = 1000

// Collector gathers the faults and warnings of a configuration, each once: a
// default that does not suit is met by many flows. The zero Collector is empty.
// It is for one goroutine.
type Collector struct {
	list, warnings Faults
	seen           map[Fault]bool
}

// Add takes a fault; past a thousand it takes no more.
func (c *Collector) Add(f Fault) { c.add(&c.list, f) }

// Warn takes what is legal but hardly meant, or lost from another format; past
// a thousand it takes no more.
func (c *Collector) Warn(f Fault) { c.add(&c.warnings, f) }

func (c *Collector) add(to *Faults, f Fault) {
	if len(*to) == maxFaults || c.seen[f] {
		return
	}
	if c.seen == nil {
		c.seen = map[Fault]bool{}
	}
	c.seen[f] = true
	*to = append(*to, f)
}

// Len returns the number of faults so far, warnings left out.
func (c *Collector) Len() int { return len(c.list) }

// Full reports whether the Collector takes no more faults, so that whoever
// looks for more may save the effort.
func (c *Collector) Full() bool { return len(c.list) == maxFaults }

// Warnings returns the warnings sorted by place.
func (c *Collector) Warnings() Faults {
	slices.SortStableFunc(c.warnings, byPlace)
	return c.warnings
}

// Err returns the faults as Faults sorted by place, or nil when there are none.
func (c *Collector) Err() error {
	if len(c.list) == 0 {
		return nil
	}
	slices.SortStableFunc(c.list, byPlace)
	if len(c.list) == maxFaults {
		return append(c.list, Fault{
			Pos:  c.list[maxFaults-1].Pos,
			Fact: fmt.Sprintf("more than %d faults", maxFaults),
			Want: "want these mended before the rest is shown",
		})
	}
	return c.list
}

// byPlace orders faults by file, line and column.
func byPlace(a, b Fault) int {
	return cmp.Or(
		cmp.Compare(a.Pos.File, b.Pos.File),
		cmp.Compare(a.Pos.Line, b.Pos.Line),
		cmp.Compare(a.Pos.Column, b.Pos.Column),
	)
}

// Flaw is a fault that does not know its place yet.
type Flaw struct{ Fact, Want string }

// Brief returns s for a message, cut where it is too long to read.
func Brief(s string) string {
	const readable = 80
	if r := []rune(s); len(r) > readable {
		return string(r[:readable]) + "…"
	}
	return s
}

// Quote returns s in quotes for a message.
func Quote(s string) string { return fmt.Sprintf("%q", Brief(s)) }

// NotInName reports whether r cannot be part of an attribute's name.
func NotInName(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
