package api

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"
	promapi "github.com/prometheus/prometheus/web/api/v1"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// describe returns what the series are that slowburn writes, by their names.
func describe() map[string]metadata.Metadata {
	counter := func(help string) metadata.Metadata {
		return metadata.Metadata{Type: model.MetricTypeCounter, Help: help}
	}
	ratio := func(help string) metadata.Metadata {
		return metadata.Metadata{Type: model.MetricTypeGauge, Unit: "ratio", Help: help}
	}
	all := map[string]metadata.Metadata{
		series.FlowRequests:    counter("Requests of a flow by outcome, counted as they arrive."),
		series.FlowDuration:    {Type: model.MetricTypeHistogram, Unit: "seconds", Help: "Latency of a flow's requests, a native histogram."},
		series.Events:          counter("Events an SLO has judged since it was made; never reset."),
		series.Errors:          counter("Bad events of an SLO since it was made; never reset."),
		series.Objective:       ratio("Wanted share of good events."),
		series.ErrorBudget:     ratio("Share of events that may be bad: 1 less the objective."),
		series.PeriodDays:      {Type: model.MetricTypeGauge, Unit: "days", Help: "Length of an SLO's period."},
		series.CurrentBurnRate: ratio("Burn rate over the shortest window; at 1 the budget lasts exactly the period."),
		series.PeriodBurnRate:  ratio("Burn rate over the whole period."),
		series.BudgetRemaining: ratio("Share of the period's error budget that is left; below 0 it is overspent."),
		series.Info:            {Type: model.MetricTypeInfo, Help: "What an SLO is: its objective in percent, and what made its series."},
	}
	const day = 24 * time.Hour
	for _, period := range []time.Duration{7 * day, 28 * day, slo.DefaultWindow} { // the usual ones
		for _, w := range (slo.Objective{Window: period}).Windows() {
			all[series.ErrorRatio(w)] = ratio("Share of bad events in the last " + slo.Duration(w) + "; absent where there were no events.")
		}
	}
	return all
}

// describeHandler serves /metadata as Prometheus does, which takes it from the
// targets it scrapes: nothing is scraped here. A metric has one description, so
// limit_per_metric is of no effect.
func describeHandler(all map[string]metadata.Metadata) http.HandlerFunc {
	names := slices.Sorted(maps.Keys(all))
	return func(w http.ResponseWriter, r *http.Request) {
		limit := len(names)
		if s := r.Form.Get("limit"); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil {
				refuse(w, http.StatusBadRequest, "bad_data", errors.New("limit must be a number"))
				return
			}
			if n >= 0 {
				limit = n
			}
		}
		metric := r.Form.Get("metric")
		found := map[string][]metadata.Metadata{}
		for _, name := range names {
			if len(found) < limit && (metric == "" || metric == name) {
				found[name] = []metadata.Metadata{all[name]}
			}
		}
		answer(w, http.StatusOK, promapi.Response{Status: "success", Data: found})
	}
}
