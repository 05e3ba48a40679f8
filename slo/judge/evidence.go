package judge

import "math"

const (
	// doubt is how likely a coincidence may be that alerts: "99 % sure".
	doubt = 0.01

	// certainty is how likely a coincidence may be that ends a page, or lets one
	// begin again. It is asked with every flush, for hours.
	certainty = 1e-4

	// plenty is how many bad events speak for themselves. With ten of them above
	// the limit it is 99.8 % sure that a third of the limit is exceeded, and to
	// be sure of all of it would delay every page for what is counted, not
	// guessed: the budget that is gone.
	plenty = 10
)

// atLeast returns how likely it is that k or more of n independent events are
// bad when each is with probability p, in (0, 1).
func atLeast(k, n uint64, p float64) float64 {
	if k == 0 {
		return 1
	}
	if k > n {
		return 0
	}
	term := math.Exp(logBinomial(k, n, p))
	sum, odds := 0.0, p/(1-p)
	for i := k; i <= n && term > sum*1e-12; i++ {
		sum += term
		term *= float64(n-i) / float64(i+1) * odds
	}
	return min(sum, 1)
}

// atMost returns how likely it is that k or fewer are.
func atMost(k, n uint64, p float64) float64 {
	if k >= n {
		return 1
	}
	term := math.Exp(logBinomial(k, n, p))
	sum, odds := 0.0, (1-p)/p
	for i := k; term > sum*1e-12; i-- {
		sum += term
		if i == 0 {
			break
		}
		term *= float64(i) / float64(n-i+1) * odds
	}
	return min(sum, 1)
}

// logBinomial returns the logarithm of the probability of exactly k of n.
func logBinomial(k, n uint64, p float64) float64 {
	a, _ := math.Lgamma(float64(n) + 1)
	b, _ := math.Lgamma(float64(k) + 1)
	c, _ := math.Lgamma(float64(n-k) + 1)
	return a - b - c + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p)
}

// exceeds reports whether k bad events of n are evidence that more than a share
// of p are: with that share, so many would be a coincidence of less than doubt.
func exceeds(k, n uint64, p float64) bool { return beyond(k, n, p, doubt) }

// beyond is exceeds with another chance of a coincidence.
func beyond(k, n uint64, p, chance float64) bool {
	if float64(k) <= float64(n)*p || p <= 0 {
		return float64(k) > float64(n)*p
	}
	if p >= 1 {
		return false
	}
	// Chernoff's bound is never below the probability, and cheap.
	return chernoff(k, n, p) <= chance || atLeast(k, n, p) <= chance
}

// fallsShort reports whether k bad events of n are evidence that fewer than a
// share of p are, beyond certainty.
func fallsShort(k, n uint64, p float64) bool {
	if float64(k) >= float64(n)*p {
		return false
	}
	if p >= 1 {
		return true
	}
	return chernoff(k, n, p) <= certainty || atMost(k, n, p) <= certainty
}

// chernoff returns a bound of how likely it is that the number of bad events of
// n is as far from n×p as k, on the side k is.
func chernoff(k, n uint64, p float64) float64 {
	q := float64(k) / float64(n)
	var d float64
	if q > 0 {
		d += q * math.Log(q/p)
	}
	if q < 1 {
		d += (1 - q) * math.Log((1-q)/(1-p))
	}
	return math.Exp(-float64(n) * d)
}
