package span

import "fmt"

// message is a type of message on the way down to nested attribute values.
type message uint8

const (
	inSpan message = iota
	inEvent
	inLink
	inScope
	inKeyValue
	inAnyValue
	inArray
	inKvlist
)

// children are the fields of each message that lead further down.
var children = [...][]struct {
	tag uint64
	to  message
}{
	inSpan:     {{tagAttr, inKeyValue}, {tagEvent, inEvent}, {tagLink, inLink}},
	inEvent:    {{tagEventAttr, inKeyValue}},
	inLink:     {{tagLinkAttr, inKeyValue}},
	inScope:    {{tagScopeAttr, inKeyValue}},
	inKeyValue: {{tagValue, inAnyValue}},
	inAnyValue: {{tagArray, inArray}, {tagKvlist, inKvlist}},
	inArray:    {{tagArrayValue, inAnyValue}},
	inKvlist:   {{tagKvlistValue, inKeyValue}},
}

// nest returns an error when an AnyValue in d.body[lo:end], a message of type
// m that lies in depth other AnyValues already, lies in MaxDepth or more others.
//
// A level costs 4 bytes at least: tag and length of an array and of the value
// in it. So short messages, which nearly all are, need no look, and the
// recursion ends with the limit.
func (d *Decoder) nest(m message, lo, end, depth int) error {
	if depth+1+(end-lo)/4 <= MaxDepth {
		return nil
	}
	return d.nestLong(m, lo, end, depth)
}

func (d *Decoder) nestLong(m message, lo, end, depth int) error {
	if m == inAnyValue {
		if depth++; depth > MaxDepth {
			return fmt.Errorf("%w: attribute value at byte %d; the limit is %d levels", ErrTooDeep, lo, MaxDepth)
		}
	}
	i := lo
	for i < end {
		tag, lo, next := field(d.body, i)
		if i = next; next > end {
			break
		}
		for _, c := range children[m] {
			if tag == c.tag {
				if err := d.nest(c.to, lo, next, depth); err != nil {
					return err
				}
			}
		}
	}
	if i != end {
		return d.fault("message with attributes", lo, end)
	}
	return nil
}
