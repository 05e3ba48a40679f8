//go:build e2e

package rulegen

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// corpus is where definitions written by others lie.
const corpus = "../../../shared/corpus"

// imported returns the flows of every file of the corpus that can be read, file
// by file: two files may define the same SLO.
func imported(t *testing.T) map[string][]slo.Flow {
	t.Helper()
	fsys := os.DirFS(corpus)
	out := map[string][]slo.Flow{}
	err := fs.WalkDir(fsys, ".", func(name string, _ fs.DirEntry, err error) error {
		if ext := path.Ext(name); err != nil || ext != ".yml" && ext != ".yaml" {
			return err
		}
		if config, err := spec.Load(fsys, name); err == nil && len(slo.All(config.Flows)) > 0 {
			out[name] = config.Flows
		}
		return nil
	})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v; want the corpus where CI=true", err)
		}
		t.Skipf("no corpus: %v", err)
	}
	return out
}

// TestE2ERulesProveThemselves generates rules and their tests for SLOs of many
// kinds, windows, groupings and sources, and has promtool judge them.
func TestE2ERulesProveThemselves(t *testing.T) {
	varied := varied()
	total := 0
	prove := func(name string, flows []slo.Flow, o RecordOptions) {
		t.Run(name, func(t *testing.T) {
			said, tested := proof(t, flows, o, nil)
			if said != "" {
				t.Errorf("promtool says:\n%s", said)
			}
			total += tested
		})
	}
	for _, flows := range Split(varied) { // promtool evaluates all rules of a file for each test of it
		prove("varied "+Slug(flows[0].Service), flows, RecordOptions{})
	}
	prove("kinds", kinds(), RecordOptions{})
	prove("caught up", varied[len(varied)-1:], RecordOptions{CatchUp: true})
	prove("scraped every minute", varied[len(varied)-1:], RecordOptions{Scrape: time.Minute})
	files := imported(t)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		prove(name, files[name], RecordOptions{})
	}
	if total < 30 {
		t.Errorf("%d SLOs were tested, want at least 30", total)
	}
}
