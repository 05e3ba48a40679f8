package series

import (
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

func TestWindowNames(t *testing.T) {
	for want, w := range map[string]time.Duration{
		"20s": 20 * time.Second, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour,
		"1w": 7 * 24 * time.Hour, "4w": 28 * 24 * time.Hour, "30d": 30 * 24 * time.Hour,
	} {
		if got := WindowName(w); got != want {
			t.Errorf("WindowName(%v) = %s, want %s", w, got, want)
		}
		if got := ErrorRatio(w); got != "slo:sli_error:ratio_rate"+want {
			t.Errorf("ErrorRatio(%v) = %s, want slo:sli_error:ratio_rate%s", w, got, want)
		}
	}
}

func TestLabels(t *testing.T) {
	f := slo.Flow{Name: "checkout", Service: "shop", Objectives: []slo.Objective{{Name: "availability", Target: 0.999}}}
	s := f.SLOs()[0]
	l := f
	l.Labels = map[string]string{"team": "checkout", ID: "mine", "__name__": "mine"}
	labelled := l.SLOs()[0]
	const id = `sloth_id="shop-checkout-availability", sloth_service="shop", sloth_slo="checkout-availability", slowburn_flow="checkout"`
	for _, tc := range []struct{ name, got, want string }{
		{"identity", SLO(s).String(), "{" + id + "}"},
		{"metric", Of(SLO(s), Events).String(), `{__name__="slo_events_total", ` + id + `}`},
		{"pair", Of(SLO(s), ErrorRatio(time.Hour), Window, "1h").String(), `{__name__="slo:sli_error:ratio_rate1h", sloth_id="shop-checkout-availability", sloth_service="shop", sloth_slo="checkout-availability", sloth_window="1h", slowburn_flow="checkout"}`},
		{"objective", InfoLabels(s, "v1").Get(Goal), "99.9"},
		{"labels of the flow", InfoLabels(labelled, "v1").Get("team") + " " + InfoLabels(labelled, "v1").Get(ID), "checkout shop-checkout-availability"},
		{"name in spite of labels", InfoLabels(labelled, "v1").Get("__name__"), Info},
		{"alerts", Alert(slo.Page) + " " + Alert(slo.Ticket), "SlowburnBudgetBurnPage SlowburnBudgetBurnTicket"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, tc.got, tc.want)
		}
	}
}
