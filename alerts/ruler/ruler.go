// Package ruler keeps the rules of a Mimir, Cortex or Grafana Cloud ruler in
// step with generated ones, over its configuration API.
package ruler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"
)

const (
	// timeout bounds one request; a ruler answers in milliseconds.
	timeout = 30 * time.Second

	// maxAnswer bounds what is read of an answer: 10,000 SLOs have about 40 MB
	// of rules.
	maxAnswer = 64 << 20
)

// Client speaks to a ruler. It may be used from several goroutines.
type Client struct {
	// URL is the ruler's prefix, e.g. http://mimir:8080/prometheus.
	URL *url.URL

	// Header is sent with every request: X-Scope-OrgID, Authorization.
	Header http.Header

	HTTP *http.Client // nil: http.DefaultClient
}

// Change is what Sync did to one group.
type Change struct {
	Group string
	Verb  string // "added", "changed" or "deleted"
}

// Sync makes a namespace hold exactly the groups: it sends those that are new
// or differ, deletes the others, and returns what it did, in the order of the
// groups. Groups that are equal are left alone, so that doing it again does
// nothing. When it returns an error, what it says it did has been done.
//
// An empty list of groups empties the namespace.
func (c *Client) Sync(ctx context.Context, namespace string, groups []rulefmt.RuleGroup) ([]Change, error) {
	there, err := c.groups(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var done []Change
	wanted := make(map[string]bool, len(groups))
	for _, g := range groups {
		wanted[g.Name] = true
		text, err := yaml.Marshal(g)
		if err != nil {
			return done, err
		}
		before, exists := there[g.Name]
		if exists && bytes.Equal(before, text) {
			continue
		}
		if _, err := c.do(ctx, http.MethodPost, []string{namespace}, text); err != nil {
			return done, fmt.Errorf("group %s: %w", g.Name, err)
		}
		verb := "added"
		if exists {
			verb = "changed"
		}
		done = append(done, Change{g.Name, verb})
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if wanted[name] {
			continue
		}
		if _, err := c.do(ctx, http.MethodDelete, []string{namespace, name}, nil); err != nil {
			return done, fmt.Errorf("group %s: %w", name, err)
		}
		done = append(done, Change{name, "deleted"})
	}
	return done, nil
}

// groups returns the groups of a namespace by name, each as we would write it.
func (c *Client) groups(ctx context.Context, namespace string) (map[string][]byte, error) {
	answer, err := c.do(ctx, http.MethodGet, []string{namespace}, nil)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var namespaces map[string][]rulefmt.RuleGroup
	if err := yaml.Unmarshal(answer, &namespaces); err != nil {
		return nil, fmt.Errorf("%s answers with what is no list of rule groups; want the prefix of a Mimir or Cortex ruler: %w", c.URL.Redacted(), err)
	}
	out := map[string][]byte{}
	for _, g := range namespaces[namespace] {
		if out[g.Name], err = yaml.Marshal(g); err != nil {
			return nil, err
		}
	}
	return out, nil
}

var errNotFound = errors.New("not found")

// do sends a request to the path below config/v1/rules.
func (c *Client) do(ctx context.Context, method string, path []string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	target := c.URL.JoinPath("config/v1/rules")
	for _, p := range path {
		target = target.JoinPath(url.PathEscape(p))
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range c.Header {
		req.Header[k] = v
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/yaml")
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound && method == http.MethodGet:
		return nil, errNotFound
	case resp.StatusCode/100 != 2:
		first, _, _ := strings.Cut(strings.TrimSpace(string(answer)), "\n")
		return nil, fmt.Errorf("%s %s: %s: %.200s; want 2xx", method, target.Redacted(), resp.Status, first)
	}
	return answer, nil
}
