package alertmanager

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// write puts files into a new directory and returns the path of the first.
func write(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, files[0])
}

func TestReadNativeFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		text string
		want []string // of the error, after the path
	}{
		{"no route", "receivers: [{name: a}]\n", []string{": no routes provided"}},
		{"empty", "", []string{": no route provided in config"}},
		{"syntax", "route:\n  receiver: a\n bad\n", []string{":"}},
		{"unknown setting", "route: {receiver: a}\nreceivers:\n  - name: a\n    pager_configs: []\n", []string{":4: pager_configs is no setting that Alertmanager knows here"}},
		{"two unknown", "rute: {}\nroute: {receiver: a}\nreceiver: []\nreceivers: [{name: a}]\n", []string{":1: rute is no", ":3: receiver is no"}},
		{"undefined receiver", "route:\n  receiver: a\n  routes:\n    - receiver: b7\nreceivers: [{name: a}]\n", []string{`:4: undefined receiver "b7" used in route`}},
		{"undefined time", "route:\n  receiver: a\n  routes:\n    - {receiver: a, mute_time_intervals: [nights]}\nreceivers: [{name: a}]\n", []string{`:4: undefined time interval "nights"`}},
		{"twice", "route: {receiver: aa}\nreceivers:\n  - name: aa\n  - name: aa\n", []string{`:4: notification config name "aa" is not unique`}},
		{"no such secret", "route: {receiver: aa}\nreceivers:\n  - name: aa\n    slack_configs: [{api_url_file: /nowhere/x}]\n", []string{`:3: receiver "aa": api_url_file: open /nowhere/x: no such file`}},
		{"no such password", "route: {receiver: aa}\nreceivers:\n  - name: aa\n    webhook_configs: [{url: http://x, http_config: {basic_auth: {username: u, password_file: none}}}]\n", []string{`:3: receiver "aa": password_file: open `}},
		{"bad template", "route: {receiver: aa}\ntemplates: ['*.yml']\nreceivers: [{name: aa}] # {{ if\n", []string{": templates: "}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, "alertmanager.yml", tc.text)
			_, err := ReadNative(path, NativeOptions{})
			if err == nil {
				t.Fatal("ReadNative = nil, want a fault")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), path+want) {
					t.Errorf("ReadNative = %q, want %q in it", err, path+want)
				}
			}
		})
	}
	if _, err := ReadNative(filepath.Join(t.TempDir(), "none.yml"), NativeOptions{}); !os.IsNotExist(err) {
		t.Errorf("ReadNative of no file = %v, want that it does not exist", err)
	}
}

// TestReadNativeSecrets: no error tells a secret of the file.
func TestReadNativeSecrets(t *testing.T) {
	path := write(t, "alertmanager.yml", `
route: {receiver: a}
receivers:
  - name: a
    webhook_configs: [{url: "http://h/c4n4ry", url_file: /c4n4ry-no-secret}]
`)
	_, err := ReadNative(path, NativeOptions{})
	if err == nil || strings.Contains(err.Error(), "http://h/c4n4ry") {
		t.Errorf("ReadNative = %v, want a fault without the address", err)
	}
}

const nativeText = `
route:
  receiver: nobody
  group_by: [sloth_id]
  group_wait: 5s
  group_interval: 20s
  routes:
    - matchers: ['sloth_severity="page"']
      receiver: "slowburn-slack #oncall"
    - matchers: ['sloth_severity="ticket"', 'slowburn_flow!="search"']
      receiver: slowburn-slack
      mute_time_intervals: [nights]
inhibit_rules:
  - source_matchers: ['sloth_severity="page"']
    target_matchers: ['sloth_severity="ticket"']
    equal: [sloth_id]
time_intervals:
  - name: nights
    time_intervals: [{times: [{start_time: "20:00", end_time: "24:00"}]}]
receivers:
  - name: nobody
  - name: slowburn-slack
  - name: "slowburn-slack #oncall"
  - name: unused
    webhook_configs: [{url_file: /nowhere}]
`

// TestNative: routes, timing, inhibition and times of the file hold.
func TestNative(t *testing.T) {
	bubble(t, func(t *testing.T) {
		path := write(t, "alertmanager.yml", nativeText)
		native, err := ReadNative(path, NativeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !native.Slack() || native.Receivers() != 3 {
			t.Errorf("Slack() = %v, Receivers() = %d, want true, 3", native.Slack(), native.Receivers())
		}
		// The bubble begins at midnight UTC.
		p := newPeople()
		a, i, _ := runWith(t, Options{Dir: t.TempDir(), Notifier: p.channel, Native: native})
		i.set("checkout", slo.Ticket, true)
		time.Sleep(6 * time.Second)
		i.set("checkout", slo.Page, true)
		time.Sleep(time.Second)
		i.set("cart", slo.Page, true)
		i.set("cart", slo.Ticket, true)   // its page says it all
		i.set("search", slo.Ticket, true) // nobody's
		time.Sleep(30 * time.Second)
		p.expect(t, "5s : checkout ticket firing", "11s #oncall: checkout page firing", "12s #oncall: cart page firing")

		// The same again is no change; a new one takes over what was told.
		if err := a.ApplyNative(native); err != nil {
			t.Fatal(err)
		}
		changed, err := ReadNative(write(t, "alertmanager.yml", strings.Replace(nativeText, `, 'slowburn_flow!="search"'`, "", 1)), NativeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.ApplyNative(changed); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		p.expect(t, "5s : checkout ticket firing", "11s #oncall: checkout page firing", "12s #oncall: cart page firing", "37s : search ticket firing")

		// At night tickets wait; pages do not.
		time.Sleep(21 * time.Hour)
		i.set("nightly", slo.Ticket, true)
		i.set("vault", slo.Page, true)
		time.Sleep(time.Minute)
		heard := p.soFar()
		last := heard[len(heard)-1]
		if !strings.HasSuffix(last, "#oncall: vault page firing") {
			t.Errorf("last heard at night: %s, want the page only", last)
		}
		time.Sleep(3 * time.Hour) // it is morning
		heard = p.soFar()
		if last = heard[len(heard)-1]; !strings.Contains(strings.Join(heard, "\n"), "nightly ticket firing") {
			t.Errorf("the ticket of the night was not told in the morning; last heard: %s", last)
		}
	})
}

// TestNativeTemplateChanges: another text of a template is another
// configuration.
func TestNativeTemplateChanges(t *testing.T) {
	path := write(t, "alertmanager.yml", "route: {receiver: a}\ntemplates: ['*.tmpl']\nreceivers: [{name: a}]\n", "a.tmpl", `{{ define "a" }}one{{ end }}`)
	read := func() *Native {
		t.Helper()
		n, err := ReadNative(path, NativeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	one, same := read(), read()
	if one.sum != same.sum {
		t.Error("the same files have different sums")
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "a.tmpl"), []byte(`{{ define "a" }}two{{ end }}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if read().sum == one.sum {
		t.Error("another template has the same sum")
	}
}
