package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/collector"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

func TestSlackConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("xoxb-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, file, env string
		webhook, token  bool
		fault           string
	}{
		{name: "nothing"},
		{name: "file", file: file, token: true},
		{name: "environment", env: "xoxb-2", token: true},
		{name: "no such file", file: file + "x", fault: "--slack-bot-token-file: "},
		{name: "webhook only", webhook: true},
		{name: "both", env: "xoxb-2", webhook: true, token: true, fault: "want one of them"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("SLACK_BOT_TOKEN", tc.env)
			c := slackConfig{tokenFile: tc.file}
			err := c.read(tc.webhook)
			if (err != nil) != (tc.fault != "") || (err != nil && !strings.Contains(err.Error(), tc.fault)) {
				t.Errorf("read = %v, want %q", err, tc.fault)
			}
			if got := !c.token.Empty(); got != tc.token {
				t.Errorf("there is a token: %v, want %v", got, tc.token)
			}
		})
	}
}

// TestCourse: a chart's points are the worst of each step, and a gap is one.
func TestCourse(t *testing.T) {
	dir := t.TempDir()
	end := time.Now().Truncate(time.Hour)
	begin := end.Add(-6 * time.Hour) // a step is a minute
	o := slo.SLO{
		Flow:      &slo.Flow{Name: "checkout", Service: "shop"},
		Objective: slo.Objective{Name: "availability", Target: 0.999, Window: slo.DefaultWindow},
	}
	err := store.Backfill(dir, nil, func(app storage.Appender) error {
		of := series.Of(series.SLO(o), series.ErrorRatio(5*time.Minute), series.Window, "5m")
		for t := begin; !t.After(end); t = t.Add(15 * time.Second) {
			share := 0.001
			switch m := t.Sub(begin).Minutes(); {
			case m >= 100 && m < 130:
				continue // nobody looked
			case m == 200.25:
				share = 0.5 // one spike
			}
			if _, err := app.Append(0, of, t.UnixMilli(), share); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := course(t.Context(), s, o, begin, end)
	if err != nil {
		t.Fatal(err)
	}
	var gaps, spikes []time.Duration
	for i, p := range got {
		if i > 0 && !p.At.After(got[i-1].At) && i < len(got)-1 {
			t.Errorf("point %d is at %s, want it after %s", i, p.At, got[i-1].At)
		}
		switch {
		case math.IsNaN(p.Share):
			gaps = append(gaps, p.At.Sub(begin))
		case p.Share > 0.4:
			spikes = append(spikes, p.At.Sub(begin))
		}
	}
	if len(got) < 325 || len(got) > 335 {
		t.Errorf("%d points, want one a minute but for half an hour", len(got))
	}
	if len(gaps) != 1 || gaps[0] < 99*time.Minute || gaps[0] > 102*time.Minute {
		t.Errorf("gaps at %v, want one at 100 min", gaps)
	}
	if len(spikes) != 1 || spikes[0] < 200*time.Minute || spikes[0] > 202*time.Minute {
		t.Errorf("spikes at %v, want one at 200 min", spikes)
	}
}

func TestTracesOf(t *testing.T) {
	began := time.Date(2026, 3, 2, 14, 0, 0, 0, time.UTC)
	sample := func(id string, why collector.Why, after, took time.Duration) collector.Sample {
		return collector.Sample{TraceID: id, Why: why, At: began.Add(after), Duration: took, Bad: why == collector.Failed}
	}
	samples := []collector.Sample{
		sample("slow", collector.Slowest, time.Minute, 5*time.Second),
		sample("quick", collector.Slowest, time.Minute, 200*time.Millisecond),
		sample("old", collector.Failed, -time.Minute, time.Second),
		sample("f1", collector.Failed, time.Minute, time.Second),
		sample("f2", collector.Failed, 2*time.Minute, time.Second),
		sample("f3", collector.Failed, 3*time.Minute, time.Second),
		sample("f4", collector.Failed, 4*time.Minute, time.Second),
		sample("usual", collector.Typical, -time.Minute, 80*time.Millisecond),
	}
	for _, tc := range []struct {
		name      string
		objective slo.Objective
		samples   []collector.Sample
		want      string
	}{
		{"failed", slo.Objective{Kind: slo.Succeed}, samples, "[f1 f2 f3 usual]"},
		{"slow", slo.Objective{Kind: slo.FasterThan, Threshold: 300 * time.Millisecond}, samples, "[slow usual]"},
		{"nothing is bad", slo.Objective{Kind: slo.FasterThan, Threshold: time.Minute}, samples, "[]"},
		{"counted elsewhere", slo.Objective{Kind: slo.PromQL}, samples, "[]"},
		{"none", slo.Objective{Kind: slo.Succeed}, nil, "[]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := []string{}
			for _, x := range tracesOf(tc.objective, tc.samples, began) {
				got = append(got, x.ID)
				if x.Typical == x.Bad || x.Typical != (x.ID == "usual") {
					t.Errorf("trace %s is typical: %t, bad: %t", x.ID, x.Typical, x.Bad)
				}
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("tracesOf = %v, want %s", got, tc.want)
			}
		})
	}
}
