package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
)

const (
	// parts is how many events a minute of a ratio query stands for. A ratio
	// says nothing of traffic, so every minute weighs the same; a thousand
	// parts show a tenth of a percent at once, and less carries over.
	parts = 1000

	// most is more events than any minute has. Below it floats count exactly.
	most = 1 << 53

	// wide is the range that tells a query whose samples are further apart than
	// expected from one without samples.
	wide = 10 * time.Minute
)

// counter counts one objective.
type counter struct {
	id      string
	pos     slo.Pos
	account *account

	// In place are total with one of bad and good, or ratio alone.
	total, bad, good, ratio expression

	empty   bool // the last answer was, and that was said
	clamped bool // more bad than all events, and that was said
}

// expression is one query of an objective.
type expression struct {
	name string // total, bad, good or ratio
	text string // over a minute
	wide string // over wide
}

// compile makes counters of the PromQL objectives of flows, or reports every
// one that cannot be counted.
func compile(flows []slo.Flow, scrape time.Duration) ([]*counter, error) {
	var out []*counter
	var faults []error
	for _, s := range slo.All(flows) {
		if s.Objective.Kind != slo.PromQL {
			continue
		}
		c := &counter{id: s.ID(), pos: s.Objective.Pos}
		add := func(to *expression, name, text string) {
			if text == "" {
				return
			}
			*to = expression{name: name}
			var err error
			if name == "ratio" {
				to.text, err = query.At(text, query.Step+scrape)
			} else {
				to.text, err = query.PerMinute(text, scrape)
			}
			if err == nil {
				to.wide, err = query.At(text, wide)
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: SLO %s: promql.%s: %w", c.pos, c.id, name, err))
			}
		}
		add(&c.total, "total", s.Objective.Query.Total)
		add(&c.bad, "bad", s.Objective.Query.Bad)
		add(&c.good, "good", s.Objective.Query.Good)
		add(&c.ratio, "ratio", s.Objective.Query.Ratio)
		out = append(out, c)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return out, nil
}

// ask returns the good and bad events of the minute that ended at.
func (c *counter) ask(ctx context.Context, ask rules.QueryFunc, at time.Time, logger *slog.Logger) (good, bad float64, err error) {
	all, first := float64(parts), &c.ratio
	if c.ratio.text == "" {
		first = &c.total
	}
	value, found, err := c.value(ctx, ask, first, at)
	if err != nil {
		return 0, 0, err
	}
	c.sayEmpty(ctx, ask, first, at, !found, logger)
	switch {
	case !found:
		return 0, 0, nil
	case c.ratio.text != "":
		bad = value * parts
	case c.bad.text != "":
		all = value
		bad, _, err = c.value(ctx, ask, &c.bad, at)
	default:
		all = value
		bad, _, err = c.value(ctx, ask, &c.good, at)
		bad = all - bad
	}
	if err != nil {
		return 0, 0, err
	}
	all = max(0, all)
	within := min(max(0, bad), all)
	// Sums of extrapolated counters may differ by little.
	if math.Abs(within-bad) > 1e-6*max(1, all) && !c.clamped {
		c.clamped = true
		logger.Warn("a PromQL objective counts more of a part than of the whole, or less than nothing; it is cut to the whole",
			"slo", c.id, "pos", c.pos.String(), "bad", bad, "total", all, "minute", at)
	}
	return all - within, within, nil
}

// value returns what a query gives at a time; found is false when that is
// nothing, or not a number.
func (c *counter) value(ctx context.Context, ask rules.QueryFunc, e *expression, at time.Time) (v float64, found bool, err error) {
	vector, err := ask(ctx, e.text, at)
	switch {
	case err != nil:
		return 0, false, err
	case len(vector) == 0:
		return 0, false, nil
	case len(vector) > 1:
		return 0, false, c.fault(e, "gives %d series, such as %s and %s; want one number, by sum(…) around it",
			len(vector), vector[0].Metric, vector[1].Metric)
	case vector[0].H != nil:
		return 0, false, c.fault(e, "gives a histogram; want a number, such as histogram_count(…) of it")
	}
	v = vector[0].F
	switch {
	case math.IsNaN(v):
		return 0, false, nil
	case math.Abs(v) > most:
		return 0, false, c.fault(e, "gives %g; want a count of events", v)
	}
	return v, true, nil
}

func (c *counter) fault(e *expression, format string, args ...any) error {
	return fmt.Errorf("%s: SLO %s: promql.%s "+format, append([]any{c.pos, c.id, e.name}, args...)...)
}

// sayEmpty says once that a query gives nothing, and why that may be.
func (c *counter) sayEmpty(ctx context.Context, ask rules.QueryFunc, e *expression, at time.Time, empty bool, logger *slog.Logger) {
	if empty == c.empty {
		return
	}
	c.empty = empty
	if !empty {
		logger.Info("a PromQL objective has events again", "slo", c.id)
		return
	}
	why := "does its metric exist?"
	if vector, err := ask(ctx, e.wide, at); err == nil && len(vector) > 0 && !math.IsNaN(vector[0].F) {
		why = "over " + slo.Duration(wide) + " it gives some: are its samples further apart than slowburn was told?"
	}
	logger.Warn("a PromQL objective has no events: its query gives nothing", "slo", c.id, "pos", c.pos.String(), "query", e.name, "hint", why)
}
