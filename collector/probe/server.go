package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

const (
	// timeout ends one query. Ten seconds are far more than the sum over a
	// minute takes.
	timeout = 10 * time.Second

	// maxAnswer is how much of an answer is read: one number takes 200 bytes,
	// and an error of a proxy's a page.
	maxAnswer = 64 << 10
)

// ServerOptions say which Prometheus is asked, and how.
type ServerOptions struct {
	// URL is that of anything that speaks Prometheus' query API, with the path
	// that stands before /api/v1, and user:password@ where it wants them.
	URL string

	// TokenFile holds a bearer token; it is read again for every query. Empty:
	// none is sent.
	TokenFile string

	Logger *slog.Logger // nil: none
}

// Server is a Prometheus elsewhere.
type Server struct {
	client api.Client
	api    v1.API
	logger *slog.Logger
}

// NewServer checks the options; it asks nothing.
func NewServer(o ServerOptions) (*Server, error) {
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("not the address of a server; want one such as http://prometheus:9090")
	}
	// A token or password never follows a redirect to somebody else.
	c := config.HTTPClientConfig{EnableHTTP2: true, FollowRedirects: false}
	if o.TokenFile != "" {
		c.Authorization = &config.Authorization{Type: "Bearer", CredentialsFile: o.TokenFile}
	}
	client, err := config.NewClientFromConfig(c, "slowburn", config.WithUserAgent("slowburn"))
	if err != nil {
		return nil, err
	}
	client.Transport = brief{client.Transport}
	client.Timeout = timeout
	s := &Server{logger: o.Logger}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.client, err = api.NewClient(api.Config{Address: o.URL, Client: client}); err != nil {
		return nil, err
	}
	s.api = v1.NewAPI(s.client)
	return s, nil
}

// Query answers a query that gives numbers or one number; see rules.QueryFunc.
// It may be called from several goroutines.
func (s *Server) Query(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	answer, warnings, err := s.api.Query(ctx, expr, at)
	if err != nil {
		var refused *v1.Error
		if errors.As(err, &refused) && refused.Detail != "" && refused.Type != v1.ErrBadData && refused.Type != v1.ErrExec {
			return nil, fmt.Errorf("%w: %.200q", err, refused.Detail)
		}
		return nil, err
	}
	if len(warnings) > 0 {
		s.logger.Debug("a query was answered with warnings", "query", expr, "warnings", warnings)
	}
	var out promql.Vector
	switch v := answer.(type) {
	case model.Vector:
		for _, sample := range v {
			if sample.Histogram != nil {
				return nil, fmt.Errorf("the query gives a histogram; want a number, such as histogram_count(…) of it: %s", expr)
			}
			out = append(out, promql.Sample{T: int64(sample.Timestamp), F: float64(sample.Value), Metric: labelsOf(sample.Metric)})
		}
	case *model.Scalar:
		out = promql.Vector{{T: int64(v.Timestamp), F: float64(v.Value)}}
	default:
		return nil, fmt.Errorf("the query gives a %s; want a number: %s", answer.Type(), expr)
	}
	return out, nil
}

// Close lets go of idle connections.
func (s *Server) Close() error {
	s.client.(api.CloseIdler).CloseIdleConnections()
	return nil
}

func labelsOf(m model.Metric) labels.Labels {
	pairs := make(map[string]string, len(m))
	for k, v := range m {
		pairs[string(k)] = string(v)
	}
	return labels.FromMap(pairs)
}

// brief reads no more than maxAnswer of an answer.
type brief struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b brief) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &briefBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

// CloseIdleConnections is found by http.Client.
func (b brief) CloseIdleConnections() {
	if c, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

type briefBody struct {
	io.ReadCloser
	left int
}

func (b *briefBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("the answer is longer than %d KiB; want one number, by sum(…) around the query", maxAnswer>>10)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
