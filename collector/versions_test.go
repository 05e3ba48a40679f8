package collector

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// TestDeploys tells what happened to a service, a line a stretch of time, and
// which deploys that makes.
func TestDeploys(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{name: "one version", script: "10m 1", want: "1@0s"},
		{name: "a deploy", script: "10m 1, 3m 1 2, 10m 2", want: "1@0s 2@10m0s"},
		{name: "rolled back", script: "10m 1, 2m 1 2, 6m 2, 10m 1", want: "2@10m0s 1@18m0s"},
		{name: "rolled out slowly and back", script: "10m 1, 30m 1 2, 10m 1", want: "1@0s 2@10m0s"},
		{name: "back within minutes", script: "10m 1, 4m 2, 10m 1", want: "1@0s 2@10m0s"},
		{name: "silent in between", script: "10m 1 2, 60m -, 10m 1, 1m 2", want: "1@0s 2@1h20m0s"},
		{name: "both silent, the other first", script: "10m 1 2, 60m -, 2m 1, 5m 1 2", want: "1@0s 2@0s"},
		{name: "restart", script: "10m 1 2, 60m restart, 4m 1, 5m 2", want: "1@0s 2@0s"},
		{name: "a deploy while we were away", script: "10m 1, 60m restart, 10m 2", want: "1@0s 2@1h10m0s"},
		{name: "no version", script: "10m none", want: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{Flows: shop(), Dir: t.TempDir(), Store: &board{}}
				p := start(t, o)
				began := time.Now()
				for line := range strings.SplitSeq(tc.script, ", ") {
					words := strings.Fields(line)
					length, err := time.ParseDuration(words[0])
					if err != nil {
						t.Fatal(err)
					}
					switch words[1] {
					case "restart":
						p.end()
						time.Sleep(length)
						p = start(t, o)
						continue
					}
					for until := time.Now().Add(length); time.Now().Before(until); time.Sleep(10 * time.Second) {
						for _, version := range words[1:] {
							switch version {
							case "-":
							case "none":
								sendAll(t, p.Pipeline, from("shop", "", "/x"))
							default:
								sendAll(t, p.Pipeline, from("shop", version, "/x"))
							}
						}
					}
				}
				var got []string
				for _, v := range p.Arrivals().of("shop").Versions {
					got = append(got, fmt.Sprintf("%s@%v", v.Value, v.First.Sub(began)))
				}
				if strings.Join(got, " ") != tc.want {
					t.Errorf("%s: deploys %v, want %s", tc.script, got, tc.want)
				}
				p.end()
			})
		})
	}
}

// TestVersionsAreWritten: the series of services that flows name, with bounds.
func TestVersionsAreWritten(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	dir := t.TempDir()
	p := newTest(t, st, dir)
	began := time.Now()
	sendAll(t, p, from("shop", "1.42.0", "/x"), from("till", "7", "/pay"))
	sendAll(t, p, from("shop", strings.Repeat("ä", 100), "/x"))
	if err := p.flush(time.Now()); err != nil {
		t.Fatal(err)
	}
	got := newest(t, st, series.VersionFirstSeen)
	for _, key := range []string{
		`{service="shop", service_version="1.42.0"}`,
		`{service="shop", service_version="` + strings.Repeat("ä", 64) + `"}`,
	} {
		if v := got[key]; v < float64(began.UnixMilli())/1000 || v > float64(time.Now().UnixMilli())/1000 {
			t.Errorf("%s%s = %g, want a time since %d", series.VersionFirstSeen, key, v, began.Unix())
		}
	}
	if len(got) != 2 {
		t.Errorf("%s has %d series, want 2: %v", series.VersionFirstSeen, len(got), got)
	}

	// A service that names another version with every request.
	for i := range 3 * maxVersions {
		sendAll(t, p, from("shop", fmt.Sprint("build-", i), "/x"))
	}
	if got := len(p.Arrivals().of("shop").Versions); got != maxVersions {
		t.Errorf("%d versions are kept, want %d", got, maxVersions)
	}

	// A flow that names the service now.
	flows := shop()
	flows[1].Service = "t*"
	if err := p.Apply(flows); err != nil {
		t.Fatal(err)
	}
	if err := p.flush(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := newest(t, st, series.VersionFirstSeen); got[`{service="till", service_version="7"}`] == 0 {
		t.Errorf("%s = %v, want till among them", series.VersionFirstSeen, got)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	// The next process writes the same before anything arrives.
	before := newest(t, st, series.VersionFirstSeen)
	p = newTest(t, st, dir)
	defer p.Close()
	if err := p.Apply(flows); err != nil {
		t.Fatal(err)
	}
	if len(p.Arrivals().Services) != 0 {
		t.Errorf("after a restart %v arrived, want nothing", p.Arrivals().Services)
	}
	if err := p.flush(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if after := newest(t, st, series.VersionFirstSeen); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("after a restart:\n%v\nwant:\n%v", after, before)
	}
}

// TestVersionsThatEnd: a version that made room for a newer one ends.
func TestVersionsThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &versionBoard{got: map[string]float64{}}
		p := start(t, Options{Flows: shop(), Dir: t.TempDir(), Store: b})
		for i := range maxVersions + 3 {
			sendAll(t, p.Pipeline, from("shop", fmt.Sprint(i), "/x"))
			time.Sleep(churn / maxVersions)
		}
		time.Sleep(slow + DefaultFlush)
		p.end()
		if len(b.got) != maxVersions || b.got["22"] == 0 {
			t.Errorf("%d versions have a value, want %d with the newest: %v", len(b.got), maxVersions, b.got)
		}
	})
}

func TestDamagedVersions(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "versions.json"), []byte(`{"shop": 7`), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{Flows: []slo.Flow{shop()[1]}, Dir: dir, Store: &board{}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if kept, err := filepath.Glob(filepath.Join(dir, "quarantine", "versions.json-*")); err != nil || len(kept) != 1 {
		t.Errorf("quarantine holds %v, %v; want the damaged file", kept, err)
	}
	sendAll(t, p, from("shop", "1", "/x"))
	if err := p.flush(time.Now()); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "versions.json")); err != nil || !strings.Contains(string(data), `"shop":[{"version":"1"`) {
		t.Errorf("versions.json = %s, %v; want version 1 of shop", data, err)
	}
}

// versionBoard is a store that keeps the versions that have a value.
type versionBoard struct{ got map[string]float64 }

func (b *versionBoard) Appender(context.Context) storage.Appender {
	return versionAppender{boardAppender{board: &board{}}, b}
}

type versionAppender struct {
	boardAppender
	to *versionBoard
}

func (a versionAppender) Append(_ storage.SeriesRef, l labels.Labels, _ int64, v float64) (storage.SeriesRef, error) {
	switch version := l.Get(series.ServiceVersion); {
	case version == "":
	case value.IsStaleNaN(v):
		delete(a.to.got, version)
	default:
		a.to.got[version] = v
	}
	return 0, nil
}
