// Package otlp is the wire: OTLP over gRPC and over HTTP, as
// opentelemetry-proto 1.11.0 describes it, traces only.
//
// Either transport ends in the same place: the bytes of one
// ExportTraceServiceRequest, limited and unzipped, are handed to a Sink, and
// what the Sink says is answered in the words of the transport. Nothing here
// decodes protobuf; JSON is turned into it.
//
// No sender is trusted. What a request may cost is bounded before it is spent:
// the size of a body after decompression, the bytes of all bodies held at
// once, the connections of all senders and of one, and the time each step may
// take. The one thing outside these bounds is a gRPC message still arriving:
// grpc-go buffers it, up to MaxBytes for each stream, before anybody is asked.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
)

// Sink takes one ExportTraceServiceRequest as protobuf bytes. body is valid
// until it returns and must not be changed. It is called from many goroutines
// at once.
//
// Spans it leaves out are answered as partial success. An error refuses the
// whole request as malformed (400, INVALID_ARGUMENT) with the error's text,
// unless it is an Overload or a TooLarge.
type Sink func(body []byte) (Rejected, error)

// Rejected says how many spans of a request were not taken and why, in words
// for the people who run the sender. Why alone is a warning about a request
// that was taken whole. The zero value is full success.
type Rejected struct {
	Spans int64
	Why   string
}

// Overload is the error of a request that may succeed later. The sender hears
// 503 with Retry-After, or UNAVAILABLE with RetryInfo.
type Overload struct {
	RetryAfter time.Duration // at least 1 s is answered
	Why        string
}

// Error returns Why.
func (o Overload) Error() string { return o.Why }

// TooLarge is the error of a request that will never be taken because of its
// size. The sender hears 413, or RESOURCE_EXHAUSTED without RetryInfo.
type TooLarge struct{ Why string }

// Error returns Why.
func (t TooLarge) Error() string { return t.Why }

// Where OTLP is listened for unless the options say otherwise: the ports of
// the specification, on loopback, since nobody is asked for a password.
const (
	DefaultGRPCListen = "127.0.0.1:4317"
	DefaultHTTPListen = "127.0.0.1:4318"
)

const (
	// defaultMaxBytes is what opentelemetry-proto 1.11.0 recommends.
	defaultMaxBytes = 64 << 20
	// defaultMaxInFlight holds one largest body beside its compressed form.
	defaultMaxInFlight = 2 * defaultMaxBytes
	// largestMaxBytes keeps every size and sum of sizes well inside 32 bits.
	largestMaxBytes = 512 << 20

	// defaultMaxConns costs at most about 200 MB when all of them idle, and a
	// tenth of it is plenty for one address: exporters keep one or two.
	defaultMaxConns      = 10_000
	defaultMaxConnsPerIP = 1_000

	// maxHeaderBytes leaves room for tokens and cookies a proxy adds; OTLP's
	// own headers take a few hundred bytes.
	maxHeaderBytes = 64 << 10
	// maxGRPCHeader does without cookies. A connection has up to 100 headers
	// open, and its sender repeats one in a few bytes.
	maxGRPCHeader = 16 << 10
)

const (
	readHeaderTimeout = 5 * time.Second  // a sender with nothing to say
	readTimeout       = 30 * time.Second // 64 MiB at 18 Mbit/s
	writeTimeout      = 60 * time.Second // from the end of the header
	idleTimeout       = 60 * time.Second // HTTP; a new connection is cheap
	drainTimeout      = 10 * time.Second // within Kubernetes' 30 s of grace
)

// Options of a Server. The zero value of a field means its default; only Sink
// has none.
type Options struct {
	GRPCListen string // host:port; port 0 picks a free one
	HTTPListen string // host:port; port 0 picks a free one
	Sink       Sink

	// MaxBytes limits one request after decompression; the default is 64 MiB.
	// JSON bodies are limited to 16 MiB as well.
	MaxBytes int64
	// MaxInFlight limits the bytes of all bodies held at once, compressed and
	// not. A request that does not fit is told to come back. The default is
	// 128 MiB; it must be at least twice MaxBytes.
	MaxInFlight int64

	MaxConns      int // open connections on both ports; default 10,000
	MaxConnsPerIP int // of them from one address; default 1,000

	Logger *slog.Logger // default: none
	Meter  metric.Meter // default: none
}

// Server receives OTLP on both transports.
type Server struct {
	sink     Sink
	maxBytes int
	log      *slog.Logger
	tell     *telemetry

	mem       *memory
	inflaters chan *inflater

	grpc    *grpc.Server
	http    *http.Server
	grpcLis net.Listener
	httpLis net.Listener

	grpcHandshakeTimeout time.Duration
	grpcReadTimeout      time.Duration
	drainTimeout         time.Duration
}

// New checks the options, gathering every fault, and opens both ports, so that
// a port in use is known before anything runs. Call Run to serve, or Close.
func New(o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	tell, err := newTelemetry(o.Meter)
	if err != nil {
		return nil, err
	}
	s := &Server{
		sink:      o.Sink,
		maxBytes:  int(o.MaxBytes),
		log:       o.Logger,
		tell:      tell,
		mem:       newMemory(o.MaxInFlight),
		inflaters: make(chan *inflater, runtime.GOMAXPROCS(0)),

		grpcHandshakeTimeout: readHeaderTimeout,
		grpcReadTimeout:      readTimeout,
		drainTimeout:         drainTimeout,
	}
	for range cap(s.inflaters) {
		s.inflaters <- new(inflater)
	}
	s.grpc = s.newGRPC()
	s.http = s.newHTTP()

	conns := newConnLimit(o.MaxConns, o.MaxConnsPerIP)
	if s.grpcLis, err = conns.listen(o.GRPCListen, func() { tell.refused(transportGRPC, reasonConnections) }); err != nil {
		return nil, fmt.Errorf("OTLP/gRPC: %w", err)
	}
	if s.httpLis, err = conns.listen(o.HTTPListen, func() { tell.refused(transportHTTP, reasonConnections) }); err != nil {
		s.grpcLis.Close()
		return nil, fmt.Errorf("OTLP/HTTP: %w", err)
	}
	return s, nil
}

// complete fills in the defaults and reports what is wrong with the rest.
func (o *Options) complete() error {
	if o.GRPCListen == "" {
		o.GRPCListen = DefaultGRPCListen
	}
	if o.HTTPListen == "" {
		o.HTTPListen = DefaultHTTPListen
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = max(defaultMaxInFlight, 2*o.MaxBytes)
	}
	if o.MaxConns == 0 {
		o.MaxConns = defaultMaxConns
	}
	if o.MaxConnsPerIP == 0 {
		o.MaxConnsPerIP = min(defaultMaxConnsPerIP, o.MaxConns)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Meter == nil {
		o.Meter = noop.Meter{}
	}
	var faults []error
	if o.Sink == nil {
		faults = append(faults, errors.New("otlp: no sink; want a function that takes the spans"))
	}
	if o.MaxBytes < 1 || o.MaxBytes > largestMaxBytes {
		faults = append(faults, fmt.Errorf("otlp: a limit of %d bytes a request; want 1 to %d", o.MaxBytes, largestMaxBytes))
	}
	if o.MaxInFlight < 2*o.MaxBytes {
		faults = append(faults, fmt.Errorf("otlp: %d bytes in flight do not hold a request of %d and its compressed form; want at least %d", o.MaxInFlight, o.MaxBytes, 2*o.MaxBytes))
	}
	if o.MaxConns < 1 || o.MaxConnsPerIP < 1 {
		faults = append(faults, fmt.Errorf("otlp: limits of %d connections and %d from one address; want at least 1", o.MaxConns, o.MaxConnsPerIP))
	}
	return errors.Join(faults...)
}

// GRPCAddr returns the address OTLP/gRPC listens on.
func (s *Server) GRPCAddr() net.Addr { return s.grpcLis.Addr() }

// HTTPAddr returns the address OTLP/HTTP listens on.
func (s *Server) HTTPAddr() net.Addr { return s.httpLis.Addr() }

// Close gives up the ports of a server that is not going to run. After Run it
// does nothing.
func (s *Server) Close() error {
	var faults []error
	for _, lis := range []net.Listener{s.grpcLis, s.httpLis} {
		if err := lis.Close(); !errors.Is(err, net.ErrClosed) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// Run serves until ctx ends, then stops accepting and answers what is in
// flight, for at most 10 s. It returns nil after a complete drain, and an
// error when a port failed or requests had to be cut off. It runs once.
func (s *Server) Run(ctx context.Context) error {
	s.announce("grpc", s.grpcLis.Addr())
	s.announce("http", s.httpLis.Addr())

	ended := make(chan error, 2)
	serve := func(f func(net.Listener) error, lis net.Listener) {
		err := f(lis)
		if errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) {
			err = nil // stopped by drain, perhaps before it began
		}
		ended <- err
	}
	go serve(s.grpc.Serve, s.grpcLis)
	go serve(s.http.Serve, s.httpLis)

	var faults []error
	running := cap(ended)
	select {
	case <-ctx.Done():
	case err := <-ended: // one port is lost: close the other as well
		faults = append(faults, err)
		running--
	}
	if err := s.drain(); err != nil {
		return errors.Join(append(faults, err)...) // Serve may wait for the sink
	}
	for range running {
		faults = append(faults, <-ended)
	}
	return errors.Join(faults...)
}

// drain closes both ports and waits for the requests in flight.
func (s *Server) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.drainTimeout)
	defer cancel()

	answered := make(chan struct{})
	go func() {
		s.grpc.GracefulStop() // may wait for a sink that never returns
		close(answered)
	}()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
		err = fmt.Errorf("OTLP/HTTP: requests still open %s after the end were cut off", s.drainTimeout)
	}
	select {
	case <-answered:
	case <-ctx.Done():
		go s.grpc.Stop() // as above
		err = errors.Join(err, fmt.Errorf("OTLP/gRPC: requests still open %s after the end were cut off", s.drainTimeout))
	}
	return err
}

// announce logs where a transport listens, loudly if others can reach it.
func (s *Server) announce(transport string, addr net.Addr) {
	s.log.Info("receiving OTLP", "transport", transport, "addr", addr.String())
	if tcp, ok := addr.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		s.log.Warn("the OTLP port is open to the network and asks for no password", "transport", transport, "addr", addr.String())
	}
}

// take hands a body to the sink. Whatever goes wrong comes back as a refusal,
// a panic of the sink too.
func (s *Server) take(body []byte) (rejected Rejected, refused *refusal) {
	defer func() {
		if v := recover(); v != nil {
			rejected, refused = Rejected{}, s.panicked(v)
		}
	}()
	rejected, err := s.sink(body)
	if err != nil {
		return Rejected{}, refusalOf(err)
	}
	return rejected, nil
}

// panicked logs a recovered panic with its stack.
func (s *Server) panicked(v any) *refusal {
	s.log.Error("a request made slowburn panic", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	return &refusalPanic
}
