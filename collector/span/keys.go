package span

import (
	"math/bits"
	"slices"
)

// Keys is a set of attribute keys worth reading, each with a slot. It is
// immutable and safe for concurrent use.
type Keys struct {
	names   []string
	lengths uint64   // bit n%64 is set when some key is n bytes long
	table   []uint32 // slot+1 by hash, open addressing, a power of two long; 0 is free
}

// NewKeys returns the set of the given keys: the slot of names[i] is i. Of
// equal names the first counts; empty names and those over MaxKey bytes are
// never found.
func NewKeys(names []string) *Keys {
	// A quarter full at most: one probe then nearly always decides.
	k := &Keys{names: slices.Clone(names), table: make([]uint32, max(64, 1<<bits.Len(uint(4*len(names)))))}
	for slot, name := range k.names {
		if name == "" || len(name) > MaxKey {
			continue
		}
		k.lengths |= 1 << (len(name) & 63)
		h := hash([]byte(name))
		for k.table[h&uint(len(k.table)-1)] != 0 {
			h++
		}
		k.table[h&uint(len(k.table)-1)] = uint32(slot + 1)
	}
	return k
}

// Len returns how many slots there are.
func (k *Keys) Len() int { return len(k.names) }

// wants reports whether key may be in the set, nearly always rightly.
//
// Most attributes of a span interest nobody. Their length alone rules out most
// of them, and a byte from the end and one from the middle nearly all others:
// the beginnings of keys are much alike.
func (k *Keys) wants(key []byte) bool {
	return k.lengths>>(len(key)&63)&1 != 0 && len(key) > 0 && k.table[hash(key)&uint(len(k.table)-1)] != 0
}

// slot returns the slot of key, or -1 if it is not in the set.
func (k *Keys) slot(key []byte) int {
	if len(key) == 0 {
		return -1
	}
	for h := hash(key); ; h++ {
		at := k.table[h&uint(len(k.table)-1)]
		if at == 0 {
			return -1
		}
		if k.names[at-1] == string(key) {
			return int(at - 1)
		}
	}
}

// hash mixes the length, the last byte and a middle byte of a non-empty key.
func hash(key []byte) uint {
	n := uint(len(key))
	return n + uint(key[n-1])*5 + uint(key[n/2])*29
}
