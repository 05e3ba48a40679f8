// Package layout holds the tree to its design: the direction of imports.
package layout

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/slowburn-slo/slowburn/"

// imports calls visit with every import of our own packages below folder.
func imports(t *testing.T, folder string, visit func(path, imported string)) {
	t.Helper()
	files := 0
	err := filepath.WalkDir("../../"+folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			if rest, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module); ours {
				visit(path, rest)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if files == 0 {
		t.Errorf("no Go files below %s; want the layout of docs/design", folder)
	}
}

// TestImportsFlowDown keeps the tree a straight line: cmd imports the three
// siblings, the siblings import slo, and slo imports none of them.
func TestImportsFlowDown(t *testing.T) {
	for _, from := range []string{"slo", "collector", "alerts", "dashboards"} {
		imports(t, from, func(path, imported string) {
			to, _, _ := strings.Cut(imported, "/")
			if !slices.Contains([]string{from, "slo", "internal"}, to) {
				t.Errorf("%s imports %s; %s may import only itself, slo and internal", path, imported, from)
			}
		})
	}
}

// TestSLOImportsOnlySLO: the language and the arithmetic depend on nothing of
// ours but themselves.
func TestSLOImportsOnlySLO(t *testing.T) {
	imports(t, "slo", func(path, imported string) {
		if imported != "slo" && !strings.HasPrefix(imported, "slo/") {
			t.Errorf("%s imports %s; slo may import only slo", path, imported)
		}
	})
}

// TestInternalImportsNothingAbove: internal is below everything.
func TestInternalImportsNothingAbove(t *testing.T) {
	imports(t, "internal", func(path, imported string) {
		if to, _, _ := strings.Cut(imported, "/"); to != "internal" && to != "slo" {
			t.Errorf("%s imports %s; internal may import only internal and slo", path, imported)
		}
	})
}
