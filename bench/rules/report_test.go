package main

import (
	"math"
	"testing"
)

// TestVerdict misses each goal in turn.
func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(sets map[string]*measured)
		want  int
	}{
		{"all met", func(map[string]*measured) {}, 0},
		{"dearer than a fortieth of Sloth", func(s map[string]*measured) { s[sloth].cpu = 3999 }, 1},
		{"dearer than a thirtieth of Pyrra", func(s map[string]*measured) { s[pyrra].cpu = 2999 }, 1},
		{"too dear for both", func(s map[string]*measured) { s[external].cpu = 200 }, 2},
		{"the ledger is wrong", func(s map[string]*measured) { s[embedded].off[1] = -0.11 }, 1},
		{"own counters tell nothing", func(s map[string]*measured) { s[counters].off[0] = math.NaN() }, 1},
		{"catch-up is wrong", func(s map[string]*measured) { s[catchUp].off[0] = 0.11 }, 1},
		{"plain rules may be wrong", func(s map[string]*measured) { s[external].off[0] = 50 }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &history{scenario: scenario{name: "shop"}}
			r := &report{ids: []identity{{h, availability, 0.999}, {h, latency, 0.99}}}
			for _, name := range []string{sloth, sloth60, pyrra, external, alone, catchUp, counters, embedded, judged} {
				r.sets = append(r.sets, measured{name: name, cpu: 100, off: []float64{0.1, -0.1}})
			}
			byName := map[string]*measured{}
			for i := range r.sets {
				byName[r.sets[i].name] = &r.sets[i]
			}
			byName[sloth].cpu, byName[pyrra].cpu = 4000, 3000
			tc.spoil(byName)
			if got := r.verdict(); got != tc.want {
				t.Errorf("verdict() = %d goals missed, want %d", got, tc.want)
			}
		})
	}
}
