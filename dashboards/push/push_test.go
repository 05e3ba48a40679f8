package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// grafana behaves as Grafana's documented HTTP API does for folders, dashboards
// and search. It is not safe for concurrent use; Sync sends one request at a
// time.
type grafana struct {
	token      string
	role       string // "Editor" or "Viewer"
	folders    map[string]string
	dashboards map[string]*saved
	writes     []string

	// meddle, if any, is asked before each request whether to answer in
	// Grafana's place: with a status, and seconds to wait. A cut is no answer.
	meddle func(r *http.Request) (status, wait int)
	after  func(r *http.Request) (cut bool) // the request took effect, its answer is lost
}

type saved struct {
	model       map[string]any
	folder, by  string
	version     int
	provisioned bool
}

func newGrafana() *grafana {
	return &grafana{token: "secret", role: "Editor", folders: map[string]string{}, dashboards: map[string]*saved{}}
}

const cut = -1

// RoundTrip implements http.RoundTripper.
func (g *grafana) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.Body.Reset()
	if g.meddle != nil {
		status, wait := g.meddle(r)
		if status == cut {
			return nil, errors.New("connection reset by peer")
		}
		if status != 0 {
			if wait > 0 {
				w.Header().Set("Retry-After", fmt.Sprint(wait))
			}
			w.WriteHeader(status)
			return w.Result(), nil
		}
	}
	g.serve(w, r)
	if g.after != nil && g.after(r) {
		return nil, io.ErrUnexpectedEOF
	}
	return w.Result(), nil
}

func (g *grafana) serve(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, v any) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	say := func(status int, message, kind string) {
		answer(status, map[string]string{"message": message, "status": kind})
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/sub")
	switch {
	case !ok:
		http.Error(w, "<html>404", http.StatusNotFound)
		return
	case r.Header.Get("Authorization") != "Bearer "+g.token:
		say(http.StatusUnauthorized, "Invalid API key", "")
		return
	case r.Method != http.MethodGet && g.role != "Editor":
		say(http.StatusForbidden, "You'll need additional permissions to perform this action. Permissions needed: dashboards:write", "")
		return
	}
	var body struct {
		UID, Title string
		Dashboard  map[string]any
		FolderUID  string
		Overwrite  bool
		Message    string
	}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Content-Type") != "application/json" {
			say(http.StatusBadRequest, "bad request data", "")
			return
		}
	}
	dashboard, one := strings.CutPrefix(path, "/api/dashboards/uid/")
	folder, aFolder := strings.CutPrefix(path, "/api/folders/")
	switch {
	case r.Method == http.MethodGet && aFolder:
		if title, ok := g.folders[folder]; ok {
			answer(http.StatusOK, map[string]any{"uid": folder, "title": title})
			return
		}
		say(http.StatusNotFound, "folder not found", "not-found")
	case r.Method == http.MethodPost && path == "/api/folders":
		g.writes = append(g.writes, "folder "+body.UID)
		if _, ok := g.folders[body.UID]; ok {
			say(http.StatusPreconditionFailed, "the folder has been changed by someone else", "version-mismatch")
			return
		}
		g.folders[body.UID] = body.Title
		answer(http.StatusOK, map[string]any{"uid": body.UID, "title": body.Title})
	case r.Method == http.MethodGet && one:
		d := g.dashboards[dashboard]
		if d == nil {
			say(http.StatusNotFound, "Dashboard not found", "not-found")
			return
		}
		model := maps.Clone(d.model)
		model["id"], model["version"] = 42, d.version
		answer(http.StatusOK, map[string]any{"dashboard": model, "meta": map[string]any{
			"version": d.version, "folderUid": d.folder, "updatedBy": d.by, "provisioned": d.provisioned, "provisionedExternalId": "slowburn.json",
		}})
	case r.Method == http.MethodPost && path == "/api/dashboards/db":
		uid := fmt.Sprint(body.Dashboard["uid"])
		g.writes = append(g.writes, "dashboard "+uid)
		for other, d := range g.dashboards {
			if other != uid && d.folder == body.FolderUID && d.model["title"] == body.Dashboard["title"] {
				say(http.StatusPreconditionFailed, "A dashboard with the same name in the folder already exists", "name-exists")
				return
			}
		}
		d := g.dashboards[uid]
		if d == nil {
			d = &saved{}
			g.dashboards[uid] = d
		} else if fmt.Sprint(body.Dashboard["version"]) != fmt.Sprint(d.version) && !body.Overwrite {
			say(http.StatusPreconditionFailed, "The dashboard has been changed by someone else", "version-mismatch")
			return
		}
		if _, ok := g.folders[body.FolderUID]; !ok {
			say(http.StatusBadRequest, "folder not found", "")
			return
		}
		delete(body.Dashboard, "id")
		d.model, d.folder, d.by = body.Dashboard, body.FolderUID, "sa-slowburn"
		d.version++
		answer(http.StatusOK, map[string]any{"uid": uid, "status": "success", "version": d.version})
	case r.Method == http.MethodDelete && one:
		g.writes = append(g.writes, "delete "+dashboard)
		if g.dashboards[dashboard] == nil {
			say(http.StatusNotFound, "Dashboard not found", "")
			return
		}
		delete(g.dashboards, dashboard)
		answer(http.StatusOK, map[string]string{"message": "deleted"})
	case path == "/api/search":
		hits := []hit{}
		for uid, d := range g.dashboards {
			tags, _ := d.model["tags"].([]any)
			if d.folder == r.URL.Query().Get("folderUIDs") && slices.Contains(tags, any(r.URL.Query().Get("tag"))) {
				hits = append(hits, hit{uid, fmt.Sprint(d.model["title"])})
			}
		}
		answer(http.StatusOK, hits)
	default:
		say(http.StatusNotFound, "Not found", "")
	}
}

func board(uid, title string, panels int) Dashboard {
	model := map[string]any{
		"uid": uid, "title": title, "tags": []string{Tag}, "schemaVersion": 42,
		"panels": slices.Repeat([]any{map[string]any{"type": "stat", "max": 1e3, "none": nil}}, panels),
	}
	text, err := json.Marshal(model)
	if err != nil {
		panic(err)
	}
	return Dashboard{UID: uid, Title: title, JSON: text}
}

func client(g *grafana) *Client {
	return &Client{
		URL:   &url.URL{Scheme: "http", Host: "grafana.example", Path: "/sub"},
		Token: func() (string, error) { return "secret", nil },
		HTTP:  &http.Client{Transport: g},
	}
}

// say writes changes as a line a change, of those that are one.
func say(changes []Change) string {
	var out []string
	for _, c := range changes {
		s := c.What + " " + c.UID + " " + c.Verb
		if c.Was != "" {
			s += " over " + c.Was
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

var folder = Folder{UID: "slowburn", Title: "slowburn"}

func TestSync(t *testing.T) {
	g := newGrafana()
	c := client(g)
	a, b := board("a", "Flows", 1), board("b", "Checkout", 2)
	for _, step := range []struct {
		name       string
		before     func()
		dashboards []Dashboard
		options    Options
		want       string
		writes     string
	}{
		{
			name: "a dry run", dashboards: []Dashboard{a, b}, options: Options{DryRun: true},
			want: "folder slowburn added; dashboard a added; dashboard b added",
		},
		{
			name: "first", dashboards: []Dashboard{a, b},
			want: "folder slowburn added; dashboard a added; dashboard b added", writes: "folder slowburn, dashboard a, dashboard b",
		},
		{name: "again", dashboards: []Dashboard{a, b}, want: "dashboard a unchanged; dashboard b unchanged"},
		{
			name: "one changed", dashboards: []Dashboard{a, board("b", "Checkout", 3)},
			want: "dashboard a unchanged; dashboard b changed over sa-slowburn", writes: "dashboard b",
		},
		{
			name: "edited by hand", before: func() {
				g.dashboards["a"].model["title"], g.dashboards["a"].by = "Mine", "ann"
				g.dashboards["a"].version++
			},
			dashboards: []Dashboard{a}, options: Options{DryRun: true}, want: "dashboard a changed over ann; dashboard b stale",
		},
		{name: "put back", dashboards: []Dashboard{a}, want: "dashboard a changed over ann; dashboard b stale", writes: "dashboard a"},
		{
			name: "moved away", before: func() { g.dashboards["a"].folder = "" }, dashboards: []Dashboard{a},
			want: "dashboard a changed over sa-slowburn; dashboard b stale", writes: "dashboard a",
		},
		{
			name: "a title people gave the folder", before: func() { g.folders["slowburn"] = "Promises" }, dashboards: []Dashboard{a},
			want: "dashboard a unchanged; dashboard b stale",
		},
		{
			name: "somebody's own in the folder is left alone", before: func() {
				g.dashboards["x"] = &saved{model: map[string]any{"uid": "x", "title": "X"}, folder: "slowburn", version: 1}
			}, dashboards: []Dashboard{a}, options: Options{Prune: true},
			want: "dashboard a unchanged; dashboard b deleted", writes: "delete b",
		},
	} {
		if step.before != nil {
			step.before()
		}
		g.writes = nil
		done, err := c.Sync(t.Context(), folder, step.dashboards, step.options)
		if got := say(done); got != step.want || err != nil {
			t.Errorf("%s: Sync = %s, %v, want %s", step.name, got, err, step.want)
		}
		if got := strings.Join(g.writes, ", "); got != step.writes {
			t.Errorf("%s: Sync wrote %s, want %s", step.name, got, step.writes)
		}
	}
	if g.dashboards["x"] == nil || g.folders["slowburn"] != "Promises" {
		t.Errorf("what others made: dashboards %v in folders %v, want x in Promises", g.dashboards, g.folders)
	}
	if n := len(g.dashboards); n != 2 {
		t.Errorf("there are %d dashboards, want 2", n)
	}
}

// TestFaults holds what goes wrong on the way: nothing is written unless all
// could be read, what may pass is tried again, and what was done is told.
func TestFaults(t *testing.T) {
	a, b := board("a", "Flows", 1), board("b", "Checkout", 2)
	first := func(n int, status, wait int) func(*http.Request) (int, int) {
		return func(*http.Request) (int, int) {
			if n--; n >= 0 {
				return status, wait
			}
			return 0, 0
		}
	}
	for _, tc := range []struct {
		name    string
		grafana func(g *grafana)
		client  func(c *Client)
		want    string // of what was done
		err     string // contained in the error; "" is none
		takes   time.Duration
		writes  int
	}{
		{
			name: "wrong token", grafana: func(g *grafana) { g.token = "other" },
			err: `folder "slowburn": GET http://grafana.example/sub/api/folders/slowburn: 401 Unauthorized: Invalid API key; want the token of a service account`,
		},
		{
			name: "a token that may only read", grafana: func(g *grafana) { g.role = "Viewer" },
			err: "want a token whose account may edit dashboards and make folders (role Editor)",
		},
		{
			name: "no token can be read", client: func(c *Client) { c.Token = func() (string, error) { return "", errors.New("no such file") } },
			err: "token: no such file",
		},
		{name: "another address", client: func(c *Client) { c.URL.Path = "" }, err: "want the address of a Grafana"},
		{
			name: "busy", grafana: func(g *grafana) { g.meddle = first(2, http.StatusTooManyRequests, 7) },
			want: "folder slowburn added; dashboard a added; dashboard b added", takes: 14 * time.Second, writes: 3,
		},
		{
			name: "restarts", grafana: func(g *grafana) { g.meddle = first(3, http.StatusBadGateway, 0) },
			want: "folder slowburn added; dashboard a added; dashboard b added", takes: 7 * time.Second, writes: 3,
		},
		{
			name: "busy for good", grafana: func(g *grafana) { g.meddle = first(100, http.StatusTooManyRequests, 3600) },
			err: "429 Too Many Requests", takes: 6 * time.Minute,
		},
		{
			name: "cut before anything", grafana: func(g *grafana) { g.meddle = first(100, cut, 0) },
			err: "connection reset by peer", takes: 63 * time.Second,
		},
		{name: "cut while the second is read", grafana: func(g *grafana) {
			g.meddle = func(r *http.Request) (int, int) {
				if strings.HasSuffix(r.URL.Path, "/uid/b") {
					return cut, 0
				}
				return 0, 0
			}
		}, err: `dashboard "Checkout": Get "http://grafana.example/sub/api/dashboards/uid/b": connection reset by peer`, takes: 63 * time.Second},
		{name: "cut for good amid writing", grafana: func(g *grafana) {
			g.meddle = func(r *http.Request) (int, int) {
				if len(g.writes) == 2 {
					return cut, 0
				}
				return 0, 0
			}
		}, want: "folder slowburn added; dashboard a added", err: `dashboard "Checkout"`, takes: 63 * time.Second, writes: 2},
		{name: "the answer to a save is lost", grafana: func(g *grafana) {
			lost := map[string]bool{}
			g.after = func(r *http.Request) bool {
				if r.Method == http.MethodPost && !lost[r.URL.Path] {
					lost[r.URL.Path] = true
					return true
				}
				return false
			}
		}, want: "folder slowburn added; dashboard a added; dashboard b added", takes: 2 * time.Second, writes: 5},
		{name: "somebody saves at the same time", grafana: func(g *grafana) {
			g.folders["slowburn"] = "slowburn"
			g.dashboards["a"] = &saved{model: map[string]any{"uid": "a", "title": "old"}, folder: "slowburn", version: 3}
			once := true
			g.meddle = func(r *http.Request) (int, int) {
				if r.Method == http.MethodPost && once {
					once = false
					g.dashboards["a"].version++
				}
				return 0, 0
			}
		}, want: "dashboard a changed; dashboard b added", writes: 3},
		{name: "somebody keeps saving", grafana: func(g *grafana) {
			g.folders["slowburn"] = "slowburn"
			g.dashboards["a"] = &saved{model: map[string]any{"uid": "a", "title": "old"}, folder: "slowburn", version: 3}
			g.meddle = func(r *http.Request) (int, int) {
				if r.Method == http.MethodPost {
					g.dashboards["a"].version++
				}
				return 0, 0
			}
		}, err: "somebody else keeps saving it", writes: tries},
		{name: "the name is taken", grafana: func(g *grafana) {
			g.folders["slowburn"] = "slowburn"
			g.dashboards["x"] = &saved{model: map[string]any{"uid": "x", "title": "Flows"}, folder: "slowburn", version: 1}
		}, err: "412 Precondition Failed: A dashboard with the same name in the folder already exists", writes: 1},
		{name: "provisioned from a file", grafana: func(g *grafana) {
			g.dashboards["b"] = &saved{model: map[string]any{"uid": "b", "title": "B"}, version: 1, provisioned: true}
		}, err: "it is provisioned from the file slowburn.json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGrafana()
				c := client(g)
				if tc.grafana != nil {
					tc.grafana(g)
				}
				if tc.client != nil {
					tc.client(c)
				}
				start := time.Now()
				done, err := c.Sync(t.Context(), folder, []Dashboard{a, b}, Options{})
				if got := say(done); got != tc.want {
					t.Errorf("Sync did %q, want %q", got, tc.want)
				}
				if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
					t.Errorf("Sync = %v, want %q", err, tc.err)
				}
				if got := time.Since(start); got != tc.takes {
					t.Errorf("Sync took %s, want %s", got, tc.takes)
				}
				if len(g.writes) != tc.writes {
					t.Errorf("Sync wrote %v, want %d writes", g.writes, tc.writes)
				}
				// What was left undone, the next Sync does, whatever went wrong,
				// unless others stand in the way.
				g.meddle, g.after, g.token, g.role = nil, nil, "secret", "Editor"
				delete(g.dashboards, "x")
				if d := g.dashboards["b"]; d != nil && d.provisioned {
					delete(g.dashboards, "b")
				}
				if _, err := client(g).Sync(t.Context(), folder, []Dashboard{a, b}, Options{}); err != nil {
					t.Fatal(err)
				}
				again, err := client(g).Sync(t.Context(), folder, []Dashboard{a, b}, Options{})
				if want := "dashboard a unchanged; dashboard b unchanged"; say(again) != want || err != nil {
					t.Errorf("Sync at last = %s, %v, want %s", say(again), err, want)
				}
			})
		})
	}
}

func TestSyncEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGrafana()
		g.meddle = func(*http.Request) (int, int) { return http.StatusServiceUnavailable, 60 }
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := client(g).Sync(ctx, folder, nil, Options{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 90*time.Second {
			t.Errorf("Sync = %v after %s, want the context's error after 90s", err, time.Since(start))
		}
	})
}

func TestSomethingElse(t *testing.T) {
	for name, body := range map[string]string{"HTML": "<html>hello", "a uid that differs": `{"uid":"z"}`} {
		page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
		defer page.Close()
		u, err := url.Parse(page.URL)
		if err != nil {
			t.Fatal(err)
		}
		d := board("a", "A", 1)
		if name != "HTML" {
			d.JSON = []byte(body)
		}
		_, err = (&Client{URL: u, HTTP: page.Client()}).Sync(t.Context(), folder, []Dashboard{d}, Options{})
		if err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%s: Sync = %v, want an error that says what is wanted", name, err)
		}
	}
}
