// Package push keeps the dashboards of a Grafana in step with generated ones,
// over its HTTP API.
package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

const (
	// timeout bounds one request; a Grafana answers in milliseconds.
	timeout = 30 * time.Second

	// tries is how often a request is sent that Grafana was too busy for, or
	// that the network lost: over about a minute, longer than a restart.
	tries = 7

	// firstWait is doubled from try to try, where Grafana does not say how long
	// to wait; longestWait is what it may say.
	firstWait   = time.Second
	longestWait = time.Minute

	// maxAnswer bounds what is read of an answer: a dashboard of 1,000 panels
	// has 3 MB.
	maxAnswer = 32 << 20

	// found is how many dashboards a search returns at most: Grafana's limit.
	found = 5000
)

// Tag marks the dashboards that are ours: what Sync finds in the folder with
// this tag, and was not given, is no longer generated.
const Tag = "slowburn"

// Client speaks to a Grafana. It may be used from several goroutines.
type Client struct {
	// URL is where Grafana is reached, e.g. https://grafana.example/sub.
	URL *url.URL

	// Token returns the token of a service account, read anew for each request
	// so that it can be replaced. Nil: none.
	Token func() (string, error)

	HTTP *http.Client // nil: http.DefaultClient
}

// Folder is where the dashboards are. One that exists keeps the title that
// people gave it.
type Folder struct{ UID, Title string }

// Dashboard is one to be there.
type Dashboard struct {
	UID   string
	Title string
	JSON  []byte // Grafana's classic model; its id and version are not read
}

// Options say how far Sync goes.
type Options struct {
	DryRun  bool   // change nothing, say what would change
	Prune   bool   // delete dashboards of the folder that are ours and were not given
	Message string // in the version history of what is saved
}

// Change is what Sync did, or would do.
type Change struct {
	What  string // "folder" or "dashboard"
	Title string
	UID   string
	Verb  string // "added", "changed", "unchanged", "deleted", or "stale": no longer generated, and left alone
	Was   string // of one that was changed: who saved it last, as Grafana tells
}

// Sync makes the folder hold the dashboards: it saves those that are new or
// differ, and leaves the others alone, so that doing it again does nothing. It
// reads everything before it writes anything, sends again what Grafana was too
// busy for, and never overwrites a version that it has not read.
//
// When it returns an error, what it says it did has been done, each dashboard
// wholly or not at all; Sync again does the rest.
func (c *Client) Sync(ctx context.Context, folder Folder, dashboards []Dashboard, o Options) ([]Change, error) {
	exists, err := c.has(ctx, folder)
	if err != nil {
		return nil, err
	}
	plan := make([]step, len(dashboards))
	for i, d := range dashboards {
		if plan[i], err = c.look(ctx, folder, d, exists); err != nil {
			return nil, fmt.Errorf("dashboard %q: %w", d.Title, err)
		}
	}
	var stale []hit
	if exists {
		if stale, err = c.stale(ctx, folder, dashboards); err != nil {
			return nil, err
		}
	}

	var done []Change
	if !exists {
		if !o.DryRun {
			if err := c.add(ctx, folder); err != nil {
				return nil, err
			}
		}
		done = append(done, Change{What: "folder", Title: folder.Title, UID: folder.UID, Verb: "added"})
	}
	for i, d := range dashboards {
		if plan[i].verb != "unchanged" && !o.DryRun {
			if err := c.save(ctx, folder, d, &plan[i], o.Message); err != nil {
				return done, fmt.Errorf("dashboard %q: %w", d.Title, err)
			}
		}
		done = append(done, Change{What: "dashboard", Title: d.Title, UID: d.UID, Verb: plan[i].verb, Was: plan[i].was})
	}
	for _, s := range stale {
		verb := "stale"
		if o.Prune {
			verb = "deleted"
			if !o.DryRun {
				err := c.do(ctx, http.MethodDelete, "/api/dashboards/uid/"+url.PathEscape(s.UID), nil, nil)
				if err != nil && !is(err, http.StatusNotFound) {
					return done, fmt.Errorf("dashboard %q: %w", s.Title, err)
				}
			}
		}
		done = append(done, Change{What: "dashboard", Title: s.Title, UID: s.UID, Verb: verb})
	}
	return done, nil
}

func (c *Client) has(ctx context.Context, f Folder) (bool, error) {
	err := c.do(ctx, http.MethodGet, "/api/folders/"+url.PathEscape(f.UID), nil, nil)
	if is(err, http.StatusNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("folder %q: %w", f.Title, err)
	}
	return true, nil
}

// add makes the folder. Somebody else may do so at the same time.
func (c *Client) add(ctx context.Context, f Folder) error {
	err := c.do(ctx, http.MethodPost, "/api/folders", map[string]string{"uid": f.UID, "title": f.Title}, nil)
	if is(err, http.StatusConflict) || is(err, http.StatusPreconditionFailed) {
		there, again := c.has(ctx, f)
		if again != nil {
			return again
		}
		if there {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("folder %q: %w", f.Title, err)
	}
	return nil
}

// step is what is to be done to one dashboard.
type step struct {
	verb    string
	was     string
	model   map[string]any // as it is to be
	version int            // that was read; 0: there is none
}

// look compares a dashboard with the one that is there.
func (c *Client) look(ctx context.Context, f Folder, d Dashboard, folderExists bool) (step, error) {
	s := step{verb: "added"}
	if err := decode(d.JSON, &s.model); err != nil {
		return s, fmt.Errorf("its JSON: %w", err)
	}
	if uid, _ := s.model["uid"].(string); uid != d.UID {
		return s, fmt.Errorf("its JSON has the uid %q; want %q", uid, d.UID)
	}
	var there struct {
		Dashboard map[string]any `json:"dashboard"`
		Meta      struct {
			Version       int    `json:"version"`
			FolderUID     string `json:"folderUid"`
			UpdatedBy     string `json:"updatedBy"`
			Provisioned   bool   `json:"provisioned"`
			ProvisionedBy string `json:"provisionedExternalId"`
		} `json:"meta"`
	}
	err := c.do(ctx, http.MethodGet, "/api/dashboards/uid/"+url.PathEscape(d.UID), nil, &there)
	if is(err, http.StatusNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if there.Meta.Provisioned {
		return s, fmt.Errorf("it is provisioned from the file %s; want that changed (slowburn generate --to grafana), or taken away", there.Meta.ProvisionedBy)
	}
	s.version = there.Meta.Version
	if n, ok := there.Dashboard["version"].(json.Number); ok {
		if v, err := n.Int64(); err == nil {
			s.version = int(v)
		}
	}
	if folderExists && there.Meta.FolderUID == f.UID && same(there.Dashboard, s.model) {
		s.verb = "unchanged"
		return s, nil
	}
	s.verb, s.was = "changed", there.Meta.UpdatedBy
	return s, nil
}

// save saves a dashboard over the version that was read. When somebody else
// saved meanwhile, or the answer to our own save was lost, it looks again.
func (c *Client) save(ctx context.Context, f Folder, d Dashboard, s *step, message string) error {
	for range tries {
		s.model["id"], s.model["version"] = nil, s.version
		err := c.do(ctx, http.MethodPost, "/api/dashboards/db", map[string]any{
			"dashboard": s.model, "folderUid": f.UID, "message": message, "overwrite": false,
		}, nil)
		e, ok := errors.AsType[*answerError](err)
		if !ok || e.code != http.StatusPreconditionFailed || e.status != "version-mismatch" {
			return err // nil, most of the time
		}
		now, err := c.look(ctx, f, d, true)
		if err != nil {
			return err
		}
		if now.verb == "unchanged" { // ours arrived
			return nil
		}
		s.model, s.version, s.was = now.model, now.version, now.was
	}
	return fmt.Errorf("somebody else keeps saving it; want to be the only one, or to try again later")
}

// hit is what a search finds.
type hit struct {
	UID   string `json:"uid"`
	Title string `json:"title"`
}

// stale returns the dashboards in the folder that are ours and not among those
// given.
func (c *Client) stale(ctx context.Context, f Folder, dashboards []Dashboard) ([]hit, error) {
	q := url.Values{"type": {"dash-db"}, "tag": {Tag}, "folderUIDs": {f.UID}, "limit": {strconv.Itoa(found)}}
	var hits []hit
	if err := c.do(ctx, http.MethodGet, "/api/search?"+q.Encode(), nil, &hits); err != nil {
		return nil, fmt.Errorf("folder %q: %w", f.Title, err)
	}
	given := map[string]bool{}
	for _, d := range dashboards {
		given[d.UID] = true
	}
	var out []hit
	for _, h := range hits {
		if !given[h.UID] {
			out = append(out, h)
		}
	}
	return out, nil
}

// same reports whether two models are equal but for what Grafana sets.
func same(a, b map[string]any) bool {
	return reflect.DeepEqual(bare(a, true), bare(b, true))
}

// bare returns a JSON value without keys that have no value, and a model without
// its number and version.
func bare(v any, top bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if e != nil && !(top && (k == "id" || k == "version")) {
				out[k] = bare(e, false)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = bare(e, false)
		}
		return out
	case json.Number:
		f, err := v.Float64() // Grafana may write 1e3 for 1000
		if err != nil {
			return v
		}
		return f
	}
	return v
}

// decode reads JSON with its numbers as they are written.
func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// answerError is an answer that is no success.
type answerError struct {
	method, url string
	code        int
	text        string // of the first line of the answer
	status      string // Grafana's word for the kind of conflict
	wait        time.Duration
}

func (e *answerError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.method, e.url, e.code, http.StatusText(e.code))
	if e.text != "" {
		s += ": " + e.text
	}
	switch e.code {
	case http.StatusUnauthorized:
		return s + "; want the token of a service account"
	case http.StatusNotFound:
		return s + "; want the address of a Grafana"
	case http.StatusForbidden:
		return s + "; want a token whose account may edit dashboards and make folders (role Editor)"
	}
	return s
}

func is(err error, code int) bool {
	e, ok := errors.AsType[*answerError](err)
	return ok && e.code == code
}

// do sends a request, again while Grafana is busy or cannot be reached, and
// reads its answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, body, out any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	wait := firstWait
	for try := 1; ; try++ {
		answer, err := c.once(ctx, method, path, text)
		if err == nil {
			if out == nil {
				return nil
			}
			if err := decode(answer, out); err != nil {
				return fmt.Errorf("%s answers with what Grafana would not: %w; want the address of a Grafana", c.URL.Redacted(), err)
			}
			return nil
		}
		e, answered := errors.AsType[*answerError](err)
		if try == tries || ctx.Err() != nil || errors.Is(err, errSecret) || answered && !passes(e.code) {
			return err
		}
		pause := wait
		if answered && e.wait > 0 {
			pause = min(e.wait, longestWait)
		}
		wait *= 2
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// passes reports whether the same request may succeed later.
func passes(code int) bool {
	switch code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

var errSecret = errors.New("token")

func (c *Client) once(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	path, query, _ := strings.Cut(path, "?")
	target := c.URL.JoinPath(path)
	target.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if c.Token != nil {
		token, err := c.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errSecret, err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
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
	if resp.StatusCode/100 == 2 {
		return answer, err
	}
	e := &answerError{method: method, url: target.Redacted(), code: resp.StatusCode}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.wait = time.Duration(min(seconds, 3600)) * time.Second
	}
	var said struct{ Message, Status string }
	if json.Unmarshal(answer, &said) == nil {
		e.text, e.status = said.Message, said.Status
	} else {
		e.text, _, _ = strings.Cut(strings.TrimSpace(string(answer)), "\n")
	}
	e.text = fmt.Sprintf("%.200s", e.text)
	return nil, e
}
