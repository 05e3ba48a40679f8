package slack

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/alert"
)

// Annotations that alerts carry on their way to a receiver, as the Alertmanager
// of slowburn writes them.
const (
	undelivered = "undelivered" // times it fired without that anybody could be told: ISO 8601 intervals
	unreachable = "unreachable" // since when the receiver that comes first could not be told: an RFC 3339 time
)

// maxLate is how many alerts, and times of each, a message names as late.
const maxLate = 5

// interval is a time for which an alert fired.
type interval struct{ from, to time.Time }

// intervals reads the annotation; what cannot be read is left out.
func intervals(text string) (out []interval) {
	for part := range strings.FieldsSeq(text) {
		begin, end, _ := strings.Cut(part, "/")
		from, err := time.Parse(time.RFC3339, begin)
		to, err2 := time.Parse(time.RFC3339, end)
		if err == nil && err2 == nil {
			out = append(out, interval{from, to})
		}
	}
	return out
}

// late adds to the story of alerts what their receiver has not been told in
// time, and why it hears of it.
func (s *story) late(alerts []*alert.Alert) {
	var lines []line
	unnamed := 0
	for _, a := range alerts {
		times := intervals(string(a.Annotations[undelivered]))
		if len(times) == 0 {
			continue
		}
		var written []string
		for _, t := range times[max(0, len(times)-maxLate):] {
			written = append(written, clock(t.from)+"–"+clock(t.to))
		}
		text := "was firing " + strings.Join(written, ", ") + ", could not be delivered"
		if len(alerts) == 1 && a.Resolved() {
			last := times[len(times)-1]
			head, rest, _ := strings.Cut(s.headline, " · ")
			s.headline = join([]string{head, "was firing " + hours(last) + ", could not be delivered", rest})
		}
		if len(alerts) > 1 {
			text = told{alert: a}.flow() + " " + text
		}
		if len(lines) == maxLate {
			unnamed++
			continue
		}
		lines = append(lines, line{"Late", text})
	}
	if unnamed > 0 {
		lines = append(lines, line{"Late", fmt.Sprintf("%d more could not be delivered", unnamed)})
	}
	if len(alerts) > 0 {
		if since, err := time.Parse(time.RFC3339, string(alerts[0].Annotations[unreachable])); err == nil {
			lines = append(lines, line{"Sent here", "Slack has taken no message since " + moment(since) + "; it is told as soon as it does"})
		}
	}
	s.lines = append(lines, s.lines...)
}

// hours writes an interval for a headline, where Slack fills in no times.
func hours(t interval) string {
	from, to := t.from.UTC(), t.to.UTC()
	if from.Truncate(24 * time.Hour).Equal(to.Truncate(24 * time.Hour)) {
		return from.Format("15:04") + "–" + to.Format("15:04 UTC")
	}
	return from.Format("2 Jan 15:04") + "–" + to.Format("2 Jan 15:04 UTC")
}
