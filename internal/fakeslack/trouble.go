package fakeslack

import (
	"io"
	"net/http"
	"strings"
	"sync"
)

// Trouble is what can be wrong with a server besides its status.
type Trouble int

// The kinds of trouble.
const (
	Hangs     Trouble = iota + 1 // it takes the request and never answers
	Endless                      // its answer, of status 200, never ends
	CutShort                     // its answer, of status 200, ends before it is complete; the message was not taken
	TakesCut                     // it takes the message, and its answer ends before it is complete
	NoSuchApp                    // it says invalid_token with status 200
)

// Trouble gives the next n deliveries trouble instead of taking them, after the
// failures that earlier calls asked for.
func (s *Server) Trouble(n int, kind Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failure{left: n, status: http.StatusOK, trouble: kind})
}

// suffer answers with trouble. take takes the message as if there were none.
func (k Trouble) suffer(w http.ResponseWriter, r *http.Request, take func(http.ResponseWriter)) {
	switch k {
	case Hangs:
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection goes unnoticed
		<-r.Context().Done()
	case Endless:
		for text := strings.Repeat("ok ", 1000); r.Context().Err() == nil; {
			if _, err := io.WriteString(w, text); err != nil {
				break
			}
		}
	case TakesCut:
		take(discard{http.Header{}})
		fallthrough
	case CutShort:
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "o")
	case NoSuchApp:
		answer(w, http.StatusOK, "invalid_token")
		return
	}
	panic(http.ErrAbortHandler)
}

// discard is an answer nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// Transport returns a transport that hands requests to s within the process:
// without a network, so that the clock of a synctest bubble governs both sides.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ server *Server }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, w := io.Pipe()
	out := &response{
		resp: &http.Response{Request: r, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1, Body: body},
		body: w, begun: make(chan struct{}),
	}
	in := r.Clone(r.Context())
	in.Host = r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	go func() {
		err := io.EOF
		defer func() {
			if recover() != nil {
				err = io.ErrUnexpectedEOF
				out.once.Do(func() { out.err = err; close(out.begun) })
			}
			out.WriteHeader(http.StatusOK)
			w.CloseWithError(err)
		}()
		t.server.ServeHTTP(out, in)
	}()
	select {
	case <-out.begun:
	case <-r.Context().Done():
		body.CloseWithError(r.Context().Err())
		return nil, r.Context().Err()
	}
	if out.err != nil {
		return nil, out.err
	}
	return out.resp, nil
}

// response is an answer on its way through a transport.
type response struct {
	resp  *http.Response
	body  *io.PipeWriter
	begun chan struct{} // closed when there is a status, or err
	once  sync.Once
	err   error // the connection was cut before that
}

// Header implements http.ResponseWriter.
func (r *response) Header() http.Header { return r.resp.Header }

// WriteHeader implements http.ResponseWriter.
func (r *response) WriteHeader(status int) {
	r.once.Do(func() {
		r.resp.StatusCode = status
		r.resp.Status = http.StatusText(status)
		close(r.begun)
	})
}

// Write implements http.ResponseWriter.
func (r *response) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}
