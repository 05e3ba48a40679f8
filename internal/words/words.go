// Package words writes numbers the way people read them, alike in messages, on
// pages and in the terminal.
package words

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Count writes a number with commas between thousands: 13,300.
func Count(n uint64) string { return commas(strconv.FormatUint(n, 10)) }

// Number writes v with the given number of decimals and commas between
// thousands: 1,234.5.
func Number(v float64, decimals int) string {
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	digits := strings.TrimPrefix(s, "-")
	sign := s[:len(s)-len(digits)]
	whole, rest, fraction := strings.Cut(digits, ".")
	if fraction {
		rest = "." + rest
	}
	return sign + commas(whole) + rest
}

func commas(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Span writes how long something has lasted, in the one or two units that
// matter: 40 s, 12 min, 3 h 20 min, 2 d. Less than nothing is 0 s.
func Span(d time.Duration) string {
	switch d = max(0, d); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 10*time.Hour && d%time.Hour >= time.Minute:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	}
}
