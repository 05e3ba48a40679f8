package words

import (
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

func TestPeriod(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	evening := time.Date(2026, 12, 31, 23, 30, 0, 0, time.UTC)
	for _, tc := range []struct {
		name     string
		calendar slo.Calendar
		want     string
	}{
		{"rolling", slo.Calendar{}, ""},
		{"month", slo.Calendar{Unit: slo.Month}, "December"},
		{"month where it is already next year", slo.Calendar{Unit: slo.Month, Zone: zurich}, "January"},
		{"week over new year", slo.Calendar{Unit: slo.Week, Zone: zurich}, "week 53"},
		{"quarter", slo.Calendar{Unit: slo.Quarter}, "Q4"},
		{"next quarter", slo.Calendar{Unit: slo.Quarter, Zone: zurich}, "Q1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Period(tc.calendar, evening); got != tc.want {
				t.Errorf("Period(%s, %s) = %q, want %q", tc.calendar, evening, got, tc.want)
			}
		})
	}
}

func TestUnits(t *testing.T) {
	if got := Units(1, "minutes") + ", " + Units(0, "slices") + ", " + Units(13300, "requests"); got != "1 minute, 0 slices, 13,300 requests" {
		t.Errorf("Units = %s", got)
	}
}
