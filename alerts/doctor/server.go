package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/slo"
)

const (
	// queryTimeout ends one query, on the server too. What takes longer hurts a
	// server that may be in trouble already.
	queryTimeout = 10 * time.Second

	// maxAnswer is how much of an answer is read: the names of half a million
	// metrics, or 50,000 rules.
	maxAnswer = 64 << 20
)

// server is a Prometheus elsewhere. What was asked once is remembered.
type server struct {
	url     string // as it may be printed
	client  api.Client
	api     v1.API
	version string // empty where the server does not say
	now     time.Time

	mu     sync.Mutex
	asked  int
	known  map[string]*answer
	failed []failure
}

// answer is of a question that is asked once, whoever wants to know.
type answer struct {
	once   sync.Once
	vector model.Vector
	names  []string
	err    error
}

// failure is a question without an answer.
type failure struct {
	question string
	err      error
}

func connect(o Options) (*server, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("not the address of a server; want one such as http://prometheus:9090")
	}
	// A token or password never follows a redirect to somebody else.
	c := config.HTTPClientConfig{EnableHTTP2: true, FollowRedirects: false}
	if o.TokenFile != "" {
		c.Authorization = &config.Authorization{Type: "Bearer", CredentialsFile: o.TokenFile}
	}
	client, err := config.NewClientFromConfig(c, "slowburn", config.WithUserAgent("slowburn-doctor"))
	if err != nil {
		return nil, err
	}
	client.Transport = limited{client.Transport}
	s := &server{url: strings.TrimRight(u.Redacted(), "/"), known: map[string]*answer{}}
	if s.client, err = api.NewClient(api.Config{Address: o.URL, Client: client}); err != nil {
		return nil, err
	}
	s.api = v1.NewAPI(s.client)
	return s, nil
}

func (s *server) close() { s.client.(api.CloseIdler).CloseIdleConnections() }

// greet asks what time it is there and which version answers.
func (s *server) greet(ctx context.Context) error {
	v, err := s.query(ctx, "time()")
	if err != nil {
		return fmt.Errorf("%s does not answer as Prometheus does: %w", s.url, err)
	}
	if len(v) == 1 {
		s.now = time.UnixMilli(int64(float64(v[0].Value) * 1000)).UTC()
	}
	s.count()
	if info, err := s.api.Buildinfo(ctx); err == nil {
		s.version = info.Version
	}
	return nil
}

// major returns the first number of the server's version, or 0.
func (s *server) major() int {
	first, _, _ := strings.Cut(s.version, ".")
	n, _ := strconv.Atoi(first)
	return n
}

func (s *server) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
}

// once returns the answer to a question, asking it if nobody has.
func (s *server) once(question string, ask func(*answer)) *answer {
	s.mu.Lock()
	a := s.known[question]
	if a == nil {
		a = &answer{}
		s.known[question] = a
	}
	s.mu.Unlock()
	a.once.Do(func() {
		s.count()
		ask(a)
	})
	return a
}

// query answers an instant query that gives numbers.
func (s *server) query(ctx context.Context, expr string) (model.Vector, error) {
	a := s.once("query "+expr, func(a *answer) {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		var v model.Value
		if v, _, a.err = s.api.Query(ctx, expr, time.Time{}, v1.WithTimeout(queryTimeout)); a.err != nil {
			a.err = plain(a.err)
			return
		}
		switch v := v.(type) {
		case model.Vector:
			a.vector = v
		case *model.Scalar:
			a.vector = model.Vector{{Value: v.Value, Timestamp: v.Timestamp}}
		default:
			a.err = fmt.Errorf("the answer is a %s; want numbers", v.Type())
		}
	})
	return a.vector, a.err
}

// vector answers a query of our own. ok is false where it has no answer, which
// is then among those that unanswered tells of.
func (s *server) vector(ctx context.Context, expr string) (v model.Vector, ok bool) {
	v, err := s.query(ctx, expr)
	if err != nil {
		s.fail(expr, err)
	}
	return v, err == nil
}

// number answers a query of our own that gives one number or nothing.
func (s *server) number(ctx context.Context, expr string) (n float64, found, ok bool) {
	v, ok := s.vector(ctx, expr)
	if !ok || len(v) == 0 {
		return 0, false, ok
	}
	return float64(v[0].Value), true, true
}

// byLabel answers a query of our own by the value of one label.
func (s *server) byLabel(ctx context.Context, label, expr string) map[string]float64 {
	out := map[string]float64{}
	v, _ := s.vector(ctx, expr)
	for _, sample := range v {
		out[string(sample.Metric[model.LabelName(label)])] = float64(sample.Value)
	}
	return out
}

// matrix answers a query that gives samples over time.
func (s *server) matrix(ctx context.Context, question string, ask func(context.Context) (model.Value, v1.Warnings, error)) (model.Matrix, bool) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	s.count()
	v, _, err := ask(ctx)
	m, isMatrix := v.(model.Matrix)
	if err == nil && !isMatrix {
		err = errors.New("the answer holds no samples over time")
	}
	if err != nil {
		s.fail(question, plain(err))
	}
	return m, err == nil
}

// samples returns the raw samples of the last while.
func (s *server) samples(ctx context.Context, selector string, length time.Duration) (model.Matrix, bool) {
	expr := fmt.Sprintf("%s[%s]", selector, slo.Duration(length))
	return s.matrix(ctx, expr, func(ctx context.Context) (model.Value, v1.Warnings, error) {
		return s.api.Query(ctx, expr, time.Time{}, v1.WithTimeout(queryTimeout))
	})
}

// history evaluates a query over the past.
func (s *server) history(ctx context.Context, expr string, past, step time.Duration) (model.Matrix, bool) {
	return s.matrix(ctx, expr, func(ctx context.Context) (model.Value, v1.Warnings, error) {
		return s.api.QueryRange(ctx, expr, v1.Range{Start: s.now.Add(-past), End: s.now, Step: step}, v1.WithTimeout(queryTimeout))
	})
}

// recent is how far back names and labels are looked for.
const recent = time.Hour

// labelValues returns the values of a label among the series of a selector, or
// of all series where it is empty.
func (s *server) labelValues(ctx context.Context, label, selector string) []string {
	a := s.once("values of "+label+" in "+selector, func(a *answer) {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		var matches []string
		if selector != "" {
			matches = []string{selector}
		}
		values, _, err := s.api.LabelValues(ctx, label, matches, s.now.Add(-recent), s.now)
		if err != nil {
			s.fail("the values of label "+label, plain(err))
		}
		for _, v := range values {
			a.names = append(a.names, string(v))
		}
	})
	return a.names
}

// labelNames returns the names of the labels that the series of a selector
// have, without __name__.
func (s *server) labelNames(ctx context.Context, selector string) []string {
	a := s.once("labels of "+selector, func(a *answer) {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		names, _, err := s.api.LabelNames(ctx, []string{selector}, s.now.Add(-recent), s.now)
		if err != nil {
			s.fail("the labels of "+selector, plain(err))
		}
		for _, n := range names {
			if n != model.MetricNameLabel {
				a.names = append(a.names, string(n))
			}
		}
	})
	return a.names
}

func (s *server) fail(question string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = append(s.failed, failure{question, err})
}

// absent reports whether an answer says that the server has no such endpoint.
func absent(err error) bool {
	var e *v1.Error
	return errors.As(err, &e) && (strings.HasSuffix(e.Msg, ": 404") || strings.HasSuffix(e.Msg, ": 405") || strings.HasSuffix(e.Msg, ": 501"))
}

// plain adds what a server or proxy wrote beside an error.
func plain(err error) error {
	var refused *v1.Error
	if errors.As(err, &refused) && strings.TrimSpace(refused.Detail) != "" {
		return fmt.Errorf("%w: %.200q", err, refused.Detail)
	}
	return err
}

// limited reads no more than maxAnswer of an answer.
type limited struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

// CloseIdleConnections is found by http.Client.
func (l limited) CloseIdleConnections() {
	if c, ok := l.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("the answer is longer than %d MiB", maxAnswer>>20)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
