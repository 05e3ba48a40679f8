package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slowburn-slo/slowburn/slo/source"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

const languageDoc = "../../docs/slo-language.md"

var block = regexp.MustCompile("(?s)```([a-z ]+)\n(.*?)```")

// wraps make whole files of the parts that the reference shows, by the words
// after ```yaml.
var wraps = map[string]func(part string) string{
	"yaml": func(part string) string { return part },
	"yaml flow": func(part string) string {
		flow := "service: shop\nflows:\n  checkout:\n" + indent(part, "    ")
		if !strings.HasPrefix(part, "match:") {
			flow += "    match: POST /api/checkout\n"
		}
		if !strings.Contains("\n"+part, "\nslos:") {
			flow += "    slos: [99.9% succeed]\n"
		}
		return flow
	},
	"yaml objectives": func(part string) string {
		return "service: shop\nflows:\n  checkout:\n    match: POST /api/checkout\n    slos:\n" + indent(part, "      ")
	},
	"yaml file": func(part string) string {
		return "service: shop\nflows:\n  checkout: {match: /a, slos: [99.9% succeed]}\n  search: {match: /b, slos: [{succeed: 99%, window: month}]}\n" + part
	},
}

func indent(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}

// TestLanguageReference runs every example of the reference: parts of files load
// without a fault or warning, "yaml broken" says exactly what the text after it
// does, and commands print what stands below them.
func TestLanguageReference(t *testing.T) {
	doc, err := os.ReadFile(languageDoc)
	if err != nil {
		t.Fatal(err)
	}
	back, err := filepath.Abs(languageDoc)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())

	ran := map[string]int{}
	said := "" // by the example before
	out := block.ReplaceAllFunc(doc, func(b []byte) []byte {
		m := block.FindSubmatch(b)
		kind, text := string(m[1]), string(m[2])
		place := fmt.Sprintf("%s:%d", filepath.Base(languageDoc), 1+bytes.Count(doc[:bytes.Index(doc, b)], []byte("\n")))
		ran[kind]++
		var want string
		switch {
		case wraps[kind] != nil:
			file := wraps[kind](text)
			if err := os.WriteFile("slos.yaml", []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			if said = findings(t, file); said != "" {
				t.Errorf("%s: want neither faults nor warnings:\n%s", place, said)
			}
			return b
		case kind == "yaml broken":
			said = findings(t, text)
			return b
		case kind == "text":
			want = said
		case kind == "console":
			command, _, _ := strings.Cut(text, "\n")
			want = command + "\n" + console(t, strings.Fields(command)[2:])
		default:
			t.Errorf("%s: %q is no kind of example; want one of those that are run", place, kind)
			return b
		}
		if text != want {
			t.Errorf("%s: want\n%s", place, want)
		}
		return []byte("```" + kind + "\n" + want + "```")
	})
	for _, kind := range []string{"yaml", "yaml flow", "yaml objectives", "yaml file", "yaml broken", "text", "console"} {
		if ran[kind] == 0 {
			t.Errorf("no example is %s: they are not found any more", kind)
		}
	}
	if *update {
		if err := os.WriteFile(back, out, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if t.Failed() {
		t.Logf("go test ./cmd/slowburn -run '^%s$' -update rewrites what is printed", t.Name())
	}
}

// findings returns what validate says of a file.
func findings(t *testing.T, text string) string {
	t.Helper()
	config, err := spec.Parse("slos.yaml", []byte(text))
	var faults source.Faults
	if err != nil && !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeText(&b, newReport(config, faults, 1)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// console returns what a command prints.
func console(t *testing.T, args []string) string {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("slowburn %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}
