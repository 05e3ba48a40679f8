package judge

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// tails returns, exactly, how likely at least and at most k of n events are bad.
func tails(k, n uint64, p float64) (atLeast, atMost float64) {
	share := new(big.Rat).SetFloat64(p)
	rest := new(big.Rat).Sub(big.NewRat(1, 1), share)
	up, down := new(big.Rat), new(big.Rat)
	for i := range n + 1 {
		term := new(big.Rat).SetInt(new(big.Int).Binomial(int64(n), int64(i)))
		for range i {
			term.Mul(term, share)
		}
		for range n - i {
			term.Mul(term, rest)
		}
		if i >= k {
			up.Add(up, term)
		}
		if i <= k {
			down.Add(down, term)
		}
	}
	atLeast, _ = up.Float64()
	atMost, _ = down.Float64()
	return atLeast, atMost
}

func TestTailsAreExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := rng.Uint64N(40) + 1
		k := rng.Uint64N(n + 1)
		p := float64(rng.IntN(255)+1) / 256 // few bits keep the fractions short
		up, down := tails(k, n, p)
		if got := atLeast(k, n, p); math.Abs(got-up) > 1e-9*up {
			t.Errorf("atLeast(%d, %d, %g) = %g, want %g", k, n, p, got, up)
		}
		if got := atMost(k, n, p); math.Abs(got-down) > 1e-9*down {
			t.Errorf("atMost(%d, %d, %g) = %g, want %g", k, n, p, got, down)
		}
		if q := float64(k) / float64(n); q > p {
			if got := chernoff(k, n, p); got < up*(1-1e-9) {
				t.Errorf("chernoff(%d, %d, %g) = %g, want at least %g", k, n, p, got, up)
			}
		} else if got := chernoff(k, n, p); got < down*(1-1e-9) {
			t.Errorf("chernoff(%d, %d, %g) = %g, want at least %g", k, n, p, got, down)
		}
	}
}

func TestEvidence(t *testing.T) {
	const limit = 14.4 * 0.001
	for _, tc := range []struct {
		name string
		k, n uint64
		p    float64
		want bool
	}{
		{name: "one of one", k: 1, n: 1, p: limit, want: false},
		{name: "one of ten", k: 1, n: 10, p: limit, want: false},
		{name: "three of 21", k: 3, n: 21, p: limit, want: true},
		{name: "three of a hundred", k: 3, n: 100, p: limit, want: false},
		{name: "ten of ten", k: 10, n: 10, p: limit, want: true},
		{name: "none", k: 0, n: 10, p: limit, want: false},
		{name: "no events", k: 0, n: 0, p: limit, want: false},
		{name: "just over, of many", k: 14_401, n: 1_000_000, p: limit, want: false},
		{name: "well over, of many", k: 15_000, n: 1_000_000, p: limit, want: true},
		{name: "all may be bad", k: 10, n: 10, p: 1, want: false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := exceeds(tc.k, tc.n, tc.p); got != tc.want {
				t.Errorf("exceeds(%d, %d, %g) = %v, want %v", tc.k, tc.n, tc.p, got, tc.want)
			}
		})
	}
	for _, tc := range []struct {
		k, n uint64
		want bool
	}{{0, 0, false}, {0, 600, false}, {0, 640, true}, {20, 640, false}, {10, 3000, true}, {40, 3000, false}} {
		if got := fallsShort(tc.k, tc.n, limit); got != tc.want {
			t.Errorf("fallsShort(%d, %d, %g) = %v, want %v", tc.k, tc.n, limit, got, tc.want)
		}
	}
}

func BenchmarkEvidence(b *testing.B) {
	for b.Loop() {
		atLeast(7, 4600, 0.00144)
	}
}
