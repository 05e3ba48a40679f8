package slack

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

func templateFile(t *testing.T, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "slack.tmpl")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const ownTemplate = `{{define "headline"}}[{{.Severity}}] {{with index .Alerts 0}}{{.Service}}/{{.Flow}}{{end}}{{if .Resolved}} is over{{end}}{{end -}}
{{range .Alerts}}{{.Objective}}{{if .Known}}: *{{.Bad}}* of {{.Total}}, {{percent .BudgetLeft}} left, {{range $w, $b := .Burns}}{{$w}} {{printf "%.1f" $b}} {{end}}{{end}}
since {{clock .StartsAt}}, {{span .Since .StartsAt}} after it began
{{end}}{{range $name, $url := .Links}}<{{$url}}|{{$name}}> {{end}}
{{range .Lines}}> {{.}}
{{end}}`

// TestTemplate: a user's own words stand in the place of ours.
func TestTemplate(t *testing.T) {
	own, err := ParseTemplate(templateFile(t, ownTemplate))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Render(RenderOptions{
		Facts: func(string, time.Time) (Facts, bool) { f := someFacts(); f.Forecast = fired; return f, true }, ExternalURL: mustURL(t, "https://slo.example"), Template: own,
	}, checkout(slo.Page, fired.Add(38*time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "template", []byte(r.Text))
	fits(t, r.Webhook)
	fits(t, r.Bot)
}

// TestTemplateInDocs: the template that people copy works.
func TestTemplateInDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/slack.md")
	if err != nil {
		t.Fatal(err)
	}
	_, source, found := strings.Cut(string(doc), "```\n{{define")
	source, _, _ = strings.Cut(source, "```")
	if !found {
		t.Fatal("docs/slack.md has no template")
	}
	own, err := ParseTemplate(templateFile(t, "{{define"+source))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Render(RenderOptions{
		Facts: func(string, time.Time) (Facts, bool) { return someFacts(), true }, ExternalURL: mustURL(t, "https://slo.example"), Template: own,
	}, checkout(slo.Page, time.Time{}))
	if err != nil {
		t.Fatal(err)
	}
	if want := "shop/checkout page\n*99.9% succeed over 30d*: 412 of 13300 since 14:02 UTC, 46 % of the budget left\n> 99.9% succeed"; !strings.HasPrefix(r.Text, want) {
		t.Errorf("text = %s, want it to begin with %s", r.Text, want)
	}
}

// TestTemplateHostile: what senders name is text, never a template, and no
// markup; also where our own words stand.
func TestTemplateHostile(t *testing.T) {
	const hostile = `{{ .ExternalURL }}{{ range .Alerts }}<!channel>*x*{{ end }}{{`
	own, err := ParseTemplate(templateFile(t, `{{define "headline"}}{{(index .Alerts 0).Flow}}{{end}}{{range .Alerts}}{{.Flow}} {{.Service}} {{.Owner}} {{.Summary}} {{.Place}}{{end}}{{range .Lines}} {{.}}{{end}}`))
	if err != nil {
		t.Fatal(err)
	}
	a := checkout(slo.Page, time.Time{})
	for _, l := range []model.LabelName{series.SLOFlow, series.SLOServ, series.SLOName} {
		a.Labels[l] = hostile
	}
	for l := range a.Annotations {
		a.Annotations[l] = hostile
	}
	f := someFacts()
	f.Place = hostile
	f.Hints = []Hint{{Text: hostile}}
	for _, template := range []*Template{nil, own} {
		r, err := Render(RenderOptions{Facts: func(string, time.Time) (Facts, bool) { return f, true }, Template: template}, a)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Text, `{{ .ExternalURL }}{{ range .Alerts }}<!channel>∗x∗{{ end }}{{`) {
			t.Errorf("text = %q, want the name in it literally", r.Text)
		}
		for _, payload := range [][]byte{r.Webhook, r.Bot} {
			fits(t, payload)
			if strings.Contains(string(payload), "<!channel>") {
				t.Errorf("payload = %s, want no active markup", payload)
			}
		}
	}
}

// TestTemplateFails: a template that fails, writes too much or does not end
// costs its words only, and the log says so.
func TestTemplateFails(t *testing.T) {
	for _, tc := range []struct{ name, source, want string }{
		{"one alert only", `{{if eq (len .Alerts) 2}}{{index .Alerts 7}}{{else}}ok{{end}}`, "index out of range"},
		{"nothing", `{{if ne (len .Alerts) 2}}ok{{end}}`, "it writes nothing"},
		{"endless", `ok{{if eq (len .Alerts) 2}}{{range 99999999999}}{{end}}{{end}}`, errTooSlow.Error()},
		{"endless twice", `ok{{if eq (len .Alerts) 2}}{{range 999999}}{{range 9999999}}{{if true}}{{end}}{{end}}{{end}}{{end}}`, errTooSlow.Error()},
		{"long", `ok{{if eq (len .Alerts) 2}}{{range 99999999}}much {{end}}{{end}}`, errTooLong.Error()},
		{"long in one", `ok{{if eq (len .Alerts) 2}}{{$x := "0123456789"}}{{range 99}}{{$x = printf "%s%s" $x $x}}{{end}}{{end}}`, errTooLong.Error()},
		{"round", `ok{{define "a"}}{{template "a" .}}{{template "a" .}}{{end}}{{if eq (len .Alerts) 2}}{{template "a" .}}{{end}}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			own, err := ParseTemplate(templateFile(t, tc.source))
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			v := voice{
				facts:    func(string, time.Time) (Facts, bool) { return someFacts(), true },
				template: own, logger: slog.New(slog.NewTextHandler(&log, nil)),
			}
			alerts := []*alert.Alert{checkout(slo.Page, time.Time{}), checkout(slo.Page, time.Time{})}
			if s := v.tell(alerts[:1], false); s.lines[0].text != "ok" || log.Len() > 0 {
				t.Errorf("one alert says %v, log %s; want the template's words", s.lines, &log)
			}
			began := time.Now()
			s := v.tell(alerts, false)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v, want about %v at most", took, templateFor)
			}
			if !strings.HasPrefix(s.headline, "🔴 Checkout is failing") || !strings.Contains(s.lines[0].text, "99.9% succeed") {
				t.Errorf("message = %q %v, want ours", s.headline, s.lines)
			}
			if !strings.Contains(log.String(), tc.want) || !strings.Contains(log.String(), "slack.tmpl") {
				t.Errorf("log = %s, want %q and the file", &log, tc.want)
			}
			if _, err := Render(RenderOptions{Facts: v.facts, Template: own}, alerts...); err == nil {
				t.Error("Render = nil, want the fault")
			}
		})
	}
}

func TestParseTemplateFaults(t *testing.T) {
	for _, tc := range []struct{ name, source, want string }{
		{"syntax", "a\n{{range}}", "slack.tmpl:2: "},
		{"unknown name", "{{.Secret}}", "Secret"},
		{"unknown function", "a\n{{env \"HOME\"}}", `slack.tmpl:2: function "env" not defined`},
		{"empty", "", "it writes nothing"},
		{"too long", strings.Repeat("x", maxTemplate+1), "want at most 65536"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := templateFile(t, tc.source)
			_, err := ParseTemplate(file)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("ParseTemplate = %v, want the file and %q", err, tc.want)
			}
		})
	}
	if _, err := ParseTemplate(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ParseTemplate of no file = %v, want that it does not exist", err)
	}
}
