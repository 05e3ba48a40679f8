package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slowburn-slo/slowburn/slo"
)

// Fault is one thing that is wrong in a configuration.
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

// Faults is everything that is wrong in a configuration, sorted by place. It
// is the only error that Load and Parse return.
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

// collector gathers the faults of a configuration, each once: a default that
// does not suit is met by many flows.
type collector struct {
	list Faults
	seen map[Fault]bool
}

func (c *collector) add(f Fault) {
	if len(c.list) == maxFaults || c.seen[f] {
		return
	}
	if c.seen == nil {
		c.seen = map[Fault]bool{}
	}
	c.seen[f] = true
	c.list = append(c.list, f)
}

// err returns the faults sorted by place, or nil when there are none.
func (c *collector) err() error {
	if len(c.list) == 0 {
		return nil
	}
	slices.SortStableFunc(c.list, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.Pos.File, b.Pos.File),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column),
		)
	})
	if len(c.list) == maxFaults {
		return append(c.list, Fault{
			Pos:  c.list[maxFaults-1].Pos,
			Fact: fmt.Sprintf("more than %d faults", maxFaults),
			Want: "want these mended before the rest is shown",
		})
	}
	return c.list
}

// flaw is a fault that does not know its place yet.
type flaw struct{ fact, want string }

// brief returns s for a message, cut where it is too long to read.
func brief(s string) string {
	const readable = 80
	if r := []rune(s); len(r) > readable {
		return string(r[:readable]) + "…"
	}
	return s
}

// quote returns s in quotes for a message.
func quote(s string) string { return fmt.Sprintf("%q", brief(s)) }
