package where

import "strings"

const (
	// maxText is the length in bytes after which a value is cut for people.
	maxText = 122

	textSets = 4096 // a power of two
	textWays = 4
)

// texts knows the texts of values that come often: 16,384 at most, of all flows.
// A value that is common among samples is seen again and again and stays; those
// that are made up push each other out.
type texts [][textWays]text

type text struct {
	id   uint32 // 0: free
	uses uint8
	n    uint8
	b    [maxText]byte
}

// newTexts takes 2 MiB, of which the system gives what is used.
func newTexts() texts { return make(texts, textSets) }

func (t texts) put(id uint32, b []byte) {
	set := &t[id%textSets]
	least := &set[0]
	for i := range set {
		switch x := &set[i]; {
		case x.id == id:
			if x.uses < 255 {
				x.uses++
			}
			return
		case x.uses < least.uses:
			least = x
		}
	}
	if least.uses > 0 {
		least.uses--
		return
	}
	least.id, least.uses, least.n = id, 1, uint8(copy(least.b[:], b))
}

// get returns the text of a value, as valid UTF-8; empty if it is not known.
func (t texts) get(id uint32) string {
	for i := range t[id%textSets] {
		if x := &t[id%textSets][i]; x.id == id {
			return strings.ToValidUTF8(string(x.b[:x.n]), "\uFFFD")
		}
	}
	return ""
}
