package main

import (
	"bytes"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const previewYAML = `
service: shop
slack: "#shop"
flows:
  checkout:
    match: POST /api/checkout
    owner: payments
    runbook: https://wiki.example/{flow}
    slos:
      - 99.9% succeed
      - 95% under 300ms
    alerts: {page: "#oncall"}
  import:
    match: {kind: consumer}
    slos: [99% fresh every 26h]
`

func previewOf(t *testing.T, now time.Time, c previewConfig) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "slos.yaml")
	if err := os.WriteFile(path, []byte(previewYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	c.slos, c.external = []string{path}, "https://slo.example"
	if c.format == "" {
		c.format = "text"
	}
	var out, warnings bytes.Buffer
	err := preview(c, now, &out, &warnings)
	if warnings.Len() > 0 {
		t.Errorf("warnings = %s, want none", &warnings)
	}
	return out.String(), err
}

// TestPreview is what people read of a file of objectives.
func TestPreview(t *testing.T) {
	for name, c := range map[string]previewConfig{
		"checkout": {flow: "checkout", traceURL: "https://traces.example/{trace_id}"},
		"latency":  {kind: "latency"},
		"fresh":    {flow: "shop/import", kind: "page"},
		"storm":    {kind: "storm"},
		"outage":   {kind: "outage", slo: "availability"},
		"held":     {kind: "held", slo: "availability"},
		"several":  {kind: "several"},
		"traffic":  {kind: "traffic"},
		"spent":    {kind: "spent", flow: "checkout"},
		"runs_out": {kind: "runs_out", flow: "import"},
		"bot":      {flow: "import", kind: "resolved", format: "json", bot: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := previewOf(t, time.Now(), c)
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", "preview-"+name+".golden")
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("%s differs; go test -run '^%s$' -update rewrites it\ngot:\n%s\nwant:\n%s", path, t.Name(), got, want)
				}
			})
		})
	}
}

func TestPreviewFormats(t *testing.T) {
	got, err := previewOf(t, time.Now(), previewConfig{flow: "checkout", slo: "availability", kind: "page", format: "png"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(strings.NewReader(got)); err != nil {
		t.Errorf("--format png is no picture: %v", err)
	}
	got, err = previewOf(t, time.Now(), previewConfig{format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	messages := 0
	for dec := json.NewDecoder(strings.NewReader(got)); dec.More(); messages++ {
		var m struct {
			Text        string
			Attachments []struct{ Color string }
		}
		if err := dec.Decode(&m); err != nil || m.Text == "" || len(m.Attachments) != 1 {
			t.Errorf("message %d = %+v, %v; want a text and an attachment", messages, m, err)
		}
	}
	if messages != 9 {
		t.Errorf("%d messages, want 3 of each of 3 objectives", messages)
	}
}

func TestPreviewFaults(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		c          previewConfig
	}{
		{"flow", "--flow: there is no flow refund; want one of checkout, import", previewConfig{flow: "refund"}},
		{"kind", `--kind: "pages" is not a choice`, previewConfig{kind: "pages"}},
		{"format", `--format: "gif" is not a choice`, previewConfig{format: "gif"}},
		{"many pictures", "--format png is one picture, and 9 messages are meant", previewConfig{format: "png"}},
		{"bot text", "--bot is there with --format text; want json", previewConfig{bot: true}},
		{"one objective only", "no objective has such a message", previewConfig{flow: "import", kind: "several"}},
		{"no such message", "no objective has such a message", previewConfig{flow: "import", kind: "latency"}},
		{"traces", "trace URL", previewConfig{flow: "checkout", traceURL: "https://traces.example/"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := previewOf(t, time.Now(), tc.c); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("preview = %v, want %q", err, tc.want)
			}
		})
	}
	if err := preview(previewConfig{}, time.Now(), &bytes.Buffer{}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "--slos is missing") {
		t.Errorf("preview of nothing = %v, want --slos", err)
	}
}
