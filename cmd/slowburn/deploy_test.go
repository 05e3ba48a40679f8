package main

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/slowburn-slo/slowburn/dashboards/grafana"
)

// deployed is the folder of what runs slowburn elsewhere.
const deployed = "../../deploy"

// parses fails the test unless the words are a command line of slowburn.
func parses(t *testing.T, where string, words []string) {
	t.Helper()
	root := newRoot()
	cmd, rest, err := root.Find(words)
	if err != nil || cmd == root {
		t.Errorf("%s: slowburn %s: no such command (%v)", where, strings.Join(words, " "), err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("%s: slowburn %s: %v", where, strings.Join(words, " "), err)
	}
	if n := cmd.Flags().NArg(); n > 0 {
		t.Errorf("%s: slowburn %s: %d words are no flags; want none", where, strings.Join(words, " "), n)
	}
}

type composeFile struct {
	Services map[string]struct {
		Image string
		Build struct{ Context, Dockerfile string }

		Command     []string
		Environment map[string]string
		Ports       []string
		Volumes     []string
		DependsOn   map[string]any `yaml:"depends_on"`
		ReadOnly    bool           `yaml:"read_only"`
	}
	Volumes map[string]any
}

// TestCompose checks what there is to check without a container engine: that the
// file says what it means to say, and that everything it names is there.
func TestCompose(t *testing.T) {
	dir := filepath.Join(deployed, "compose")
	text, err := os.ReadFile(filepath.Join(dir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file composeFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(file.Services)), []string{"dashboards", "grafana", "shop", "slowburn"}; !slices.Equal(got, want) {
		t.Fatalf("services are %v, want %v", got, want)
	}
	for name, s := range file.Services {
		if s.Image == "slowburn" {
			parses(t, name, s.Command)
			if !s.ReadOnly {
				t.Errorf("%s: its root can be written to", name)
			}
			for _, path := range []string{s.Build.Context, filepath.Join(s.Build.Context, s.Build.Dockerfile)} {
				if _, err := os.Stat(filepath.Join(dir, path)); err != nil || s.Build.Dockerfile == "" {
					t.Errorf("%s: build: %v", name, err)
				}
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network", name, p)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(filepath.Join(dir, from)); err != nil {
					t.Errorf("%s: volume: %v", name, err)
				}
			} else if _, ok := file.Volumes[from]; !ok {
				t.Errorf("%s: volume %s is not declared", name, from)
			}
		}
		for other := range s.DependsOn {
			if _, ok := file.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
	}

	loaded, err := loadConfig(filepath.Join(dir, "slos.yaml"))
	if err != nil || len(loaded.Warnings) > 0 {
		t.Errorf("slos.yaml: %v, warnings %v; want none", err, loaded.Warnings)
	}

	var sources struct{ Datasources []struct{ Type, URL string } }
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	provisioned(t, filepath.Join(dir, "grafana/provisioning/datasources/slowburn.yaml"), &sources)
	provisioned(t, filepath.Join(dir, "grafana/provisioning/dashboards/slowburn.yaml"), &providers)
	if len(sources.Datasources) != 1 || len(providers.Providers) != 1 {
		t.Fatalf("there are %d data sources and %d providers, want one of each", len(sources.Datasources), len(providers.Providers))
	}
	u, err := url.Parse(sources.Datasources[0].URL)
	if err != nil || u.Hostname() != "slowburn" || sources.Datasources[0].Type != "prometheus" {
		t.Errorf("the data source is %+v, want a Prometheus at slowburn", sources.Datasources[0])
	}
	if listen := imageEnv(t)["SLOWBURN_LISTEN"]; listen != "0.0.0.0:"+u.Port() {
		t.Errorf("the data source asks port %s, and slowburn listens at %s", u.Port(), listen)
	}
	path := providers.Providers[0].Options.Path
	mounted, ok := strings.CutSuffix(path, "/"+grafana.DashboardsDir)
	if !ok || !slices.Contains(file.Services["grafana"].Volumes, "dashboards:"+mounted+":ro") {
		t.Errorf("Grafana looks for dashboards in %s, want the volume dashboards mounted above that; volumes are %v", path, file.Services["grafana"].Volumes)
	}
}

func provisioned(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// instructions returns those of the Dockerfile, continued lines joined.
func instructions(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployed, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", " "), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// imageEnv returns the environment the image sets.
func imageEnv(t *testing.T) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, line := range instructions(t) {
		if rest, ok := strings.CutPrefix(line, "ENV "); ok {
			for pair := range strings.FieldsSeq(rest) {
				name, value, _ := strings.Cut(pair, "=")
				env[name] = value
			}
		}
	}
	return env
}

// TestDockerfile checks that what the Dockerfile copies, sets and runs exists.
func TestDockerfile(t *testing.T) {
	serve := newServe()
	for name, value := range imageEnv(t) {
		flag, ok := strings.CutPrefix(name, "SLOWBURN_")
		f := serve.Flags().Lookup(strings.ReplaceAll(strings.ToLower(flag), "_", "-"))
		if !ok || f == nil {
			t.Errorf("ENV %s: serve has no such flag", name)
		} else if err := f.Value.Set(value); err != nil {
			t.Errorf("ENV %s=%s: %v", name, value, err)
		}
	}
	lists := regexp.MustCompile(`\[(.*)\]`)
	commands := 0
	for _, line := range instructions(t) {
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "HEALTHCHECK", "CMD":
			words, err := list(lists.FindString(rest))
			if err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			commands++
			parses(t, verb, slices.DeleteFunc(words, func(w string) bool { return w == "/slowburn" }))
		case "COPY":
			words := strings.Fields(rest)
			if strings.HasPrefix(rest, "--from") {
				continue
			}
			for _, from := range words[:len(words)-1] {
				if _, err := os.Stat(filepath.Join("../..", from)); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
		case "USER":
			if strings.HasPrefix(rest, "0") || strings.HasPrefix(rest, "root") {
				t.Errorf("%s: runs as root", line)
			}
		}
	}
	if commands != 2 {
		t.Errorf("the image has %d commands, want a health check and one to run", commands)
	}
}

// list reads a JSON list of words, which is YAML too.
func list(text string) (words []string, err error) {
	if err := yaml.Unmarshal([]byte(text), &words); err != nil {
		return nil, fmt.Errorf("%q is no list: %w", text, err)
	}
	return words, nil
}
