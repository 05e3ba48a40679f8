package grafana

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// Windows of queries. interval is what Grafana makes of the time shown and of
// how often the data source is scraped; lately is for figures of now, which say
// the same whatever time is shown.
const (
	interval = "$__rate_interval"
	lately   = "5m"
)

// is writes the matchers that pick label values, in braces: pairs of a label and
// a value.
func is(pairs ...string) string { return selector("=", pairs...) }

// like is is with regular expressions or variables of Grafana.
func like(pairs ...string) string { return selector("=~", pairs...) }

func selector(op string, pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(pairs[i] + op + strconv.Quote(pairs[i+1]))
	}
	return "{" + b.String() + "}"
}

// of adds matchers to those in braces.
func of(selector, more string) string {
	if more == "{}" {
		return selector
	}
	return strings.TrimSuffix(selector, "}") + ", " + strings.TrimPrefix(more, "{")
}

// requests writes the requests per second of flows, over a window.
func requests(selector, window string) string {
	return fmt.Sprintf("rate(%s%s[%s])", series.FlowRequests, selector, window)
}

// failing writes the share of requests that fail, by labels; nothing where there
// are no requests.
func failing(selector, window, by string) string {
	return fmt.Sprintf("sum%s (%s) / (sum%s (%s) > 0)",
		by, requests(of(selector, is(series.Outcome, series.Bad)), window), by, requests(selector, window))
}

// quantile writes the latency that a share of the requests does not exceed, by
// labels; nothing, rather than NaN, where there are no requests.
func quantile(q float64, selector, window, by string) string {
	return fmt.Sprintf("histogram_quantile(%s, sum%s (rate(%s%s[%s]))) >= 0", number(q), by, series.FlowDuration, selector, window)
}

// by writes the labels to aggregate by.
func by(labels ...string) string { return " by (" + strings.Join(labels, ", ") + ")" }

// top writes the n series that are highest at each moment.
func top(n int, expr string) string { return fmt.Sprintf("topk(%d, %s)", n, expr) }

// errorRatio writes the share of bad events of an SLO over a window.
func errorRatio(s slo.SLO, window time.Duration) string {
	return fmt.Sprintf("max(%s%s)", series.ErrorRatio(window), is(series.ID, s.ID()))
}

// burnRate writes how many times too fast the budget burns over a window.
func burnRate(s slo.SLO, window time.Duration) string {
	return errorRatio(s, window) + " / " + number(s.Objective.Budget())
}

// recorded writes a recorded series of an SLO.
func recorded(s slo.SLO, name string) string {
	return fmt.Sprintf("max(%s%s)", name, is(series.ID, s.ID()))
}

// lasts writes for how many seconds a budget lasts if it goes on burning as it
// does, 0 where it is spent and forever where it lasts. Its operands have the
// same labels; period is in seconds.
func lasts(left, burn, period string) string {
	return fmt.Sprintf("clamp_min(%s, 0) / (%s > 1) * %s\nor clamp_min(%s <= 0, 0)\nor 0 * %s + %s", left, burn, period, left, left, number(forever))
}

// forever is what lasts writes of a budget that lasts: more than any does.
const forever = 1e10

// history writes the budget left at each moment shown. A moment's value is the
// newest until the next one: Grafana asks at whole steps, and over 30 days the
// last one may be an hour ago, when a new SLO had no budget yet.
func history(s slo.SLO) string {
	return fmt.Sprintf("max(last_over_time(%s%s[$__interval] offset -$__interval))", series.BudgetRemaining, is(series.ID, s.ID()))
}

// projection writes the budget left from now on, which is where the time shown
// begins, if it goes on as it did in the stretch before; cut at -1, where a budget
// is used up twice over. Of a calendar's period it ends with the period.
//
// Grafana begins at a whole step, up to margin before now; what is newest within
// margin after it is of now.
func projection(s slo.SLO) string {
	left := series.BudgetRemaining + is(series.ID, s.ID())
	margin := (s.Objective.Window / 25).Truncate(time.Second)
	grain := min(max(margin/100, 10*time.Second), 5*time.Minute).Truncate(time.Second)
	newest := fmt.Sprintf(" @ start() offset -%s", slo.Duration(margin))
	began := fmt.Sprintf("max(max_over_time(timestamp(%s)[%s:%s]%s))", left, slo.Duration(margin), slo.Duration(grain), newest)
	expr := fmt.Sprintf("clamp(max(last_over_time(%s[%s]%s))\n+ max(deriv(%s[%s]%s)) * (time() - %s), -1, 1)",
		left, slo.Duration(margin), newest, left, slo.Duration(trend(s.Objective.Window)+margin), newest, began)
	if within := samePeriod(s.Objective.Calendar, began); within != "" {
		expr = "(" + expr + ")\nand on () (" + within + ")"
	}
	return expr
}

// trend is how long a projection looks back: a day of a month.
func trend(window time.Duration) time.Duration {
	return max(window/30, 10*time.Minute).Truncate(time.Minute)
}

// samePeriod writes that an instant is in the calendar period of another, both
// in UTC: PromQL knows no zones. It is empty of a window that rolls.
func samePeriod(c slo.Calendar, other string) string {
	unit := map[slo.Unit]string{
		slo.Week:    "floor((%s + 259200) / 604800)", // 1970-01-01 was a Thursday
		slo.Month:   "month(%s)",
		slo.Quarter: "floor((month(%s) - 1) / 3)",
	}[c.Unit]
	if unit == "" {
		return ""
	}
	return fmt.Sprintf(unit, "vector(time())") + " == " + fmt.Sprintf(unit, other)
}

// firingAlerts writes the alerts of a severity that fire.
func firingAlerts(severity slo.Severity, selector string) string {
	return "ALERTS" + of(is("alertstate", "firing", series.Severity, string(severity)), selector)
}

// firstSeen writes when versions of services were first seen, in milliseconds.
func firstSeen(selector string) string { return series.VersionFirstSeen + selector + " * 1000" }

// perFlow writes a value of SLOs as one of flows, with the labels of a flow's own
// series: the worst of its objectives, as aggregate says. inner has the labels
// sloth_service and slowburn_flow.
func perFlow(aggregate, inner string) string {
	return fmt.Sprintf(`%s by (%s, %s) (label_join(label_join(%s, "%s", "", "%s"), "%s", "", "%s"))`,
		aggregate, series.Service, series.FlowName, inner, series.Service, series.SLOServ, series.FlowName, series.SLOFlow)
}

// perSLO writes a recorded series with the labels of an SLO and of nothing else.
func perSLO(name, selector string) string {
	return fmt.Sprintf("max by (%s, %s, %s) (%s%s)", series.ID, series.SLOServ, series.SLOFlow, name, selector)
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 12, 64) }
