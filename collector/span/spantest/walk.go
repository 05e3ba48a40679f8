package spantest

import (
	"encoding/binary"
	"errors"
)

// Walk visits every field of an ExportTraceServiceRequest by hand and returns a
// number that depends on all of them. It is the yardstick for benchmarks: what
// reading the wire format costs when no field is left out, none is kept, and
// nothing is allocated.
func Walk(request []byte) (uint64, error) {
	sum, ok := walk(request, typeRequest)
	if !ok {
		return 0, errors.New("spantest: request is not well formed")
	}
	return sum, nil
}

// The message types of a request. children names the type of each field of
// type message by its number; all others are leaves.
const (
	leaf = iota
	typeRequest
	typeResourceSpans
	typeResource
	typeScopeSpans
	typeScope
	typeSpan
	typeEvent
	typeLink
	typeStatus
	typeKeyValue
	typeAnyValue
	typeArray
	typeKvlist
)

var children = [...][16]uint8{
	typeRequest:       {1: typeResourceSpans},
	typeResourceSpans: {1: typeResource, 2: typeScopeSpans},
	typeResource:      {1: typeKeyValue},
	typeScopeSpans:    {1: typeScope, 2: typeSpan},
	typeScope:         {3: typeKeyValue},
	typeSpan:          {9: typeKeyValue, 11: typeEvent, 13: typeLink, 15: typeStatus},
	typeEvent:         {3: typeKeyValue},
	typeLink:          {4: typeKeyValue},
	typeStatus:        {},
	typeKeyValue:      {2: typeAnyValue},
	typeAnyValue:      {5: typeArray, 6: typeKvlist},
	typeArray:         {1: typeAnyValue},
	typeKvlist:        {1: typeKeyValue},
}

func walk(b []byte, typ uint8) (sum uint64, ok bool) {
	for i := 0; i < len(b); {
		tag := uint64(b[i])
		i++
		if tag >= 0x80 {
			var n int
			if tag, n = binary.Uvarint(b[i-1:]); n <= 0 {
				return 0, false
			}
			i += n - 1
		}
		switch tag & 7 {
		case 2:
			if i >= len(b) {
				return 0, false
			}
			n := int(b[i])
			i++
			if n >= 0x80 {
				if i < len(b) && b[i] < 0x80 {
					n += int(b[i])<<7 - 0x80
					i++
				} else {
					v, m := binary.Uvarint(b[i-1:])
					if m <= 0 || v > uint64(len(b)) {
						return 0, false
					}
					n = int(v)
					i += m - 1
				}
			}
			if n > len(b)-i {
				return 0, false
			}
			field := b[i : i+n]
			i += n
			if num := tag >> 3; num < 16 && children[typ][num] != leaf {
				inner, ok := walk(field, children[typ][num])
				if !ok {
					return 0, false
				}
				sum += inner
			} else if n > 0 {
				sum += uint64(field[0]) + uint64(n)
			}
		case 0:
			if i >= len(b) {
				return 0, false
			}
			v := uint64(b[i])
			i++
			if v >= 0x80 {
				var n int
				if v, n = binary.Uvarint(b[i-1:]); n <= 0 {
					return 0, false
				}
				i += n - 1
			}
			sum += v
		case 1:
			if len(b)-i < 8 {
				return 0, false
			}
			sum += binary.LittleEndian.Uint64(b[i:])
			i += 8
		case 5:
			if len(b)-i < 4 {
				return 0, false
			}
			sum += uint64(binary.LittleEndian.Uint32(b[i:]))
			i += 4
		default:
			return 0, false
		}
	}
	return sum, true
}
