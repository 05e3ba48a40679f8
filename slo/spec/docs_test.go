package spec

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestReferenceIsWhole holds the reference to every key of the language.
func TestReferenceIsWhole(t *testing.T) {
	doc, err := os.ReadFile("../../docs/slo-language.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Concat(
		fileKeys, defaultsKeys, flowKeys, byKeys, objectiveKeys, sliceKeys, queryKeys,
		alertsKeys, severityKeys, tierKeys, excludeKeys,
	) {
		if !strings.Contains(string(doc), key+":") {
			t.Errorf("docs/slo-language.md does not say what %s: is", key)
		}
	}
	for name := range frameworks {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/slo-language.md does not name the framework %s", name)
		}
	}
}
