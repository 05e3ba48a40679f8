package main

import "testing"

// TestExampleLoads holds the example of the README to the language.
func TestExampleLoads(t *testing.T) {
	loaded, groups, err := load([]string{"../../deploy/example/slos.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Flows) != 2 || len(groups) != 6 || len(loaded.Warnings) > 0 {
		t.Errorf("%d flows with %d rule groups and warnings %v, want 2 with 6 (one for the traffic of each) and none", len(loaded.Flows), len(groups), loaded.Warnings)
	}
}
