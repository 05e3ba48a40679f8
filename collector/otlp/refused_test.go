package otlp

import (
	"fmt"
	"testing"
	"time"
)

// TestRefused: what a newcomer's exporter does wrong is told by reason, the
// newest first.
func TestRefused(t *testing.T) {
	s := start(t, Options{Sink: (&tally{}).sink})
	if got := s.Refused(); len(got) != 0 {
		t.Errorf("refused before anything came: %v, want nothing", got)
	}
	before := time.Now()
	const pb = "application/x-protobuf"
	one := marshal(t, sample(1))
	post(t, s, "POST", "/v1/traces", pb, nil, one, false)
	post(t, s, "POST", "/v1/metrics", pb, nil, one, false)
	post(t, s, "POST", "/v1/traces", "text/plain", nil, one, false)
	post(t, s, "POST", "/v1/traces", "text/plain", nil, one, false)
	want := []string{
		"http 2 content type is neither protobuf nor JSON",
		"http 1 metrics, logs or profiles; only traces are taken here",
	}
	var got []string
	for _, r := range s.Refused() {
		got = append(got, fmt.Sprintf("%s %d %s", r.Transport, r.Requests, r.Reason))
		if r.Last.Before(before.Truncate(0)) || r.Last.After(time.Now()) {
			t.Errorf("%s was refused last at %v, want it since %v", r.Reason, r.Last, before)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("refused: %q, want %q", got, want)
	}
	for r, words := range reasonWords {
		if words == "" {
			t.Errorf("the reason %s has no words", reasonNames[r])
		}
	}
}
