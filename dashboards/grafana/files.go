package grafana

import (
	"bytes"
	"fmt"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Where the files of a Grafana are, below the directory they are written to.
const (
	DashboardsDir = "dashboards"                            // of Dashboard.File
	ProviderFile  = "provisioning/dashboards/slowburn.yaml" // Provider
)

// mounted is where Provider looks for the dashboards: the directory that
// Grafana's own documentation and Helm chart use.
const mounted = "/var/lib/grafana/dashboards/slowburn"

const header = "# Written by slowburn; changes are lost when it is written again.\n"

// Provider returns the provisioning file that makes a Grafana read the
// dashboards, into their folder, as they change.
func Provider() []byte {
	return fmt.Appendf(nil, `%s# Mount the directory %s at %s.
apiVersion: 1
providers:
  - name: slowburn
    folder: %s
    folderUid: %s
    type: file
    disableDeletion: false
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: %s
`, header, DashboardsDir, mounted, FolderTitle, FolderUID, mounted)
}

// IsFlowFile reports whether a file's name is one that a flow's dashboard has:
// where it is of no flow any more, it is left over.
func IsFlowFile(name string) bool {
	uid, ok := strings.CutSuffix(name, ".json")
	return ok && flowUID.MatchString(uid)
}

// ConfigMapOptions say how Kubernetes objects are written.
type ConfigMapOptions struct {
	Namespace string            // empty: that of whoever applies them
	Labels    map[string]string // besides the one that Grafana's sidecar looks for
}

// configMap is a ConfigMap of Kubernetes.
type configMap struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name        string            `yaml:"name"`
		Namespace   string            `yaml:"namespace,omitempty"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
	} `yaml:"metadata"`
	Data map[string]string `yaml:"data"`
}

// ConfigMaps returns the dashboards as Kubernetes objects, one document each: an
// object holds 1 MiB at most. The sidecar of Grafana's Helm chart finds them by
// their label and puts them into their folder.
func ConfigMaps(all []Dashboard, o ConfigMapOptions) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(header)
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	for _, d := range all {
		c := configMap{APIVersion: "v1", Kind: "ConfigMap", Data: map[string]string{d.File(): string(d.JSON)}}
		c.Metadata.Name, c.Metadata.Namespace = d.UID, o.Namespace
		c.Metadata.Labels = map[string]string{}
		maps.Copy(c.Metadata.Labels, o.Labels)
		c.Metadata.Labels["grafana_dashboard"] = "1"
		c.Metadata.Annotations = map[string]string{"grafana_folder": FolderTitle}
		if err := enc.Encode(c); err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", d.Title, err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
