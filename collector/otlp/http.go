package otlp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// maxJSON limits a JSON body after decompression, whatever MaxBytes says: a
// batch of 16,000 spans. JSON takes several passes, and the protobuf it turns
// into is held beside it.
const maxJSON = 16 << 20

// mediaType is how a request and its response are encoded.
type mediaType string

const (
	mediaProto mediaType = "application/x-protobuf"
	mediaJSON  mediaType = "application/json"
)

func (s *Server) newHTTP() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP answers one OTLP/HTTP request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	media := mediaOf(r)
	rejected, refused := s.receive(r, media)
	s.tell.ended(transportHTTP, rejected, refused)
	if refused != nil {
		s.log.Debug("request refused", "transport", "http", "reason", reasonNames[refused.reason], "from", r.RemoteAddr, "error", refused.msg)
		// A sender that is cut off in the middle of its body sees a broken
		// connection, not the answer, and sends it all again. Read on, for as
		// long as the server's read timeout allows, but for one who asked first.
		if r.Header.Get("Expect") == "" {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		writeRefusal(w, media, refused)
		return
	}
	write(w, media, http.StatusOK, response(rejected))
}

// receive does what a request asks for. Panics come back as refusals.
func (s *Server) receive(r *http.Request, media mediaType) (rejected Rejected, refused *refusal) {
	defer func() {
		if v := recover(); v != nil {
			rejected, refused = Rejected{}, s.panicked(v)
		}
	}()
	if refused := route(r); refused != nil {
		return Rejected{}, refused
	}
	limit := s.maxBytes
	switch media {
	case mediaProto:
	case mediaJSON:
		limit = min(limit, maxJSON)
	default:
		return Rejected{}, unsupported(reasonMediaType, "want Content-Type application/x-protobuf or application/json")
	}

	body, err := s.httpBody(r, limit)
	if err != nil {
		return Rejected{}, refusalOf(err)
	}
	defer func() { s.mem.put(body) }()
	if media == mediaJSON {
		fromJSON, err := s.mem.get(len(*body))
		if err != nil {
			return Rejected{}, refusalOf(err)
		}
		defer s.mem.put(fromJSON)
		out, err := appendRequest(*fromJSON, *body)
		if err != nil {
			return Rejected{}, badRequest(reasonMalformed, "the body is not OTLP/JSON: "+err.Error())
		}
		return s.take(out)
	}
	return s.take(*body)
}

// route refuses all but POST /v1/traces. Other signals get 404, which no
// sender repeats; some repeat every 5xx, 501 included.
func route(r *http.Request) *refusal {
	switch r.URL.Path {
	case "/v1/traces":
		if r.Method != http.MethodPost {
			return &refusal{reason: reasonMethod, http: http.StatusMethodNotAllowed, code: codes.Unimplemented, msg: "want POST"}
		}
		return nil
	case "/v1/metrics", "/v1/logs", "/v1development/profiles":
		return &refusal{reason: reasonSignal, http: http.StatusNotFound, code: codes.Unimplemented, msg: "unimplemented: slowburn takes traces only; want /v1/traces"}
	default:
		return &refusal{reason: reasonPath, http: http.StatusNotFound, code: codes.NotFound, msg: "not an OTLP path; want /v1/traces"}
	}
}

// mediaOf returns the media type of a request, without its parameters.
func mediaOf(r *http.Request) mediaType {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType(t)
}

// compressionOf returns how the body of a request is packed. One layer is
// taken, not several.
func compressionOf(r *http.Request) (compression, error) {
	encodings := r.Header.Values("Content-Encoding")
	if len(encodings) > 1 {
		return 0, unsupported(reasonEncoding, "several content encodings; want gzip, zstd or none")
	}
	switch strings.ToLower(strings.Join(encodings, "")) {
	case "", "identity":
		return identity, nil
	case "gzip":
		return gzipped, nil
	case "zstd":
		return zstandard, nil
	}
	return 0, unsupported(reasonEncoding, "unknown content encoding; want gzip, zstd or none")
}

// httpBody reads and unzips the body of a request. limit holds for both forms:
// what unzips to less than it was packed into is not worth the trouble.
func (s *Server) httpBody(r *http.Request, limit int) (*[]byte, error) {
	how, err := compressionOf(r)
	if err != nil {
		return nil, err
	}
	if r.ContentLength > int64(limit) {
		return nil, tooLarge(limit)
	}
	whole := int(max(r.ContentLength, 0))
	wire, err := s.mem.read(r.Body, min(whole, believed), whole, limit)
	if err != nil {
		return nil, readRefusal(err, limit)
	}
	s.tell.received(transportHTTP, len(*wire))
	if how == identity {
		return wire, nil
	}
	defer s.mem.put(wire)
	return s.inflate(how, *wire, limit)
}

// readRefusal says why a body could not be read.
func readRefusal(err error, limit int) *refusal {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r
	}
	if errors.Is(err, errLimit) {
		return tooLarge(limit)
	}
	return badRequest(reasonIncomplete, fmt.Sprintf("the body ended early: %v", err))
}

// response returns the body of the answer to a request that was taken.
func response(rejected Rejected) *collectortrace.ExportTraceServiceResponse {
	if rejected == (Rejected{}) {
		return &collectortrace.ExportTraceServiceResponse{}
	}
	return &collectortrace.ExportTraceServiceResponse{PartialSuccess: &collectortrace.ExportTracePartialSuccess{
		RejectedSpans: rejected.Spans,
		ErrorMessage:  strings.ToValidUTF8(rejected.Why, "\uFFFD"),
	}}
}

func writeRefusal(w http.ResponseWriter, media mediaType, refused *refusal) {
	switch refused.http {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.retry.Seconds()))))
	}
	write(w, media, refused.http, refused.status().Proto())
}

// write answers in the request's own encoding, and in JSON where the request's
// is none of ours.
func write(w http.ResponseWriter, media mediaType, code int, m proto.Message) {
	var body []byte
	var err error
	if media == mediaProto {
		body, err = proto.Marshal(m)
	} else {
		media = mediaJSON
		body, err = protojson.Marshal(m)
	}
	if err != nil { // every string in m is made valid first
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", string(media))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(body) // the sender is gone; nothing is left to tell it
}
