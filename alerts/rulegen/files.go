package rulegen

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn-slo/slowburn/slo"
)

// Format is what a rule file is written for.
type Format string

// The formats.
const (
	Prometheus Format = "prometheus" // a rule file
	Operator   Format = "operator"   // a PrometheusRule object of the Prometheus Operator
	Mimir      Format = "mimir"      // a rule file with a namespace, as mimirtool reads it
)

// File is a file of rules, to be written under its name.
type File struct {
	Name   string // lower-case slug with the ending .yaml, without a directory
	Groups []rulefmt.RuleGroup
}

// Namespace returns the name of the file without its ending: the namespace of
// its rules in Mimir.
func (f File) Namespace() string { return strings.TrimSuffix(f.Name, ".yaml") }

// Split returns the flows service by service, in order of the first flow of
// each.
func Split(flows []slo.Flow) [][]slo.Flow {
	var out [][]slo.Flow
	index := map[string]int{}
	for _, f := range flows {
		i, ok := index[f.Service]
		if !ok {
			i = len(out)
			index[f.Service] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], f)
	}
	return out
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// Slug returns text as a name of files and Kubernetes objects: lower-case
// letters, digits and dashes.
func Slug(text string) string {
	s := strings.Trim(notInName.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if s == "" {
		return "service"
	}
	return s[:min(len(s), 200)]
}

// object is a PrometheusRule of the Prometheus Operator, monitoring.coreos.com/v1.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name      string            `yaml:"name"`
		Namespace string            `yaml:"namespace,omitempty"`
		Labels    map[string]string `yaml:"labels,omitempty"`
	} `yaml:"metadata"`
	Spec rulefmt.RuleGroups `yaml:"spec"`
}

// MarshalOptions say how a file is written.
type MarshalOptions struct {
	Format    Format
	Namespace string            // of an Operator object; empty: that of whoever applies it
	Labels    map[string]string // of an Operator object, by which a Prometheus picks its rules
}

// Marshal writes the file.
func (f File) Marshal(o MarshalOptions) ([]byte, error) {
	var content any
	switch o.Format {
	case Prometheus:
		return Marshal(f.Groups)
	case Mimir:
		content = struct {
			Namespace string              `yaml:"namespace"`
			Groups    []rulefmt.RuleGroup `yaml:"groups"`
		}{f.Namespace(), f.Groups}
	case Operator:
		rule := object{APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule", Spec: rulefmt.RuleGroups{Groups: f.Groups}}
		rule.Metadata.Name = f.Namespace()
		rule.Metadata.Namespace = o.Namespace
		rule.Metadata.Labels = o.Labels
		content = rule
	default:
		return nil, fmt.Errorf("format %q is unknown; want %s, %s or %s", o.Format, Prometheus, Operator, Mimir)
	}
	return encode(content)
}

// encode writes YAML under a line that says where it comes from.
func encode(content any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by slowburn; changes are lost when it is written again.\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(content); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
