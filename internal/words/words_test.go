package words

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	for _, tc := range []struct{ name, got, want string }{
		{"nothing", Count(0), "0"},
		{"hundreds", Count(999), "999"},
		{"thousands", Count(13300), "13,300"},
		{"millions", Count(1234567), "1,234,567"},
		{"decimals", Number(1234.56, 1), "1,234.6"},
		{"negative", Number(-1234.5, 0), "-1,234"},
		{"small negative", Number(-0.25, 2), "-0.25"},
		{"seconds", Span(52 * time.Second), "52 s"},
		{"minutes", Span(38*time.Minute + 50*time.Second), "38 min"},
		{"hours and minutes", Span(200 * time.Minute), "3 h 20 min"},
		{"hours", Span(30 * time.Hour), "30 h"},
		{"days", Span(80 * time.Hour), "3 d"},
		{"less than nothing", Span(-time.Minute), "0 s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("got %q, want %q", tc.got, tc.want)
			}
		})
	}
}
