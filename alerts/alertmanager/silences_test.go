package alertmanager

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// TestSilence holds that a silence keeps its flow quiet through a crash until
// it is ended, and others loud.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		dir := t.TempDir()
		a, _, stop := run(t, dir, p, checkout)
		want := Silence{
			Labels: map[string]string{series.SLOServ: "shop", series.SLOFlow: "checkout"},
			By:     "kim", Why: "database upgrade", Until: time.Now().Add(4 * time.Hour),
		}
		id, err := a.Silence(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		later, err := a.Silence(t.Context(), Silence{
			Labels: map[string]string{series.ID: "shop-search-availability"}, By: "ada", Why: "load test",
			From: time.Now().Add(time.Hour), Until: time.Now().Add(2 * time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		dir = crash(t, dir)
		stop()
		if _, err := a.Silence(t.Context(), want); err == nil || !strings.Contains(err.Error(), "stopped") {
			t.Errorf("Silence after the end = %v, want an error: nothing is written any more", err)
		}

		a, i, _ := run(t, dir, p, checkout)
		list, err := a.Silences()
		if err != nil || len(list) != 2 || list[0].ID != later || list[1].ID != id {
			t.Fatalf("Silences = %+v, %v; want the one that ends first, %s, then %s", list, err, later, id)
		}
		got := list[1]
		if !maps.Equal(got.Labels, want.Labels) || got.By != want.By || got.Why != want.Why || !got.Until.Equal(want.Until) {
			t.Errorf("Silences[1] = %+v, want %+v", got, want)
		}
		if want := `{sloth_service="shop",slowburn_flow="checkout"}`; got.Matchers != want {
			t.Errorf("Matchers = %s, want %s", got.Matchers, want)
		}
		for _, flow := range []string{"checkout", "search"} {
			labels := map[string]string{series.SLOServ: "shop", series.SLOFlow: flow, series.Severity: "page"}
			if mutes := got.Mutes(labels); mutes != (flow == "checkout") {
				t.Errorf("Mutes(%v) = %t", labels, mutes)
			}
		}

		i.set("checkout", slo.Page, true)
		i.set("search", slo.Page, true)
		time.Sleep(10 * time.Minute)
		p.expect(t, "0s : search page firing")
		for range 2 { // twice is no error
			if err := a.Unsilence(t.Context(), id); err != nil {
				t.Errorf("Unsilence = %v", err)
			}
		}
		time.Sleep(time.Minute)
		p.expect(t, "0s : search page firing", "10m10s #oncall: checkout page firing")
		if list, err := a.Silences(); err != nil || len(list) != 1 || list[0].ID != later {
			t.Errorf("Silences after the end of one = %+v, %v; want %s only", list, err, later)
		}
		if err := a.Unsilence(t.Context(), "no-such"); !errors.Is(err, ErrNoSilence) {
			t.Errorf("Unsilence of none = %v, want ErrNoSilence", err)
		}
	})
}

// TestSilenceOfOthers holds that a silence made through Alertmanager's API, with
// conditions of any kind, is listed and judged alike.
func TestSilenceOfOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, _, _ := run(t, t.TempDir(), newPeople(), checkout)
		var made struct{ SilenceID string }
		call(t, a, http.MethodPost, "/api/v2/silences", fmt.Sprintf(`{"matchers":[{"name":"slowburn_flow","value":"check.*","isRegex":true},
			{"name":"sloth_severity","value":"page","isRegex":false,"isEqual":false}],
			"startsAt":%q,"endsAt":%q,"createdBy":"kim","comment":"tests"}`,
			time.Now().UTC().Format(time.RFC3339), time.Now().UTC().Add(time.Hour).Format(time.RFC3339)), &made)
		synctest.Wait()
		list, err := a.Silences()
		if err != nil || len(list) != 1 {
			t.Fatalf("Silences = %+v, %v; want one", list, err)
		}
		if got, want := list[0].Matchers, `{slowburn_flow=~"check.*",sloth_severity!="page"}`; got != want || list[0].Labels != nil {
			t.Errorf("Matchers, Labels = %s, %v; want %s and none", got, list[0].Labels, want)
		}
		for severity, want := range map[string]bool{"page": false, "ticket": true} {
			if got := list[0].Mutes(map[string]string{series.SLOFlow: "checkout", series.Severity: severity}); got != want {
				t.Errorf("Mutes(checkout, %s) = %t, want %t", severity, got, want)
			}
		}
	})
}

func TestSilenceFaults(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, _, _ := run(t, t.TempDir(), newPeople(), checkout)
		good := Silence{Labels: map[string]string{series.ID: "shop-checkout-availability"}, By: "kim", Why: "tests", Until: time.Now().Add(time.Hour)}
		for _, tc := range []struct {
			name   string
			change func(*Silence)
			want   string
		}{
			{"no labels", func(s *Silence) { s.Labels = nil }, "it has no labels"},
			{"an empty label", func(s *Silence) { s.Labels = map[string]string{"flow": ""} }, "must not match the empty string"},
			{"nobody", func(s *Silence) { s.By = " " }, "By or Why is missing"},
			{"no reason", func(s *Silence) { s.Why = "" }, "By or Why is missing"},
			{"over already", func(s *Silence) { s.Until = time.Now() }, "ends before it begins"},
			{"no end", func(s *Silence) { s.Until = time.Time{} }, "ends before it begins"},
			{"too long", func(s *Silence) { s.Until = time.Now().Add(MaxSilence + time.Second) }, "more than 30 days"},
			{"too large", func(s *Silence) { s.Why = strings.Repeat("x", maxSilenceBytes) }, "exceeded maximum size"},
		} {
			s := good
			tc.change(&s)
			if _, err := a.Silence(t.Context(), s); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: Silence = %v, want an error with %q", tc.name, err, tc.want)
			}
		}
		if list, err := a.Silences(); err != nil || len(list) != 0 {
			t.Errorf("Silences = %+v, %v; want none", list, err)
		}
	})
}
