package fakeslack

import (
	"fmt"
	"html"
	"html/template"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// markup is how much of Slack's markup a text may have.
type markup uint8

const (
	emojiOnly markup = iota // plain_text objects
	links                   // parts of an attachment that mrkdwn_in does not name
	full                    // mrkdwn
)

// mrkdwn writes a text as HTML, with the markup it may have; everything else
// in it is text. Links include mentions and dates; full adds bold, italic,
// strike, code and quotes.
func mrkdwn(s string, m markup, now time.Time) template.HTML {
	w := &writer{now: now, markup: m}
	if m != full {
		w.inline(s)
		return template.HTML(w.String())
	}
	for i, part := range strings.Split(s, "```") {
		if i%2 == 1 {
			w.WriteString("<pre>")
			w.text(strings.Trim(part, "\n"))
			w.WriteString("</pre>")
			continue
		}
		w.lines(part)
	}
	return template.HTML(w.String())
}

// tags are what plain takes out of the writer's own HTML.
var tags = regexp.MustCompile(`<[^>]*>`)

// plain returns the text of HTML that mrkdwn wrote.
func plain(h template.HTML) string {
	s := strings.NewReplacer("<br>", "\n", "</blockquote>", "\n").Replace(string(h))
	return strings.TrimSpace(html.UnescapeString(tags.ReplaceAllString(s, "")))
}

// writer builds HTML. All but its own tags goes through text, which escapes.
type writer struct {
	strings.Builder
	now    time.Time
	markup markup
}

// lines writes text with its quoted lines.
func (w *writer) lines(s string) {
	for i, line := range strings.Split(s, "\n") {
		quoted, isQuote := strings.CutPrefix(line, "&gt;")
		if !isQuote {
			quoted, isQuote = strings.CutPrefix(line, ">")
		}
		if isQuote {
			w.WriteString("<blockquote>")
			w.inline(strings.TrimPrefix(quoted, " "))
			w.WriteString("</blockquote>")
			continue
		}
		if i > 0 {
			w.WriteString("<br>")
		}
		w.inline(line)
	}
}

// styles are the delimiters of formatted runs and the elements they become.
var styles = map[byte]string{'*': "b", '_': "i", '~': "s", '`': "code"}

var emojiName = regexp.MustCompile(`^:([a-z0-9_+-]{1,40}):`)

// inline writes one line.
func (w *writer) inline(s string) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '<' && w.markup >= links:
			end := strings.IndexByte(s[i:], '>')
			if end < 0 {
				w.text(s[i:])
				return
			}
			w.control(s[i+1 : i+end])
			i += end + 1
		case c == ':' && emojiName.MatchString(s[i:]):
			name := emojiName.FindStringSubmatch(s[i:])
			w.emoji(name[1])
			i += len(name[0])
		case w.markup == full && styles[c] != "" && opens(s, i):
			n := run(s[i:])
			if n == 0 {
				w.text(s[i : i+1])
				i++
				continue
			}
			fmt.Fprintf(w, "<%s>", styles[c])
			if inner := s[i+1 : i+n]; c == '`' {
				w.text(inner)
			} else {
				w.inline(inner)
			}
			fmt.Fprintf(w, "</%s>", styles[c])
			i += n + 1
		default:
			n := strings.IndexAny(s[i+1:], "<:*_~`")
			if n < 0 {
				w.text(s[i:])
				return
			}
			w.text(s[i : i+1+n])
			i += 1 + n
		}
	}
}

// opens reports whether the delimiter at i may open a run: it stands at the
// beginning of a word.
func opens(s string, i int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	after, _ := utf8.DecodeRuneInString(s[i+1:])
	return (i == 0 || !unicode.IsLetter(before) && !unicode.IsDigit(before)) && i+1 < len(s) && !unicode.IsSpace(after)
}

// run returns where in s the run that its first byte opens is closed: at the
// end of a word. 0 means nowhere.
func run(s string) int {
	for i := 2; i < len(s); i++ {
		if s[i] != s[0] {
			continue
		}
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i+1:])
		if !unicode.IsSpace(before) && (i+1 == len(s) || !unicode.IsLetter(after) && !unicode.IsDigit(after)) {
			return i
		}
	}
	return 0
}

// entities are the three that Slack knows.
var entities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

// text writes text, with those emoji drawn that many systems have no colours
// for.
func (w *writer) text(s string) {
	s = html.EscapeString(entities.Replace(s))
	s = strings.ReplaceAll(s, "\n", "<br>")
	w.WriteString(dots.Replace(s))
}

// dots gives the coloured discs a class, so that they are discs everywhere.
var dots = strings.NewReplacer(
	"🔴", `<span class="dot red">🔴</span>`,
	"🟠", `<span class="dot orange">🟠</span>`,
	"🟡", `<span class="dot yellow">🟡</span>`,
	"🟢", `<span class="dot green">🟢</span>`,
	"🔵", `<span class="dot blue">🔵</span>`,
	"⚪", `<span class="dot white">⚪</span>`,
)

// names are the emoji that messages about services use.
var names = map[string]string{
	"red_circle": "🔴", "large_orange_circle": "🟠", "large_yellow_circle": "🟡", "large_green_circle": "🟢",
	"large_blue_circle": "🔵", "white_circle": "⚪", "fire": "🔥", "rotating_light": "🚨", "warning": "⚠️",
	"white_check_mark": "✅", "heavy_check_mark": "✔️", "x": "❌", "bell": "🔔", "no_bell": "🔕", "rocket": "🚀",
	"eyes": "👀", "chart_with_upwards_trend": "📈", "chart_with_downwards_trend": "📉", "clock": "🕒", "book": "📖",
	"mag": "🔍", "zzz": "💤", "tada": "🎉", "+1": "👍", "-1": "👎", "wrench": "🔧", "package": "📦",
}

// emoji writes an emoji by its name, or the name as it was where it is not
// known.
func (w *writer) emoji(name string) {
	if e, ok := names[name]; ok {
		w.text(e)
		return
	}
	w.text(":" + name + ":")
}

// control writes what stands in angle brackets: a link, a mention or a date.
func (w *writer) control(s string) {
	target, label, labelled := strings.Cut(s, "|")
	switch {
	case strings.HasPrefix(target, "!date^"):
		w.date(target, label)
	case strings.HasPrefix(target, "!subteam^"):
		w.mention("@" + first(label, "group"))
	case strings.HasPrefix(target, "!"):
		w.mention("@" + first(label, target[1:]))
	case strings.HasPrefix(target, "@"), strings.HasPrefix(target, "#"):
		w.mention(target[:1] + first(strings.TrimLeft(label, "@#"), target[1:]))
	default:
		if !labelled {
			label = target
		}
		w.link(target, label)
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (w *writer) mention(name string) {
	w.WriteString(`<span class="mention">`)
	w.text(name)
	w.WriteString("</span>")
}

// link writes a link to a web page or mail address, and only the label of any
// other.
func (w *writer) link(target, label string) {
	href := safe(entities.Replace(target))
	if href == "" {
		w.text(label)
		return
	}
	fmt.Fprintf(w, `<a href="%s" rel="noreferrer">`, html.EscapeString(href))
	w.text(label)
	w.WriteString("</a>")
}

// safe returns the address if a browser may be led there, else "".
func safe(target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "mailto" {
		return ""
	}
	return u.String()
}

// date writes !date^seconds^format^link with the reader's clock, or its
// fallback where it is not understood.
func (w *writer) date(s, fallback string) {
	parts := strings.SplitN(s, "^", 4)
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || len(parts) < 3 {
		w.text(fallback)
		return
	}
	t := time.Unix(seconds, 0).In(w.now.Location())
	day, day3 := t.Format("January 2, 2006"), t.Format("Jan 2, 2006")
	pretty, pretty3 := day, day3
	switch t.Format(time.DateOnly) {
	case w.now.Format(time.DateOnly):
		pretty, pretty3 = "today", "today"
	case w.now.AddDate(0, 0, -1).Format(time.DateOnly):
		pretty, pretty3 = "yesterday", "yesterday"
	}
	words := strings.NewReplacer(
		"{date_num}", t.Format(time.DateOnly),
		"{date_slash}", t.Format("01/02/2006"),
		"{date_long}", t.Format("Monday, January 2, 2006"),
		"{date_long_pretty}", pretty,
		"{date_short}", day3,
		"{date_short_pretty}", pretty3,
		"{date}", day,
		"{date_pretty}", pretty,
		"{time}", t.Format("15:04"),
		"{time_secs}", t.Format("15:04:05"),
		"{ago}", w.now.Sub(t).Round(time.Second).String()+" ago",
	).Replace(parts[2])
	if len(parts) == 4 {
		w.link(parts[3], words)
		return
	}
	w.text(words)
}
