package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/slowburn-slo/slowburn/internal/words"
)

// width is how wide a report is, fixes aside: they are copied.
const width = 100

// WriteText writes the report for people: the subject with the worst first, and
// under each finding what mends it.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	version := ""
	if r.Version != "" {
		version = " (" + r.Version + ")"
	}
	fmt.Fprintf(&b, "%s%s: %s, %s in %s\n", r.URL, version, plural(r.Count(Fault), "fault"), plural(r.Count(Warning), "warning"), plural(r.SLOs, "SLO"))
	subject := ""
	for _, f := range r.Findings {
		if f.Subject != subject {
			subject = f.Subject
			b.WriteString("\n" + subject)
			if f.Pos.Line > 0 {
				b.WriteString("  " + f.Pos.String())
			}
			b.WriteByte('\n')
		}
		label := f.Severity.String()
		if f.Severity == Fault {
			label = "FAULT"
		}
		fill(&b, fmt.Sprintf("  %-9s", label), f.Seen)
		if f.Fix != "" {
			fmt.Fprintf(&b, "  %-9s%s\n", "  fix", visible(f.Fix))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return words.Count(uint64(n)) + " " + what + "s"
}

// fill writes a text in lines of at most width, indented like its head.
func fill(b *strings.Builder, head, text string) {
	b.WriteString(head)
	column := len(head)
	for i, word := range strings.Fields(visible(text)) {
		n := len([]rune(word))
		if i > 0 && column+1+n > width {
			b.WriteString("\n" + strings.Repeat(" ", len(head)))
			column = len(head)
		} else if i > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteByte('\n')
}

// visible replaces what would move a terminal's cursor: labels and errors come
// from elsewhere.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
