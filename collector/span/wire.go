package span

import "math"

// The protobuf wire format. All positions are indices into the whole request,
// and every loop over a message checks once, at its end, that it came to the
// message's end: a reader that cannot go on returns a position beyond all
// ends, where every loop stops. A field that runs past its message into the
// next one is found by the same check.

// Wire types.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireGroup   = 3
	wireFixed32 = 5
)

// Positions that stand for malformed bytes and for groups nested too deep. A
// length can be added to them without overflow.
const (
	broken = math.MaxInt / 2
	buried = broken + 1
)

// field reads the field at b[i], which must be in b. Its tag is its number<<3 |
// wire type; b[lo:next] is what it holds, and the next field begins at next.
func field(b []byte, i int) (tag uint64, lo, next int) {
	tag, lo = uint64(b[i]), i+1
	if tag >= 0x80 {
		tag, lo = varint(b, i)
		if tag > (1<<29-1)<<3|7 {
			return 0, broken, broken
		}
	}
	if tag>>3 == 0 {
		return tag, lo, broken
	}
	lo, next = value(b, tag, lo)
	return tag, lo, next
}

// value reads the value at b[i] of a field with the given tag: b[lo:next].
func value(b []byte, tag uint64, i int) (lo, next int) {
	switch tag & 7 {
	case wireVarint:
		_, next = varint(b, i)
		return i, next
	case wireFixed64:
		return i, i + 8
	case wireBytes:
		n, lo := varint(b, i)
		if n > uint64(len(b)) {
			return i, broken
		}
		return lo, lo + int(n)
	case wireFixed32:
		return i, i + 4
	case wireGroup:
		return i, skipGroup(b, tag, i)
	default:
		return i, broken
	}
}

// varint reads the varint at b[i].
func varint(b []byte, i int) (v uint64, next int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	for shift := 0; i < len(b); shift += 7 {
		c := b[i]
		i++
		if shift == 63 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, i
		}
	}
	return 0, broken
}

// skipGroup returns the position after a group, whose contents begin at b[i].
// Nobody writes groups any more, but the official decoder accepts them in unknown
// fields. They may nest to MaxDepth.
func skipGroup(b []byte, tag uint64, i int) int {
	var open [MaxDepth]uint64 // the field numbers
	open[0] = tag >> 3
	depth := 1
	for i < len(b) {
		tag, i = varint(b, i)
		switch num := tag >> 3; {
		case num == 0 || num > math.MaxInt32: // laxer than elsewhere, as the official decoder is
			return broken
		case tag&7 == wireGroup:
			if depth == len(open) {
				return buried
			}
			open[depth] = num
			depth++
		case tag&7 == wireGroup+1:
			depth--
			if open[depth] != num {
				return broken
			}
			if depth == 0 {
				return i
			}
		default:
			_, i = value(b, tag, i)
		}
	}
	return broken
}
