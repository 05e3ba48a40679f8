package slack

import (
	"fmt"
	"html"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

var (
	escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	urlSafe = strings.NewReplacer("|", "%7C", "<", "%3C", ">", "%3E", " ", "%20", "&", "&amp;")
)

// datum makes a name or text from outside ready for Slack: on one line, not
// too long, and without the signs that would make it a mention or a link, bold
// or an emoji.
func datum[T ~string](text T) string { return tame(string(text), maxDatum) }

// short is datum for names and values that stand among others.
func short(text string) string { return tame(text, maxShort) }

var (
	emoji = regexp.MustCompile(`:([a-z0-9_+'-]*[a-z_+'-][a-z0-9_+'-]*):`)

	// twins look like the signs they stand for and mean nothing to Slack,
	// which has no way to escape those.
	twins = strings.NewReplacer("*", "∗", "_", "ˍ", "~", "∼", "`", "ˋ")
)

func tame(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case r == '\u200e', r == '\u200f', r == '\u061c', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069': // they turn the text around
			return -1
		default:
			return r
		}
	}, text)
	text = cut(strings.TrimSpace(text), most)
	text = deaden(text)
	text = emoji.ReplaceAllString(text, "꞉$1꞉")
	return escaper.Replace(text)
}

// deaden puts twins in the place of signs of markup where a formatted run could
// begin or end: next to anything but letters and figures.
func deaden(text string) string {
	word := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }
	runes := []rune(text)
	var b strings.Builder
	for i := 0; i < len(runes); {
		end := i
		for end < len(runes) && strings.ContainsRune("*_~", runes[end]) {
			end++
		}
		inside := i > 0 && end < len(runes) && word(runes[i-1]) && word(runes[end])
		switch signs := string(runes[i:end]); {
		case end == i && runes[i] == '`':
			b.WriteString(twins.Replace("`"))
			end++
		case end == i:
			b.WriteRune(runes[i])
			end++
		case inside:
			b.WriteString(signs)
		default:
			b.WriteString(twins.Replace(signs))
		}
		i = end
	}
	return b.String()
}

// cut shortens text to at most n characters, the last of which then is …
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// cutMarkup is cut for text in which signs are escaped already.
func cutMarkup(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	text = string([]rune(text)[:n-1])
	if i := strings.LastIndexByte(text, '&'); i >= 0 && !strings.Contains(text[i:], ";") {
		text = text[:i]
	}
	return text + "…"
}

// marked is what stands between < and > in our own markup.
var marked = regexp.MustCompile(`<[^|>]*\|([^>]*)>`)

// plain returns our markup as text.
func plain(text string) string {
	return html.UnescapeString(marked.ReplaceAllString(text, "$1"))
}

// fit joins as many lines as n characters hold and counts the others.
func fit(lines []string, n int) string {
	const more = "\nand %d more lines"
	var b strings.Builder
	left := n - len(more) - 5
	for i, line := range lines {
		size := utf8.RuneCountInString(line) + 1
		if size > left {
			fmt.Fprintf(&b, more, len(lines)-i)
			break
		}
		left -= size
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line)
	}
	return b.String()
}

// join puts a middle dot between the parts that are not empty.
func join(parts []string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, " · ")
}

// percent writes a share with two figures: 46 %, 3.1 %, 0.04 %.
func percent(ratio float64) string {
	p := ratio * 100
	switch a := math.Abs(p); {
	case a >= 999.5:
		sign := ""
		if p < 0 {
			sign = "-"
		}
		return sign + words.Count(uint64(math.Min(math.Round(a), 1e15))) + " %"
	case a >= 9.95 || a < 0.005:
		return strconv.FormatFloat(math.Round(p)+0, 'f', 0, 64) + " %"
	case a >= 0.95:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 2, 64) + " %"
	}
}

// remaining writes how much of a budget is left: 46 %, or that there is none
// and by how much it was overspent.
func remaining(left float64) string {
	switch {
	case left >= 0:
		return percent(left)
	case left > -1:
		return "none, overspent by " + percent(-left)
	default:
		return "none, spent " + strings.TrimSuffix(times(1-left), "×") + " times over"
	}
}

// times writes a burn rate: 31×, 14.4×, 0.2×.
func times(burn float64) string {
	if burn >= 20 {
		return words.Count(uint64(math.Min(math.Round(burn), 1e15))) + "×"
	}
	return strconv.FormatFloat(math.Round(burn*10)/10, 'f', -1, 64) + "×"
}

// ends says when the budget is gone at the burn rate of now. left is the share
// of it that is left. It is empty when the budget lasts.
func ends(o slo.Objective, left, burn float64, now time.Time) string {
	d, ok := o.BudgetLasts(left, burn, now)
	switch {
	case left <= 0:
		return "budget spent"
	case !ok || o.Window == 0:
		return ""
	case d < time.Minute:
		return "budget gone within a minute"
	case d >= time.Hour && d < 48*time.Hour:
		return fmt.Sprintf("budget gone in %d h", d/time.Hour)
	default:
		return "budget gone in " + words.Span(d)
	}
}

// clock writes a time of day that each reader sees in their own zone.
func clock(t time.Time) string {
	return fmt.Sprintf("<!date^%d^{time}|%s>", t.Unix(), t.UTC().Format("15:04 UTC"))
}

// moment writes a time with its day.
func moment(t time.Time) string {
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time}|%s>", t.Unix(), t.UTC().Format("Mon 2 Jan 15:04 UTC"))
}

// latency writes how long a request took: 140 ms, 5.2 s, 3 min.
func latency(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(max(1, d.Round(time.Millisecond).Milliseconds()), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	default:
		return words.Span(d)
	}
}
