package otlp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
)

const (
	traceService = "opentelemetry.proto.collector.trace.v1.TraceService"
	exportMethod = "/" + traceService + "/Export"
)

// A message that grpc-go must not unzip itself comes to the codec sealed: as it
// was sent, behind two bytes that say how it is packed. grpc-go would answer a
// corrupt message with INTERNAL where OTLP wants INVALID_ARGUMENT, and would
// hold a bomb of up to the limit before refusing it.
//
// The first byte is the tag of field 0, which no protobuf message begins with.
// A sender who forges the seal has packed its message in an odd way, no more.
const (
	sealGzip = "\x00g"
	sealZstd = "\x00z"
	sealLen  = 2
)

func (s *Server) newGRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}),
		//lint:ignore SA1019 the only decompressor that is not the whole process's; "supported throughout 1.x"
		grpc.RPCDecompressor(gzipSealer{}),
		grpc.StatsHandler(calls{s}),
		grpc.InTapHandle(s.limitTime),
		grpc.MaxRecvMsgSize(s.maxBytes+sealLen), // the codec holds the limit itself
		grpc.MaxConcurrentStreams(100),          // what HTTP/2 asks for at least; an exporter uses one
		grpc.MaxHeaderListSize(maxGRPCHeader),
		grpc.InitialWindowSize(4<<20), // a batch of 10,000 spans without a pause
		grpc.InitialConnWindowSize(4<<20),
		grpc.ConnectionTimeout(s.grpcHandshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             10 * time.Second, // the least that exporters are configured to
			PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 5 * time.Minute, // exporters send every minute or oftener
			Time:              time.Minute,
			Timeout:           20 * time.Second,
		}),
	)
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: traceService,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Export", Handler: s.export}},
		Metadata:    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
	}, nil)
	return g
}

// limitTime bounds the life of a call, as ReadTimeout does for HTTP: half a
// message would be held for as long as its sender keeps the connection.
func (s *Server) limitTime(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, cancel := context.WithTimeout(ctx, s.grpcReadTimeout)
	_ = cancel // the stream's context, its parent, ends it
	return ctx, nil
}

// export is the method Export. grpc-go has read the message when it is called.
func (s *Server) export(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (resp any, err error) {
	rejected, refused, err := s.exported(decode)
	if err != nil {
		return nil, err
	}
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		c.answered, c.rejected, c.refused = true, rejected, refused
	}
	if refused != nil {
		s.log.Debug("request refused", "transport", "grpc", "reason", reasonNames[refused.reason], "error", refused.msg)
		return nil, refused.status().Err()
	}
	return response(rejected), nil
}

// exported does what a call asks for. Panics come back as refusals.
func (s *Server) exported(decode func(any) error) (rejected Rejected, refused *refusal, err error) {
	defer func() {
		if v := recover(); v != nil {
			rejected, refused, err = Rejected{}, s.panicked(v), nil
		}
	}()
	m := message{server: s}
	defer func() { s.mem.put(m.body) }()
	if err := decode(&m); err != nil {
		return Rejected{}, nil, err
	}
	if m.err != nil {
		return Rejected{}, refusalOf(m.err), nil
	}
	rejected, refused = s.take(*m.body)
	return rejected, refused, nil
}

// message is a request as the codec leaves it: its bytes, unzipped, or why
// there are none.
type message struct {
	server *Server
	body   *[]byte
	err    error
}

// codec passes the bytes of requests on and encodes responses. It keeps no
// reference to grpc-go's buffers.
type codec struct{}

// Name returns the content subtype of OTLP/gRPC.
func (codec) Name() string { return "proto" }

// Marshal encodes a response.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("a response of type %T; want a protobuf message", v)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal fills in a *message. What is wrong with data is left in it, since
// grpc-go turns every error from here into INTERNAL.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("a request into %T; want *message", v)
	}
	m.body, m.err = m.server.open(data)
	return nil
}

// open copies a message into a buffer of our own, or unzips it into one.
func (s *Server) open(data mem.BufferSlice) (*[]byte, error) {
	size := data.Len()
	how := identity
	var head [sealLen]byte
	data.CopyTo(head[:])
	switch string(head[:]) {
	case sealGzip:
		how = gzipped
	case sealZstd:
		how = zstandard
	}
	if how == identity && size > s.maxBytes {
		return nil, tooLarge(s.maxBytes)
	}
	if how != identity && len(data) == 1 {
		if err := s.mem.charge(size); err != nil {
			return nil, err
		}
		defer s.mem.discharge(size)
		return s.inflate(how, data[0].ReadOnlyData()[sealLen:], s.maxBytes)
	}
	buf, err := s.mem.get(size)
	if err != nil {
		return nil, err
	}
	*buf = (*buf)[:size]
	data.CopyTo(*buf)
	if how == identity {
		return buf, nil
	}
	defer s.mem.put(buf)
	return s.inflate(how, (*buf)[sealLen:], s.maxBytes)
}

// gzipSealer is the server's decompressor for gzip: it leaves messages packed.
// Clients in this process keep grpc-go's own.
type gzipSealer struct{}

// Type returns gzip.
func (gzipSealer) Type() string { return "gzip" }

// Do returns the message sealed.
func (gzipSealer) Do(r io.Reader) ([]byte, error) { return seal(sealGzip, r) }

// seal reads a packed message, already limited by grpc-go, and marks it.
func seal(mark string, r io.Reader) ([]byte, error) {
	var sealed bytes.Buffer
	if known, ok := r.(interface{ Remaining() int }); ok { // grpc-go's mem.Reader
		sealed.Grow(sealLen + known.Remaining() + bytes.MinRead)
	}
	sealed.WriteString(mark)
	_, err := sealed.ReadFrom(r)
	return sealed.Bytes(), err
}

// zstdCompressor is zstd for gRPC. grpc-go brings none, and a server takes
// only one decompressor of its own, so it is registered for the process and
// must suit clients too: it unzips what is small enough for any client, and
// seals the rest, corrupt messages among it, for the server.
type zstdCompressor struct {
	decoder *zstd.Decoder
	turns   chan struct{} // as many as processors: nobody waits with room in hand
	writers sync.Pool     // of *zstdWriter
}

// zstdUnsealed is what grpc-go lets a client receive by default: no client
// misses what is over it.
const zstdUnsealed = 4 << 20

func init() {
	// A message must fit the room it is given; windows and sizes it asks for
	// are not made room for.
	decoder, err := zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(err) // an option out of its range
	}
	encoding.RegisterCompressor(&zstdCompressor{decoder: decoder, turns: make(chan struct{}, runtime.GOMAXPROCS(0))})
}

// Name returns zstd.
func (*zstdCompressor) Name() string { return "zstd" }

// Compress returns a writer that packs into w.
func (z *zstdCompressor) Compress(w io.Writer) (io.WriteCloser, error) {
	if zw, ok := z.writers.Get().(*zstdWriter); ok {
		zw.Reset(w)
		return zw, nil
	}
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, err
	}
	return &zstdWriter{Encoder: enc, pool: &z.writers}, nil
}

type zstdWriter struct {
	*zstd.Encoder
	pool *sync.Pool
}

// Close ends the message and keeps the encoder for another.
func (w *zstdWriter) Close() error {
	err := w.Encoder.Close()
	w.pool.Put(w)
	return err
}

// Decompress returns the message in r, unzipped or sealed.
func (z *zstdCompressor) Decompress(r io.Reader) (io.Reader, error) {
	sealed, err := seal(sealZstd, r)
	if err != nil {
		return nil, err
	}
	z.turns <- struct{}{}
	defer func() { <-z.turns }()
	// Spans shrink to a tenth or so. Errors look alike: any may be for want of
	// room, so the last room decides.
	for room := 16 * len(sealed); ; room *= 8 {
		room = min(room, zstdUnsealed)
		if plain, err := z.decoder.DecodeAll(sealed[sealLen:], make([]byte, 0, room)); err == nil {
			return bytes.NewReader(plain), nil
		}
		if room == zstdUnsealed {
			return bytes.NewReader(sealed), nil
		}
	}
}

// calls counts gRPC calls, those too that grpc-go answers before the handler
// is asked.
type calls struct{ s *Server }

type callKey struct{}

// call is what the handler has to say about a call.
type call struct {
	answered bool
	rejected Rejected
	refused  *refusal
}

// TagRPC gives a call its place to be remembered.
func (c calls) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if info.FullMethodName != exportMethod {
		c.s.tell.refused(transportGRPC, reasonSignal) // and grpc-go answers UNIMPLEMENTED
	}
	return context.WithValue(ctx, callKey{}, new(call))
}

// HandleRPC counts a message when it has come and a call when it ends.
func (c calls) HandleRPC(ctx context.Context, event stats.RPCStats) {
	switch event := event.(type) {
	case *stats.InPayload:
		c.s.tell.received(transportGRPC, event.CompressedLength)
	case *stats.End:
		done, ok := ctx.Value(callKey{}).(*call)
		if !ok {
			return
		}
		if !done.answered && event.Error != nil {
			done.refused = &refusal{reason: reasonOf(status.Code(event.Error))}
		}
		c.s.tell.ended(transportGRPC, done.rejected, done.refused)
	}
}

// reasonOf names what grpc-go refuses by itself.
func reasonOf(code codes.Code) reason {
	switch code {
	case codes.ResourceExhausted:
		return reasonTooLarge
	case codes.Unimplemented:
		return reasonEncoding
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.Unknown:
		return reasonIncomplete
	}
	return reasonProtocol
}

// TagConn does nothing.
func (calls) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (calls) HandleConn(context.Context, stats.ConnStats) {}
