package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// emptyGrafana keeps the dashboards it is sent; package push is tested against
// one that does more.
type emptyGrafana struct {
	mu         sync.Mutex
	away       bool
	folder     bool
	dashboards map[string]map[string]any
}

func (g *emptyGrafana) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer secret" || g.away {
		http.Error(w, `{"message":"Invalid API key"}`, http.StatusUnauthorized)
		return
	}
	uid, one := strings.CutPrefix(r.URL.Path, "/api/dashboards/uid/")
	switch {
	case one && g.dashboards[uid] != nil:
		json.NewEncoder(w).Encode(map[string]any{"dashboard": g.dashboards[uid], "meta": map[string]any{"version": 1, "folderUid": "slowburn"}})
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/folders/") && g.folder:
		fmt.Fprint(w, "{}")
	case r.Method == http.MethodPost && r.URL.Path == "/api/folders":
		g.folder = true
		fmt.Fprint(w, "{}")
	case r.Method == http.MethodPost:
		var body struct{ Dashboard map[string]any }
		json.NewDecoder(r.Body).Decode(&body)
		g.dashboards[fmt.Sprint(body.Dashboard["uid"])] = body.Dashboard
		fmt.Fprint(w, "{}")
	case r.URL.Path == "/api/search":
		fmt.Fprint(w, "[]")
	default:
		http.NotFound(w, r)
	}
}

func (g *emptyGrafana) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.dashboards)
}

func TestPushGrafana(t *testing.T) {
	g := &emptyGrafana{dashboards: map[string]map[string]any{}}
	srv := httptest.NewServer(g)
	defer srv.Close()
	dir := t.TempDir()
	token, slos := filepath.Join(dir, "token"), filepath.Join(dir, "slos.yaml")
	for path, text := range map[string]string{
		token: "secret\n",
		slos:  "service: shop\nflows:\n  checkout:\n    match: POST /api/checkout\n    slos: [99.9% succeed]\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pushed := func(args ...string) (string, error) {
		root := newRoot()
		var out strings.Builder
		root.SetErr(&out)
		root.SetArgs(append([]string{"push", "grafana", "--slos", slos, "--url", srv.URL, "--token-file", token}, args...))
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	if out, err := pushed("--dry-run"); err != nil || !strings.Contains(out, `folder "slowburn": would be added`) || g.count() != 0 {
		t.Errorf("push --dry-run = %v and %d dashboards, want a folder that would be added and none\n%s", err, g.count(), out)
	}
	out, err := pushed()
	if err != nil || g.count() < 2 || !strings.Contains(out, "checkout") {
		t.Errorf("push = %v and %d dashboards, want that of the checkout and more\n%s", err, g.count(), out)
	}
	if out, err := pushed(); err != nil || out != fmt.Sprintf("%d dashboards unchanged\n", g.count()) {
		t.Errorf("push again = %v, want all unchanged\n%s", err, out)
	}
	if _, err := pushed("--url", "http://admin:hunter2@grafana.example"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("push with a password in its address = %v, want an error that does not tell it", err)
	}
}

// TestKeepDashboards pushes at the start, and after a change.
func TestKeepDashboards(t *testing.T) {
	g := &emptyGrafana{dashboards: map[string]map[string]any{}}
	srv := httptest.NewServer(g)
	defer srv.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := (&grafanaConfig{url: srv.URL, tokenFile: token}).client("grafana-")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	flows := []slo.Flow{{Name: "checkout", Service: "shop"}}
	get := func() []slo.Flow {
		mu.Lock()
		defer mu.Unlock()
		return flows
	}
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- keepDashboards(ctx, client, get, changed, slog.New(slog.DiscardHandler)) }()
	want := 0
	eventually(t, time.Minute, func() error {
		if want = g.count(); want < 2 {
			return fmt.Errorf("%d dashboards; want those of one flow", want)
		}
		return nil
	})
	mu.Lock()
	flows = append(flows, slo.Flow{Name: "search", Service: "shop"})
	mu.Unlock()
	changed <- struct{}{} // taken only once the first push is over
	eventually(t, time.Minute, func() error {
		if n := g.count(); n <= want {
			return fmt.Errorf("%d dashboards; want one more than %d", n, want)
		}
		return nil
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("keepDashboards = %v, want %v", err, context.Canceled)
	}
}
