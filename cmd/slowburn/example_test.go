package main

import "testing"

// TestExampleLoads holds the example of the README to the language.
func TestExampleLoads(t *testing.T) {
	flows, groups, err := load("../../deploy/example/slos.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(flows) != 2 || len(groups) != 4 {
		t.Errorf("%d flows with %d rule groups, want 2 with 4", len(flows), len(groups))
	}
}
