//go:build e2e

package main

import "testing"

// TestE2EOracle runs the 1,000 histories for which TestOracle has no time.
func TestE2EOracle(t *testing.T) { interrogate(t, 1000, 50) }
