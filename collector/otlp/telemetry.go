package otlp

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

type (
	transport uint8
	outcome   uint8
	reason    uint8
)

const (
	transportGRPC transport = iota
	transportHTTP
	transports
)

const (
	outcomeOK         outcome = iota
	outcomePartial            // partial success: some spans were left out
	outcomeRefused            // for good
	outcomeOverloaded         // to be sent again
	outcomes
)

const (
	reasonMalformed   reason = iota // not the protobuf or JSON it says it is
	reasonCompression               // corrupt gzip or zstd
	reasonTooLarge
	reasonOverloaded
	reasonMediaType   // content type
	reasonEncoding    // content encoding
	reasonMethod      // not a POST
	reasonPath        // not an OTLP path
	reasonSignal      // metrics, logs, profiles
	reasonIncomplete  // the sender went away, or was too slow
	reasonConnections // over a limit of connections
	reasonProtocol    // gRPC framing
	reasonPanic
	reasons
)

// The values of the labels, all of them: no sender can add one.
var (
	transportNames = [transports]string{"grpc", "http"}
	outcomeNames   = [outcomes]string{"ok", "partial", "refused", "overloaded"}
	reasonNames    = [reasons]string{
		"malformed", "compression", "too_large", "overloaded", "media_type", "encoding", "method", "path", "signal",
		"incomplete", "connections", "protocol", "panic",
	}
)

// reasonWords say the reasons to people who set a sender up.
var reasonWords = [reasons]string{
	reasonMalformed:   "not the OTLP it says it is, or with too many spans",
	reasonCompression: "compressed data that cannot be unpacked",
	reasonTooLarge:    "larger than the limit",
	reasonOverloaded:  "too much at once; the sender was asked to come back",
	reasonMediaType:   "content type is neither protobuf nor JSON",
	reasonEncoding:    "content encoding is neither gzip nor zstd",
	reasonMethod:      "not a POST",
	reasonPath:        "not the path /v1/traces",
	reasonSignal:      "metrics, logs or profiles; only traces are taken here",
	reasonIncomplete:  "the sender went away or was too slow",
	reasonConnections: "too many connections",
	reasonProtocol:    "not gRPC as the port wants it",
	reasonPanic:       "an internal error; the log has the details",
}

// Refusal counts what was refused for one reason since the start: requests whole,
// and connections.
type Refusal struct {
	Transport string // grpc or http
	Reason    string // in words
	Requests  uint64
	Last      time.Time
}

// Refused returns what was refused, the newest first. It may be called from
// several goroutines, at any time.
func (s *Server) Refused() []Refusal {
	var out []Refusal
	for tr := range transports {
		for r := range reasons {
			seen := &s.tell.seen[tr][r]
			if n := seen.requests.Load(); n > 0 {
				out = append(out, Refusal{transportNames[tr], reasonWords[r], n, time.Unix(0, seen.last.Load())})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Refusal) int { return b.Last.Compare(a.Last) })
	return out
}

// telemetry counts what the package does. It is safe for concurrent use.
type telemetry struct {
	requestsTotal metric.Int64Counter
	refusedTotal  metric.Int64Counter
	bytesTotal    metric.Int64Counter

	// Label sets are made once; a request then allocates none.
	outcomeSets [transports][outcomes][]metric.AddOption
	reasonSets  [transports][reasons][]metric.AddOption
	bytesSets   [transports][]metric.AddOption

	// seen is what Refused shows.
	seen [transports][reasons]struct {
		requests atomic.Uint64
		last     atomic.Int64 // ns
	}
}

func newTelemetry(m metric.Meter) (*telemetry, error) {
	var t telemetry
	var faults [3]error
	t.requestsTotal, faults[0] = m.Int64Counter("slowburn.otlp.requests",
		metric.WithDescription("OTLP trace requests, by how they ended."))
	t.refusedTotal, faults[1] = m.Int64Counter("slowburn.otlp.refused",
		metric.WithDescription("Requests and connections refused whole, by reason."))
	t.bytesTotal, faults[2] = m.Int64Counter("slowburn.otlp.received_bytes", metric.WithUnit("By"),
		metric.WithDescription("Bytes of OTLP request bodies as they came over the wire."))
	for tr := range transports {
		transport := attribute.String("transport", transportNames[tr])
		t.bytesSets[tr] = labels(transport)
		for o := range outcomes {
			t.outcomeSets[tr][o] = labels(transport, attribute.String("outcome", outcomeNames[o]))
		}
		for r := range reasons {
			t.reasonSets[tr][r] = labels(transport, attribute.String("reason", reasonNames[r]))
		}
	}
	return &t, errors.Join(faults[:]...)
}

func labels(kvs ...attribute.KeyValue) []metric.AddOption {
	return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(kvs...))}
}

func (t *telemetry) received(tr transport, bytes int) {
	t.bytesTotal.Add(context.Background(), int64(bytes), t.bytesSets[tr]...)
}

// ended counts a request by how it was answered; refused may be nil.
func (t *telemetry) ended(tr transport, rejected Rejected, refused *refusal) {
	o := outcomeOK
	switch {
	case refused != nil && refused.retry > 0:
		o = outcomeOverloaded
	case refused != nil:
		o = outcomeRefused
	case rejected != Rejected{}:
		o = outcomePartial
	}
	t.requestsTotal.Add(context.Background(), 1, t.outcomeSets[tr][o]...)
	if refused != nil {
		t.refused(tr, refused.reason)
	}
}

func (t *telemetry) refused(tr transport, r reason) {
	t.refusedTotal.Add(context.Background(), 1, t.reasonSets[tr][r]...)
	seen := &t.seen[tr][r]
	seen.last.Store(time.Now().UnixNano()) // before the count says that there is one
	seen.requests.Add(1)
}
