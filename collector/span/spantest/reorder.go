package spantest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Order is the order in which an encoder writes the fields of a message. The
// values of a repeated field keep their order in all of them.
type Order uint8

// The orders. SDKs write ascending field numbers. Collectors (pdata) write
// descending ones: attributes before kind, the resource after the spans, values
// before keys. Permuted is any order, another one for each message.
const (
	Ascending Order = iota
	Descending
	Permuted
)

// String returns the order's name.
func (o Order) String() string {
	return [...]string{Ascending: "ascending", Descending: "descending", Permuted: "permuted"}[o]
}

// Reorder writes a message of the given type anew, with all its fields and
// those of the messages in it in the order o. seed is for Permuted. msg must be
// well formed; unknown fields are kept as they are.
func Reorder(msg []byte, desc protoreflect.MessageDescriptor, o Order, seed uint64) ([]byte, error) {
	return reorder(nil, msg, desc, o, rand.New(rand.NewPCG(seed, 0)))
}

func reorder(dst, msg []byte, desc protoreflect.MessageDescriptor, o Order, r *rand.Rand) ([]byte, error) {
	type field struct {
		num protowire.Number
		raw []byte // with the tag
	}
	var fields []field
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeField(msg)
		if n < 0 {
			return nil, fmt.Errorf("%s: %w", desc.Name(), protowire.ParseError(n))
		}
		raw := msg[:n]
		msg = msg[n:]
		if fd := desc.Fields().ByNumber(num); fd != nil && fd.Message() != nil && typ == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(raw)
			inner, _ := protowire.ConsumeBytes(raw[tag:])
			inner, err := reorder(nil, inner, fd.Message(), o, r)
			if err != nil {
				return nil, err
			}
			raw = protowire.AppendBytes(protowire.AppendTag(nil, num, typ), inner)
		}
		fields = append(fields, field{num, raw})
	}
	switch o {
	case Ascending:
		slices.SortStableFunc(fields, func(a, b field) int { return int(a.num - b.num) })
	case Descending:
		slices.SortStableFunc(fields, func(a, b field) int { return int(b.num - a.num) })
	case Permuted:
		// Shuffle the numbers, then deal each number's values in their order.
		nums := make([]protowire.Number, len(fields))
		values := map[protowire.Number][][]byte{}
		for i, f := range fields {
			nums[i] = f.num
			values[f.num] = append(values[f.num], f.raw)
		}
		r.Shuffle(len(nums), func(i, j int) { nums[i], nums[j] = nums[j], nums[i] })
		for i, num := range nums {
			fields[i] = field{num, values[num][0]}
			values[num] = values[num][1:]
		}
	}
	for _, f := range fields {
		dst = append(dst, f.raw...)
	}
	return dst, nil
}
