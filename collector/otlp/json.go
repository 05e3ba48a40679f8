package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxDepth is how deep an attribute's value may nest, in AnyValues.
const maxDepth = 64

// kind is how a JSON value is written and goes into protobuf.
type kind uint8

const (
	text    kind = iota // string
	raw                 // base64 → bytes
	traceID             // 32 hex digits → bytes
	spanID              // 16 hex digits → bytes
	boolean
	enum    // integer → varint; names are not OTLP
	uint32s // → varint
	int64s  // → varint
	fixed32
	fixed64
	double
	nested // an object of the message in field.of
)

// field is one field of a message, found by its JSON name.
type field struct {
	num      protowire.Number
	kind     kind
	of       int  // index into schema, for nested
	repeated bool // an array in JSON
}

// The messages of a trace request, as indexes into schema.
const (
	request = iota
	resourceSpans
	resource
	entityRef
	scopeSpans
	scope
	span
	event
	link
	spanStatus
	keyValue
	anyValue
	arrayValue
	keyValueList
)

// schema is opentelemetry-proto 1.11.0 as far as traces reach, without the
// fields that only profiles use.
var schema = [...]map[string]field{
	request: {"resourceSpans": {num: 1, kind: nested, of: resourceSpans, repeated: true}},
	resourceSpans: {
		"resource":   {num: 1, kind: nested, of: resource},
		"scopeSpans": {num: 2, kind: nested, of: scopeSpans, repeated: true},
		"schemaUrl":  {num: 3, kind: text},
	},
	resource: {
		"attributes":             {num: 1, kind: nested, of: keyValue, repeated: true},
		"droppedAttributesCount": {num: 2, kind: uint32s},
		"entityRefs":             {num: 3, kind: nested, of: entityRef, repeated: true},
	},
	entityRef: {
		"schemaUrl":       {num: 1, kind: text},
		"type":            {num: 2, kind: text},
		"idKeys":          {num: 3, kind: text, repeated: true},
		"descriptionKeys": {num: 4, kind: text, repeated: true},
	},
	scopeSpans: {
		"scope":     {num: 1, kind: nested, of: scope},
		"spans":     {num: 2, kind: nested, of: span, repeated: true},
		"schemaUrl": {num: 3, kind: text},
	},
	scope: {
		"name":                   {num: 1, kind: text},
		"version":                {num: 2, kind: text},
		"attributes":             {num: 3, kind: nested, of: keyValue, repeated: true},
		"droppedAttributesCount": {num: 4, kind: uint32s},
	},
	span: {
		"traceId":                {num: 1, kind: traceID},
		"spanId":                 {num: 2, kind: spanID},
		"traceState":             {num: 3, kind: text},
		"parentSpanId":           {num: 4, kind: spanID},
		"name":                   {num: 5, kind: text},
		"kind":                   {num: 6, kind: enum},
		"startTimeUnixNano":      {num: 7, kind: fixed64},
		"endTimeUnixNano":        {num: 8, kind: fixed64},
		"attributes":             {num: 9, kind: nested, of: keyValue, repeated: true},
		"droppedAttributesCount": {num: 10, kind: uint32s},
		"events":                 {num: 11, kind: nested, of: event, repeated: true},
		"droppedEventsCount":     {num: 12, kind: uint32s},
		"links":                  {num: 13, kind: nested, of: link, repeated: true},
		"droppedLinksCount":      {num: 14, kind: uint32s},
		"status":                 {num: 15, kind: nested, of: spanStatus},
		"flags":                  {num: 16, kind: fixed32},
	},
	event: {
		"timeUnixNano":           {num: 1, kind: fixed64},
		"name":                   {num: 2, kind: text},
		"attributes":             {num: 3, kind: nested, of: keyValue, repeated: true},
		"droppedAttributesCount": {num: 4, kind: uint32s},
	},
	link: {
		"traceId":                {num: 1, kind: traceID},
		"spanId":                 {num: 2, kind: spanID},
		"traceState":             {num: 3, kind: text},
		"attributes":             {num: 4, kind: nested, of: keyValue, repeated: true},
		"droppedAttributesCount": {num: 5, kind: uint32s},
		"flags":                  {num: 6, kind: fixed32},
	},
	spanStatus: {
		"message": {num: 2, kind: text},
		"code":    {num: 3, kind: enum},
	},
	keyValue: {
		"key":   {num: 1, kind: text},
		"value": {num: 2, kind: nested, of: anyValue},
	},
	anyValue: {
		"stringValue": {num: 1, kind: text},
		"boolValue":   {num: 2, kind: boolean},
		"intValue":    {num: 3, kind: int64s},
		"doubleValue": {num: 4, kind: double},
		"arrayValue":  {num: 5, kind: nested, of: arrayValue},
		"kvlistValue": {num: 6, kind: nested, of: keyValueList},
		"bytesValue":  {num: 7, kind: raw},
	},
	arrayValue:   {"values": {num: 1, kind: nested, of: anyValue, repeated: true}},
	keyValueList: {"values": {num: 1, kind: nested, of: keyValue, repeated: true}},
}

// appendRequest appends to dst the protobuf form of an ExportTraceServiceRequest
// written in OTLP/JSON. It goes from the one to the other without building the
// request in between, so that memory does not depend on how many spans a body
// is said to hold, and never nests deeper than maxDepth allows.
//
// Fields it does not know are left out and null is absent, as protobuf's JSON
// mapping has it; ids are hex, enums numbers and names lowerCamelCase, as
// OTLP's has it. Fields stay in the order they are written in.
func appendRequest(dst, src []byte) ([]byte, error) {
	if !utf8.Valid(src) {
		return dst, errors.New("invalid UTF-8")
	}
	// From here on the grammar is known to be right: only meaning can be wrong.
	if !json.Valid(src) {
		return dst, errors.New("not one whole JSON value, or nested too deep")
	}
	t := transcoder{src: src, dst: dst}
	if t.peek() != '{' {
		return dst, t.want([]byte("request"), "an object")
	}
	err := t.object(request)
	return t.dst, err
}

// transcoder reads valid JSON in src and appends protobuf to dst.
type transcoder struct {
	src   []byte
	at    int // the next byte of src
	depth int // of AnyValues
	dst   []byte
}

func (t *transcoder) want(name []byte, what string) error {
	return fmt.Errorf("offset %d: %s: want %s", t.at, name, what)
}

// peek returns the first byte of the next token.
func (t *transcoder) peek() byte {
	for {
		switch c := t.src[t.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':': // the grammar has been checked
			t.at++
		default:
			return c
		}
	}
}

// token returns a string with its quotes, a number or a literal.
func (t *transcoder) token() []byte {
	next := t.peek()
	start := t.at
	if next == '"' {
		for t.at++; t.src[t.at] != '"'; t.at++ {
			if t.src[t.at] == '\\' {
				t.at++
			}
		}
		t.at++
		return t.src[start:t.at]
	}
	for start = t.at; ; t.at++ {
		switch t.src[t.at] {
		case ' ', '\t', '\r', '\n', ',', ']', '}':
			return t.src[start:t.at]
		}
	}
}

// unquote returns what is between the quotes of a token.
func unquote(token []byte) ([]byte, error) {
	inside := token[1 : len(token)-1]
	if bytes.IndexByte(inside, '\\') < 0 {
		return inside, nil
	}
	var s string
	err := json.Unmarshal(token, &s)
	return []byte(s), err
}

// skip passes over a value of any kind without recursion.
func (t *transcoder) skip() {
	for open := 0; ; {
		switch t.peek() {
		case '{', '[':
			t.at++
			open++
		case '}', ']':
			t.at++
			open--
		default:
			t.token()
		}
		if open == 0 {
			return
		}
	}
}

// object appends the fields of a message. peek is at its brace.
func (t *transcoder) object(message int) error {
	t.at++
	for t.peek() != '}' {
		name, err := unquote(t.token())
		if err != nil {
			return err
		}
		f, known := schema[message][string(name)]
		next := t.peek()
		switch {
		case !known, next == 'n': // null
			t.skip()
		case !f.repeated:
			err = t.value(f, name)
		case next != '[':
			err = t.want(name, "an array")
		default:
			for t.at++; t.peek() != ']' && err == nil; {
				err = t.value(f, name)
			}
			t.at++
		}
		if err != nil {
			return err
		}
	}
	t.at++
	return nil
}

// value appends one value of a field with its tag.
func (t *transcoder) value(f field, name []byte) error {
	next := t.peek()
	if f.kind == nested {
		if next != '{' {
			return t.want(name, "an object")
		}
		return t.nested(f, name)
	}
	if next == '{' || next == '[' {
		return t.want(name, "a plain value")
	}
	token, quoted := t.token(), next == '"'
	if quoted {
		var err error
		if token, err = unquote(token); err != nil {
			return t.want(name, "a string")
		}
	}
	switch f.kind {
	case text, raw, traceID, spanID:
		if !quoted {
			return t.want(name, "a string")
		}
		return t.bytes(f, name, token)
	case boolean:
		if quoted || next != 't' && next != 'f' {
			return t.want(name, "true or false")
		}
		t.varint(f, protowire.EncodeBool(next == 't'))
	case enum:
		n, err := strconv.ParseInt(string(token), 10, 32)
		if err != nil || quoted {
			return t.want(name, "an integer, as OTLP/JSON writes enums")
		}
		t.varint(f, uint64(n))
	case uint32s:
		n, err := strconv.ParseUint(string(token), 10, 32)
		if err != nil {
			return t.want(name, "an integer of 32 bits")
		}
		t.varint(f, n)
	case int64s:
		n, err := strconv.ParseInt(string(token), 10, 64)
		if err != nil {
			return t.want(name, "an integer of 64 bits")
		}
		t.varint(f, uint64(n))
	case fixed32:
		n, err := strconv.ParseUint(string(token), 10, 32)
		if err != nil {
			return t.want(name, "an integer of 32 bits")
		}
		t.dst = protowire.AppendFixed32(protowire.AppendTag(t.dst, f.num, protowire.Fixed32Type), uint32(n))
	case fixed64:
		n, err := strconv.ParseUint(string(token), 10, 64)
		if err != nil {
			return t.want(name, "an integer of 64 bits")
		}
		t.dst = protowire.AppendFixed64(protowire.AppendTag(t.dst, f.num, protowire.Fixed64Type), n)
	case double:
		x, err := strconv.ParseFloat(string(token), 64)
		if err != nil {
			return t.want(name, "a number")
		}
		t.dst = protowire.AppendFixed64(protowire.AppendTag(t.dst, f.num, protowire.Fixed64Type), math.Float64bits(x))
	}
	return nil
}

func (t *transcoder) varint(f field, n uint64) {
	t.dst = protowire.AppendVarint(protowire.AppendTag(t.dst, f.num, protowire.VarintType), n)
}

// bytes appends what a string stands for.
func (t *transcoder) bytes(f field, name []byte, s []byte) (err error) {
	switch f.kind {
	case traceID, spanID:
		digits := 32
		if f.kind == spanID {
			digits = 16
		}
		var id [16]byte
		n, err := hex.Decode(id[:], s[:min(len(s), digits)])
		if err != nil || len(s) != 0 && len(s) != digits {
			return t.want(name, fmt.Sprintf("%d hex digits", digits))
		}
		t.dst = protowire.AppendBytes(protowire.AppendTag(t.dst, f.num, protowire.BytesType), id[:n])
		return nil
	case raw:
		alphabet := base64.RawStdEncoding
		if bytes.ContainsAny(s, "-_") {
			alphabet = base64.RawURLEncoding
		}
		s, err = alphabet.AppendDecode(nil, bytes.TrimRight(s, "="))
		if err != nil {
			return t.want(name, "base64")
		}
	}
	t.dst = protowire.AppendBytes(protowire.AppendTag(t.dst, f.num, protowire.BytesType), s)
	return nil
}

// nested appends a message within a message. Its length comes first and is
// known last: one byte is kept for it, which is enough for most, and the
// message moved where it is not.
func (t *transcoder) nested(f field, name []byte) error {
	if f.of == anyValue {
		if t.depth++; t.depth > maxDepth {
			return t.want(name, fmt.Sprintf("values nested at most %d deep", maxDepth))
		}
		defer func() { t.depth-- }()
	}
	t.dst = protowire.AppendTag(t.dst, f.num, protowire.BytesType)
	start := len(t.dst)
	t.dst = append(t.dst, 0)
	if err := t.object(f.of); err != nil {
		return err
	}
	size := len(t.dst) - start - 1
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(size))
	t.dst = append(t.dst, length[1:n]...) // as many bytes as it takes more
	copy(t.dst[start+n:], t.dst[start+1:start+1+size])
	copy(t.dst[start:], length[:n])
	return nil
}
