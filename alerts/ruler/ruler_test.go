package ruler

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"
)

// fake behaves as Mimir's documented configuration API: groups are posted one
// by one as YAML, read back as a map from namespace to groups, and deleted by
// name.
type fake struct {
	mu     sync.Mutex
	rules  map[string]map[string]rulefmt.RuleGroup
	calls  []string
	tenant string
	fail   int // status of the next write, if any
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tenant = r.Header.Get("X-Scope-OrgID")
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/prometheus/config/v1/rules/")
	if !ok {
		http.Error(w, "no such page", http.StatusNotFound)
		return
	}
	namespace, group, _ := strings.Cut(rest, "/")
	namespace, _ = url.PathUnescape(namespace)
	group, _ = url.PathUnescape(group)
	if r.Method != http.MethodGet {
		f.calls = append(f.calls, r.Method+" "+namespace+" "+group)
		if f.fail > 0 {
			http.Error(w, "group is too large\nand more", f.fail)
			f.fail = 0
			return
		}
	}
	switch r.Method {
	case http.MethodGet:
		if len(f.rules[namespace]) == 0 {
			http.Error(w, "no rule groups found", http.StatusNotFound)
			return
		}
		var groups []rulefmt.RuleGroup
		for _, g := range f.rules[namespace] {
			groups = append(groups, g)
		}
		yaml.NewEncoder(w).Encode(map[string][]rulefmt.RuleGroup{namespace: groups})
	case http.MethodPost:
		body, _ := io.ReadAll(r.Body)
		var g rulefmt.RuleGroup
		if err := yaml.Unmarshal(body, &g); err != nil || g.Name == "" || r.Header.Get("Content-Type") != "application/yaml" {
			http.Error(w, "unable to decode rule group", http.StatusBadRequest)
			return
		}
		if f.rules[namespace] == nil {
			f.rules[namespace] = map[string]rulefmt.RuleGroup{}
		}
		f.rules[namespace][g.Name] = g
		w.WriteHeader(http.StatusAccepted)
	case http.MethodDelete:
		delete(f.rules[namespace], group)
		w.WriteHeader(http.StatusAccepted)
	}
}

func group(name, expr string) rulefmt.RuleGroup {
	return rulefmt.RuleGroup{Name: name, Interval: model.Duration(time.Minute), Rules: []rulefmt.Rule{{Record: "a:b", Expr: expr, Labels: map[string]string{"x": "y"}}}}
}

func TestSync(t *testing.T) {
	f := &fake{rules: map[string]map[string]rulefmt.RuleGroup{"other": {"theirs": group("theirs", "1")}}}
	server := httptest.NewServer(f)
	defer server.Close()
	prefix, err := url.Parse(server.URL + "/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{URL: prefix, Header: http.Header{"X-Scope-Orgid": {"team"}}}
	for _, step := range []struct {
		name   string
		fail   int
		groups []rulefmt.RuleGroup
		want   string // what Sync says it did, or its error
		calls  string
	}{
		{"first", 0, []rulefmt.RuleGroup{group("a", "1"), group("shop/b c", "2")}, "[{a added} {shop/b c added}]", "[POST my shop  POST my shop ]"},
		{"again", 0, []rulefmt.RuleGroup{group("a", "1"), group("shop/b c", "2")}, "[]", "[]"},
		{"changed", 0, []rulefmt.RuleGroup{group("a", "3"), group("shop/b c", "2")}, "[{a changed}]", "[POST my shop ]"},
		{"refused", 400, []rulefmt.RuleGroup{group("a", "4"), group("n", "5")}, "400 Bad Request: group is too large; want 2xx", "[POST my shop ]"},
		{"one is gone", 0, []rulefmt.RuleGroup{group("a", "3")}, "[{shop/b c deleted}]", "[DELETE my shop shop/b c]"},
		{"all are gone", 0, nil, "[{a deleted}]", "[DELETE my shop a]"},
	} {
		f.calls, f.fail = nil, step.fail
		done, err := c.Sync(t.Context(), "my shop", step.groups)
		got := fmt.Sprint(done)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, step.want) {
			t.Errorf("%s: Sync = %s, want %s", step.name, got, step.want)
		}
		if calls := fmt.Sprint(f.calls); calls != step.calls {
			t.Errorf("%s: Sync wrote %s, want %s", step.name, calls, step.calls)
		}
	}
	if len(f.rules["other"]) != 1 {
		t.Errorf("another namespace holds %v, want it left alone", f.rules["other"])
	}
	if f.tenant != "team" {
		t.Errorf("X-Scope-OrgID = %q, want team", f.tenant)
	}
}

func TestSyncOfSomethingElse(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html><body>- hello</body></html>")
	}))
	defer server.Close()
	prefix, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&Client{URL: prefix}).Sync(t.Context(), "a", []rulefmt.RuleGroup{group("a", "1")})
	if err == nil || !strings.Contains(err.Error(), "want the prefix of a Mimir or Cortex ruler") {
		t.Errorf("Sync with a page of HTML = %v, want an error that says what is wanted", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Client{URL: prefix}).Sync(ctx, "a", nil); err == nil {
		t.Error("Sync with an ended context = nil, want its error")
	}
}
