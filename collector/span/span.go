// Package span reads spans straight from the bytes of an OTLP request.
//
// An ExportTraceServiceRequest is walked where it lies: nothing is copied and
// nothing is allocated per span. Only entry spans are shown to the caller, and
// of those only the fields and attributes it asked for.
package span

import "math"

// Kind is the role of a span, as opentelemetry-proto numbers it. Senders may
// put any number here; the zero Kind means unspecified.
type Kind int32

// The kinds of a span.
const (
	Internal Kind = 1
	Server   Kind = 2
	Client   Kind = 3
	Producer Kind = 4
	Consumer Kind = 5
)

// String returns the kind in lower case. As the OTLP specification allows, a
// kind that is unspecified or unknown counts as internal.
func (k Kind) String() string {
	switch k {
	case Server:
		return "server"
	case Client:
		return "client"
	case Producer:
		return "producer"
	case Consumer:
		return "consumer"
	default:
		return "internal"
	}
}

// entry reports whether a span is where a request enters a service: it serves
// or consumes, or it is the root of its trace.
func (k Kind) entry(root bool) bool { return k == Server || k == Consumer || root }

// Status is the status code of a span, as opentelemetry-proto numbers it.
// Senders may put any number here.
type Status int32

// The status codes of a span.
const (
	Unset Status = 0
	OK    Status = 1
	Error Status = 2
)

// String returns the status in lower case. An unknown code counts as unset.
func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case Error:
		return "error"
	default:
		return "unset"
	}
}

// Span is an entry span: a view on the request's bytes. It and everything it
// returns must not be changed; it is valid until visit returns, while the byte
// slices it gave out stay valid as long as the request's bytes do. Texts are
// what the sender wrote, which need not be valid UTF-8, cut after MaxValue bytes.
type Span struct {
	TraceID    []byte // 16 bytes from a correct sender
	SpanID     []byte // 8 bytes from a correct sender
	TraceState []byte // W3C tracestate
	Name       []byte
	Start, End uint64 // nanoseconds since the Unix epoch
	Kind       Kind
	Status     Status
	Root       bool // whether the span has no parent

	body            []byte
	attrs, resource cells
}

// Latency returns how long the span took in nanoseconds, 0 if it ended before
// it started.
func (s *Span) Latency() uint64 {
	if s.End < s.Start {
		return 0
	}
	return s.End - s.Start
}

// Attr returns the attribute whose key has the slot in Keys: the span's, or
// else its resource's.
func (s *Span) Attr(slot int) Value {
	c := &s.attrs.cell[slot]
	if c.age != s.attrs.age {
		c = &s.resource.cell[slot]
		if c.age != s.resource.age {
			return Value{}
		}
	}
	return Value{c.typ, c.bits, s}
}

// Resource returns the resource attribute whose key has the slot in Keys.
func (s *Span) Resource(slot int) Value {
	c := &s.resource.cell[slot]
	if c.age != s.resource.age {
		return Value{}
	}
	return Value{c.typ, c.bits, s}
}

// Type says what an attribute's value is.
type Type uint8

// The types of a value. An attribute without a value, which OTLP allows, reads
// as if it were not there: Empty. Other stands for arrays, key-value lists and
// bytes, whose contents are not kept.
const (
	Empty Type = iota
	String
	Int
	Bool
	Double
	Other
)

// Value is an attribute's value, valid as long as the Span it came from. The
// zero Value is Empty.
type Value struct {
	Type Type
	bits uint64 // the number, or where the text is
	span *Span
}

// Bytes returns the text of a String, cut after MaxValue bytes, else nil.
func (v Value) Bytes() []byte {
	if v.Type != String {
		return nil
	}
	lo := v.bits >> 13
	return v.span.body[lo : lo+v.bits&(1<<13-1)]
}

// Int returns the number of an Int.
func (v Value) Int() int64 { return int64(v.bits) }

// Bool returns the truth of a Bool.
func (v Value) Bool() bool { return v.bits != 0 }

// Double returns the number of a Double.
func (v Value) Double() float64 { return math.Float64frombits(v.bits) }

// cells hold one value a slot. A cell counts only while its age is the
// current one, so that forgetting all values costs nothing.
type cells struct {
	age  uint32
	cell []cell
}

type cell struct {
	age  uint32
	typ  Type
	bits uint64
}

func newCells(n int) cells { return cells{age: 1, cell: make([]cell, n)} }

// reset forgets all values.
func (c *cells) reset() {
	if c.age++; c.age == 0 {
		clear(c.cell)
		c.age = 1
	}
}

// textBits says where a text lies: its length, of which MaxValue takes 13 bits,
// below its position.
func textBits(lo, hi int) uint64 { return uint64(lo)<<13 | uint64(min(hi-lo, MaxValue)) }
