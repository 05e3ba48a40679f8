package span

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds on what is read.
const (
	// DefaultMaxSpans is how many spans a request may hold unless Limits say
	// otherwise: 200 times an SDK's batch. Without a bound, 17 KiB of gzip can
	// hold 9 million empty spans.
	DefaultMaxSpans = 100_000

	// MaxDepth is how deep attribute values may nest in arrays and lists, and
	// unknown groups in one another. Others decode these bytes by recursion.
	MaxDepth = 64

	// MaxKey is the length in bytes up to which an attribute's key is read.
	// Attributes with longer keys are not found.
	MaxKey = 256

	// MaxValue is the length in bytes after which a text is cut.
	MaxValue = 4096
)

// Errors of Decode, which wraps them with the place and the facts.
var (
	ErrMalformed    = errors.New("malformed protobuf")
	ErrTooManySpans = errors.New("too many spans")
	ErrTooDeep      = errors.New("nested too deep")
)

// Limits bound a request.
type Limits struct {
	MaxSpans int // 0 means DefaultMaxSpans
}

// Stats say what a request held.
type Stats struct {
	Spans int // all spans
	Entry int // the entry spans among them, which were visited
}

// Decoder reads requests, one after the other. It is for one goroutine at a
// time; callers that decode much keep them in a pool.
type Decoder struct {
	keys     *Keys
	maxSpans int
	body     []byte
	stats    Stats
	span     Span
	enter    func(sp *Span, before Stats) // may be nil

	streak int // how many entry spans in a row were seen
}

// New returns a Decoder that reads the attributes in keys.
func New(keys *Keys, limits Limits) *Decoder {
	d := &Decoder{keys: keys, maxSpans: limits.MaxSpans}
	if d.maxSpans == 0 {
		d.maxSpans = DefaultMaxSpans
	}
	d.span.attrs, d.span.resource = newCells(keys.Len()), newCells(keys.Len())
	return d
}

// EachResource makes Decode call enter for every resource before its spans. Of
// sp only the resource's attributes are set; before says what the request held up
// to here.
func (d *Decoder) EachResource(enter func(sp *Span, before Stats)) { d.enter = enter }

// Decode calls visit for each entry span of an ExportTraceServiceRequest in
// protobuf: those of kind SERVER or CONSUMER, and the roots, which have no
// parent. Stats count all spans even so.
//
// The spans are counted first, and a request with more than the limit is
// refused with ErrTooManySpans before any visit. ErrMalformed and ErrTooDeep
// may be found after some visits: a caller that must not count half a request
// keeps what it saw and commits it when Decode has returned without an error.
//
// Fields may come in any order. Of a singular field written twice the last one
// counts, of an attribute written twice the first that has a value.
//
// A span that turns out not to be an entry span is skipped, at best as soon as
// its kind and its parent were seen. What follows them need not be validated:
// neither that its bytes are well formed nor, as no encoder writes them twice,
// whether kind or parent come again. Within entry spans and resources, the same
// goes for the contents of attributes that are not in Keys and of events and
// links: only their lengths must be right. UTF-8 is nowhere checked. Nesting is
// checked wherever an attribute could exceed MaxDepth, except in skipped spans
// of up to 1 KiB.
func (d *Decoder) Decode(body []byte, visit func(*Span)) (Stats, error) {
	defer d.release()
	d.body, d.stats, d.streak = body, Stats{}, 0
	d.span.body = body
	if spans, err := d.count(); err != nil {
		return Stats{}, err
	} else if spans > d.maxSpans {
		return Stats{}, fmt.Errorf("%w: %d spans in one request; the limit is %d", ErrTooManySpans, spans, d.maxSpans)
	}
	lo, hi := find(body, 0, len(body), tagResourceSpans)
	for ; lo >= 0; lo, hi = find(body, hi, len(body), tagResourceSpans) {
		if err := d.resourceSpans(lo, hi, visit); err != nil {
			return d.stats, err
		}
	}
	if hi != len(body) {
		return d.stats, d.fault("ExportTraceServiceRequest", 0, len(body))
	}
	return d.stats, nil
}

// release lets go of the request, so that a pooled Decoder does not keep it.
func (d *Decoder) release() {
	d.body = nil
	d.span = Span{attrs: d.span.attrs, resource: d.span.resource}
}

// Tags: field number<<3 | wire type. Names follow opentelemetry-proto.
const (
	tagResourceSpans = 1<<3 | wireBytes // ExportTraceServiceRequest

	tagResource   = 1<<3 | wireBytes // ResourceSpans
	tagScopeSpans = 2<<3 | wireBytes

	tagScope = 1<<3 | wireBytes // ScopeSpans
	tagSpan  = 2<<3 | wireBytes

	tagResourceAttr = 1<<3 | wireBytes // Resource
	tagScopeAttr    = 3<<3 | wireBytes // InstrumentationScope
	tagEventAttr    = 3<<3 | wireBytes // Span.Event
	tagLinkAttr     = 4<<3 | wireBytes // Span.Link

	tagTraceID    = 1<<3 | wireBytes // Span
	tagSpanID     = 2<<3 | wireBytes
	tagTraceState = 3<<3 | wireBytes
	tagParent     = 4<<3 | wireBytes
	tagName       = 5<<3 | wireBytes
	tagKind       = 6<<3 | wireVarint
	tagStart      = 7<<3 | wireFixed64
	tagEnd        = 8<<3 | wireFixed64
	tagAttr       = 9<<3 | wireBytes
	tagEvent      = 11<<3 | wireBytes
	tagLink       = 13<<3 | wireBytes
	tagStatus     = 15<<3 | wireBytes
	tagFlags      = 1<<8 | 0x80 | 16<<3&0x7f | wireFixed32 // two bytes

	tagStatusCode = 3<<3 | wireVarint // Status

	tagKey   = 1<<3 | wireBytes // KeyValue
	tagValue = 2<<3 | wireBytes

	tagString = 1<<3 | wireBytes // AnyValue
	tagBool   = 2<<3 | wireVarint
	tagInt    = 3<<3 | wireVarint
	tagDouble = 4<<3 | wireFixed64
	tagArray  = 5<<3 | wireBytes
	tagKvlist = 6<<3 | wireBytes
	tagBytes  = 7<<3 | wireBytes
	tagIndex  = 8<<3 | wireVarint

	tagArrayValue  = 1<<3 | wireBytes // ArrayValue
	tagKvlistValue = 1<<3 | wireBytes // KeyValueList
)

// find returns where the contents of the next field with the tag want lie, at
// or after b[i] and before b[end]. lo is negative when there is none; next is
// then end, or another position if the message is malformed.
func find(b []byte, i, end int, want uint64) (lo, next int) {
	for i < end {
		tag, lo, next := field(b, i)
		if tag == want && next <= end {
			return lo, next
		}
		i = next
	}
	return -1, i
}

// count returns how many spans the request holds, or fewer as soon as it is
// clear that they are within the limit: a span takes two bytes at least.
func (d *Decoder) count() (int, error) {
	b := d.body
	spans := 0
	rs, rsEnd := find(b, 0, len(b), tagResourceSpans)
	for ; rs >= 0; rs, rsEnd = find(b, rsEnd, len(b), tagResourceSpans) {
		ss, ssEnd := find(b, rs, rsEnd, tagScopeSpans)
		for ; ss >= 0; ss, ssEnd = find(b, ssEnd, rsEnd, tagScopeSpans) {
			i := ss
			for i < ssEnd {
				if spans+(len(b)-i)/2 <= d.maxSpans {
					return spans, nil
				}
				tag, _, next := field(b, i)
				if tag == tagSpan {
					spans++
				}
				i = next
			}
			if i != ssEnd {
				return 0, d.fault("ScopeSpans", ss, ssEnd)
			}
		}
		if ssEnd != rsEnd {
			return 0, d.fault("ResourceSpans", rs, rsEnd)
		}
	}
	if rsEnd != len(b) {
		return 0, d.fault("ExportTraceServiceRequest", 0, len(b))
	}
	return spans, nil
}

// resourceSpans visits the entry spans of a ResourceSpans. The resource may
// come after the spans. Several of them add up, as protobuf wants it.
func (d *Decoder) resourceSpans(rs, end int, visit func(*Span)) error {
	d.span.resource.reset()
	lo, next := find(d.body, rs, end, tagResource)
	for ; lo >= 0; lo, next = find(d.body, next, end, tagResource) {
		if err := d.resource(lo, next); err != nil {
			return err
		}
	}
	if next != end {
		return d.fault("ResourceSpans", rs, end)
	}
	if d.enter != nil {
		d.enter(&d.span, d.stats)
	}
	lo, next = find(d.body, rs, end, tagScopeSpans)
	for ; lo >= 0; lo, next = find(d.body, next, end, tagScopeSpans) {
		if err := d.scopeSpans(lo, next, visit); err != nil {
			return err
		}
	}
	return nil
}

// resource reads the attributes of a Resource.
func (d *Decoder) resource(lo, end int) error {
	i := lo
	for i < end {
		tag, lo, next := field(d.body, i)
		if tag == tagResourceAttr && next <= end {
			if err := d.attr(lo, next, &d.span.resource); err != nil {
				return err
			}
		}
		i = next
	}
	if i != end {
		return d.fault("Resource", lo, end)
	}
	return nil
}

// scopeSpans counts the spans of a ScopeSpans and visits the entry spans.
func (d *Decoder) scopeSpans(ss, end int, visit func(*Span)) error {
	b := d.body
	i := ss
	for i < end {
		var tag uint64
		var lo, next int
		if i+3 < len(b) && b[i] == tagSpan && b[i+1] >= 0x80 && b[i+2] < 0x80 {
			// Nearly all spans take between 128 and 16,383 bytes.
			tag, lo = tagSpan, i+3
			next = lo + int(b[i+1]&0x7f) + int(b[i+2])<<7
		} else {
			tag, lo, next = field(b, i)
		}
		if next > end {
			return d.fault("ScopeSpans", ss, end)
		}
		i = next
		switch tag {
		case tagSpan:
			if err := d.spanAt(lo, next, visit); err != nil {
				return err
			}
		case tagScope:
			if err := d.nest(inScope, lo, next, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// spanAt counts the span at d.body[lo:end] and visits it if it is an entry span.
func (d *Decoder) spanAt(lo, end int, visit func(*Span)) error {
	d.stats.Spans++
	// Instrumentations of servers write entry spans and nothing else. After a
	// run of them, asking first would be wasted; where kinds are mixed, runs are
	// short.
	const run = 8
	if d.streak < run {
		switch v, at := classify(d.body, lo, end); {
		case v == skipped:
			d.streak = 0
			if end-lo <= 1024 {
				return nil
			}
			return d.nest(inSpan, lo, end, 0)
		case v == undecided && at != end:
			return d.fault("Span", lo, end)
		}
	}
	if err := d.read(lo, end); err != nil {
		return err
	}
	if !d.span.Kind.entry(d.span.Root) {
		d.streak = 0
		return nil
	}
	d.streak++
	d.stats.Entry++
	visit(&d.span)
	return nil
}

type verdict uint8

const (
	undecided verdict = iota // the span was seen to its end: kind and parent decide
	skipped                  // no entry span
	wanted                   // an entry span, whatever its parent
)

// classify tells as early as it can whether the span at b[i:end] is an entry
// span. It returns the position it came to.
func classify(b []byte, i, end int) (verdict, int) {
	// SDKs write the ids of the trace, the span and the parent, the name and
	// the kind, and nearly always just these.
	if end-i > 42 {
		head := b[i : i+40]
		if binary.LittleEndian.Uint16(head) == 16<<8|tagTraceID &&
			binary.LittleEndian.Uint16(head[18:]) == 8<<8|tagSpanID &&
			binary.LittleEndian.Uint16(head[28:]) == 8<<8|tagParent &&
			head[38] == tagName && head[39] < 0x80 {
			kind := i + 40 + int(head[39])
			if kind+2 <= end && b[kind] == tagKind && b[kind+1] < 0x80 {
				if k := Kind(b[kind+1]); k == Server || k == Consumer {
					return wanted, kind
				}
				return skipped, kind
			}
		}
	}
	// Collectors write the attributes first. Nearly all fields are a byte of
	// tag, a byte of length and as many more.
	parent, other := false, false
	for i < end && i+2 < len(b) {
		tag, n := b[i], int(b[i+1])
		switch {
		case tag&0x87 == wireBytes:
			i += 2
			if n >= 0x80 {
				if b[i] >= 0x80 {
					return classifyAny(b, i-2, end, parent, other)
				}
				n += int(b[i])<<7 - 0x80
				i++
			}
			i += n
			if tag == tagParent {
				if parent = n > 0; parent && other {
					return skipped, i
				}
			}
		case tag&0x87 == wireFixed64:
			i += 9
		case tag == tagKind && n < 0x80:
			i += 2
			if k := Kind(n); k == Server || k == Consumer {
				return wanted, i
			}
			if other = true; parent {
				return skipped, i
			}
		case tag == tagFlags&0xff && n == tagFlags>>8:
			i += 6
		default:
			return classifyAny(b, i, end, parent, other)
		}
	}
	return classifyAny(b, i, end, parent, other)
}

// classifyAny is classify for fields of every form.
func classifyAny(b []byte, i, end int, parent, other bool) (verdict, int) {
	for i < end {
		tag, lo, next := field(b, i)
		switch tag {
		case tagParent:
			parent = next > lo
		case tagKind:
			v, _ := varint(b, lo)
			k := Kind(int32(v))
			if k == Server || k == Consumer {
				return wanted, next
			}
			other = true
		}
		if i = next; parent && other {
			return skipped, i
		}
	}
	return undecided, i
}

// read reads the whole span at d.body[lo:end] into d.span.
func (d *Decoder) read(lo, end int) error {
	b, s := d.body, &d.span
	s.attrs.reset()
	s.TraceID, s.SpanID, s.TraceState, s.Name = nil, nil, nil, nil
	s.Start, s.End, s.Kind, s.Status, s.Root = 0, 0, 0, Unset, true
	for i := lo; i < end; {
		if b[i] == tagAttr {
			if i = d.plainAttrs(i, end); i == end {
				break
			}
		}
		var tag uint64
		var lo, next int
		if i+1 < len(b) && b[i]&0x87 == wireBytes && b[i] > wireBytes && b[i+1] < 0x80 {
			tag, lo = uint64(b[i]), i+2
			next = lo + int(b[i+1])
		} else {
			tag, lo, next = field(b, i)
		}
		if next > end {
			return d.fault("Span", i, end)
		}
		i = next
		var err error
		switch tag {
		case tagTraceID:
			s.TraceID = b[lo:next]
		case tagSpanID:
			s.SpanID = b[lo:next]
		case tagTraceState:
			s.TraceState = b[lo:min(next, lo+MaxValue)]
		case tagParent:
			s.Root = next == lo
		case tagName:
			s.Name = b[lo:min(next, lo+MaxValue)]
		case tagKind:
			v, _ := varint(b, lo)
			s.Kind = Kind(int32(v))
		case tagStart:
			s.Start = binary.LittleEndian.Uint64(b[lo:])
		case tagEnd:
			s.End = binary.LittleEndian.Uint64(b[lo:])
		case tagAttr:
			err = d.attr(lo, next, &s.attrs)
		case tagEvent:
			err = d.nest(inEvent, lo, next, 0)
		case tagLink:
			err = d.nest(inLink, lo, next, 0)
		case tagStatus:
			err = d.status(lo, next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// status reads the code of a Status.
func (d *Decoder) status(lo, end int) error {
	i := lo
	for i < end {
		tag, lo, next := field(d.body, i)
		if tag == tagStatusCode {
			v, _ := varint(d.body, lo)
			d.span.Status = Status(int32(v))
		}
		i = next
	}
	if i != end {
		return d.fault("Status", lo, end)
	}
	return nil
}

// plainAttrs reads the run of span attributes at d.body[i] as long as they
// have the form nearly all have, one key and one value in either order and
// less than 128 bytes together, and returns the position after them.
func (d *Decoder) plainAttrs(i, end int) int {
	b := d.body
	keys := d.keys
	for i+6 <= len(b) {
		// Tag and length of the attribute and of the first field in it, then of
		// the second field, which must be the rest.
		head := binary.LittleEndian.Uint32(b[i:])
		next := i + 2 + int(head>>8&0x7f)
		first := i + 4
		second := first + int(head>>24)
		if next > end || second+2 > next || int(b[second+1]) != next-second-2 {
			return i
		}
		switch {
		case head&0x80ff80ff == tagKey<<16|tagAttr && b[second] == tagValue:
			if k := b[first:second]; keys.wants(k) && !d.plainAttr(k, second+2, next) {
				return i
			}
		case head&0x80ff80ff == tagValue<<16|tagAttr && b[second] == tagKey:
			if k := b[second+2 : next]; keys.wants(k) && !d.plainAttr(k, first, second) {
				return i
			}
		default:
			return i
		}
		i = next
	}
	return i
}

// plainAttr puts the span attribute with its value at d.body[lo:hi] among the
// values if somebody wants it. It returns false if the value is malformed.
func (d *Decoder) plainAttr(key []byte, lo, hi int) bool {
	slot := d.keys.slot(key)
	if slot < 0 {
		return true
	}
	c := &d.span.attrs.cell[slot]
	if c.age == d.span.attrs.age {
		return true
	}
	if lo+2 <= hi {
		switch d.body[lo] {
		case tagString:
			if int(d.body[lo+1]) == hi-lo-2 {
				*c = cell{age: d.span.attrs.age, typ: String, bits: textBits(lo+2, hi)}
				return true
			}
		case tagInt:
			if v, end := varint(d.body, lo+1); end == hi {
				*c = cell{age: d.span.attrs.age, typ: Int, bits: v}
				return true
			}
		}
	}
	typ, bits, end := anyValue(d.body, lo, hi, Empty, 0)
	if end == hi && typ != Empty {
		*c = cell{age: d.span.attrs.age, typ: typ, bits: bits}
	}
	return end == hi
}

// attr puts the attribute at d.body[lo:end] among the values if somebody wants it.
func (d *Decoder) attr(lo, end int, values *cells) error {
	if err := d.nest(inKeyValue, lo, end, 0); err != nil {
		return err
	}
	b := d.body
	var key []byte
	i := lo
	for i < end {
		tag, lo, next := field(b, i)
		if tag == tagKey && next <= end {
			key = b[lo:next]
		}
		i = next
	}
	if i != end {
		return d.fault("KeyValue", lo, end)
	}
	slot := d.keys.slot(key)
	if slot < 0 || values.cell[slot].age == values.age {
		return nil
	}
	// A value in several parts is merged: the last part that says something counts.
	typ, bits := Empty, uint64(0)
	for lo, next := find(b, lo, end, tagValue); lo >= 0; lo, next = find(b, next, end, tagValue) {
		var at int
		if typ, bits, at = anyValue(b, lo, next, typ, bits); at != next {
			return d.fault("AnyValue", lo, next)
		}
	}
	if typ != Empty {
		values.cell[slot] = cell{age: values.age, typ: typ, bits: bits}
	}
	return nil
}

// anyValue reads the AnyValue at b[i:end], typ and bits being what was read
// before of the same one, and returns the position where it ended.
func anyValue(b []byte, i, end int, typ Type, bits uint64) (Type, uint64, int) {
	for i < end {
		tag, lo, next := field(b, i)
		if i = next; next > end {
			break
		}
		switch tag {
		case tagString:
			typ, bits = String, textBits(lo, next)
		case tagInt:
			typ = Int
			bits, _ = varint(b, lo)
		case tagBool:
			typ = Bool
			bits, _ = varint(b, lo)
		case tagDouble:
			typ, bits = Double, binary.LittleEndian.Uint64(b[lo:])
		case tagArray, tagKvlist, tagBytes, tagIndex:
			typ, bits = Other, 0
		}
	}
	return typ, bits, i
}

// fault returns the error for a message that could not be walked: it walks it
// once more, now looking for what is wrong.
func (d *Decoder) fault(message string, i, end int) error {
	for i < end {
		tag, lo, next := field(d.body, i)
		if next == buried {
			return fmt.Errorf("%w: unknown field of %s at byte %d; the limit is %d levels of groups", ErrTooDeep, message, i, MaxDepth)
		}
		if next > end {
			return fmt.Errorf("%w: %s: %s at byte %d", ErrMalformed, message, why(tag, lo), i)
		}
		i = next
	}
	return fmt.Errorf("%w: %s ends at byte %d", ErrMalformed, message, end)
}

// why says what is wrong with a field of which lo was read.
func why(tag uint64, lo int) string {
	switch {
	case lo == broken:
		return "no field tag"
	case tag>>3 == 0:
		return "field number 0"
	case tag&7 == wireVarint:
		return "varint runs past the end or over 64 bits"
	case tag&7 == wireFixed64, tag&7 == wireFixed32:
		return "number runs past the end"
	case tag&7 == wireBytes:
		return "length runs past the end"
	case tag&7 == wireGroup:
		return "group without a matching end"
	default:
		return fmt.Sprintf("wire type %d", tag&7)
	}
}
