package source

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"

	"github.com/slowburn-slo/slowburn/slo"
)

// Bounds of a file, so that no file, however odd, takes more than about a
// second and some tens of megabytes to read. The YAML library has none.
const (
	// MaxBytes is how long a file may be.
	MaxBytes = 1 << 20

	// maxMarks is how many characters with a meaning in YAML a file may hold.
	// Ten thousand flows in the densest style have about that many, and a
	// mebibyte of "[" is refused by it before a token is made.
	maxMarks = 200_000

	// maxRun is how many < may follow one another: the lexer counts those to
	// come at each, looking for a merge key.
	maxRun = 100

	// maxDepth is how deep lists and maps may lie in one another. The
	// language needs 8.
	maxDepth = 32

	// maxDocuments is how many documents a file may hold: lists of Kubernetes
	// objects are long, but not that long.
	maxDocuments = 1000

	// maxSiblings is the sum, over all block maps and lists, of half the
	// square of their length: the parser's time grows with it. 11,000 flows in
	// one map reach it.
	maxSiblings = 60_000_000

	// maxEmpty is how many values may be missing after their key. The
	// parser's time grows with it times the length of the file, and each is a
	// fault anyway.
	maxEmpty = 1000
)

// WantSplit is what is wanted of a file that is beyond the bounds of its size.
const WantSplit = "want it split into several files"

// checkBytes refuses what should not reach the YAML library, and reports
// whether there was nothing of it.
func (d *document) checkBytes(data []byte) bool {
	pos := slo.Pos{File: d.name, Line: 1, Column: 1}
	if len(data) > MaxBytes {
		d.fault(pos, "is larger than 1 MiB", WantSplit)
		return false
	}
	marks, run, tabbed := 0, 0, 0
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			d.fault(pos, fmt.Sprintf("byte 0x%02x is not UTF-8", data[i]), "want text in UTF-8")
			return false
		case r == '\n':
			pos.Line++
			pos.Column = 0
		case r == '\t':
			if tabbed != pos.Line { // one fault a line
				d.fault(pos, "a tab", "want spaces")
			}
			tabbed = pos.Line
		case r == '\r' && i+1 < len(data) && data[i+1] == '\n':
		case r < ' ' || r == 0x7f:
			d.fault(pos, fmt.Sprintf("control character 0x%02x", r), "want text")
			return false
		case r == '<' && run == maxRun:
			d.fault(pos, fmt.Sprintf("more than %d < in a row", maxRun), "want text")
			return false
		case strings.ContainsRune("[]{},:-?#'\"&*!|>%@`", r):
			marks++
			if marks > maxMarks {
				d.fault(pos, fmt.Sprintf("more than %d marks such as [ { : and -", maxMarks), WantSplit)
				return false
			}
		}
		run++
		if r != '<' {
			run = 0
		}
		i += size
		pos.Column++
	}
	return tabbed == 0
}

// unsupported are the parts of YAML that the language does without.
var unsupported = map[token.Type]struct{ fact, want string }{
	token.AnchorType:     {"an anchor (&), which is not supported", "want the value itself, or quotes around a text that begins with &"},
	token.AliasType:      {"an alias (*), which is not supported", "want the value itself, or quotes around a text that begins with *"},
	token.TagType:        {"a tag (!), which is not supported", "want the value without it, or quotes around a text that begins with !"},
	token.DirectiveType:  {"a directive (%), which is not supported", "want the file without it, or quotes around a text that begins with %"},
	token.MergeKeyType:   {"a merge key (<<), which is not supported", "want the keys themselves"},
	token.MappingKeyType: {"a complex key (?), which is not supported", "want key: value, or quotes around a text that begins with ?"},
}

// checkTokens refuses the parts of YAML that the language does without, and
// what would exhaust the parser, and reports whether there was nothing of it.
// On its way it notes values that were lost to comments.
func (d *document) checkTokens(tokens token.Tokens) bool {
	before := len(d.faults.list)
	var n nesting
	documents := 0
	var last *token.Token // before t, comments left out
	for _, t := range tokens {
		if t.Type == token.CommentType {
			if last != nil && last.Type == token.MappingValueType &&
				last.Position.Line == t.Position.Line && !strings.HasPrefix(t.Value, " ") {
				word, _, _ := strings.Cut(t.Value, " ")
				d.lost[d.at(last)] = lost{text: "#" + strings.TrimRight(word, ",}]"), inFlow: len(n.flows) > 0}
			}
			continue
		}
		if u, ok := unsupported[t.Type]; ok {
			d.fault(d.at(t), u.fact, u.want)
		}
		if t.Type == token.DocumentHeaderType || t.Type == token.DocumentEndType {
			n.blocks = nil
			documents++
			if documents > maxDocuments {
				d.fault(d.at(t), fmt.Sprintf("more than %d documents", maxDocuments), WantSplit)
				return false
			}
		}
		n.add(t, last)
		switch {
		case n.depth() > maxDepth:
			d.fault(d.at(t), fmt.Sprintf("lists and maps nested more than %d deep", maxDepth), "want a flat file")
			return false
		case n.siblings > maxSiblings:
			d.fault(d.at(t), "too long a list or map", WantSplit)
			return false
		case n.empty > maxEmpty:
			d.fault(d.at(t), fmt.Sprintf("more than %d empty values", maxEmpty), "want a value after each key")
			return false
		}
		last = t
	}
	return len(d.faults.list) == before
}

// nesting follows how tokens form lists and maps, as closely as bounds need.
type nesting struct {
	blocks   []block // the block lists and maps around the token, outermost first
	flows    []flow  // the [] and {} around it
	siblings int     // see maxSiblings
	empty    int     // see maxEmpty
}

// block is a list or map without brackets: where its entries begin, and how
// many there are so far.
type block struct{ column, length int }

// flow is a [] or {}; colon is whether its current entry has one.
type flow struct{ table, colon bool }

// depth returns how many lists and maps lie around the token.
func (n *nesting) depth() int { return len(n.blocks) + len(n.flows) }

// add takes the next token; last is the one before it, nil at first.
func (n *nesting) add(t, last *token.Token) {
	if n.isEmpty(t, last) {
		n.empty++
	}
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		n.flows = append(n.flows, flow{table: t.Type == token.MappingStartType})
	case token.MappingEndType, token.SequenceEndType:
		n.flows = n.flows[:max(0, len(n.flows)-1)]
	case token.CollectEntryType:
		if len(n.flows) > 0 {
			n.flows[len(n.flows)-1].colon = false
		}
	case token.SequenceEntryType:
		n.entry(t.Position.Column)
	case token.MappingValueType:
		if len(n.flows) > 0 {
			n.flows[len(n.flows)-1].colon = true
		} else if last != nil {
			n.entry(last.Position.Column)
		}
	}
}

// entry begins an entry of a block list or map.
func (n *nesting) entry(column int) {
	for len(n.blocks) > 0 && n.blocks[len(n.blocks)-1].column > column {
		n.blocks = n.blocks[:len(n.blocks)-1]
	}
	if len(n.blocks) == 0 || n.blocks[len(n.blocks)-1].column < column {
		n.blocks = append(n.blocks, block{column: column})
	}
	top := &n.blocks[len(n.blocks)-1]
	top.length++
	n.siblings += top.length
}

// isEmpty reports whether no value stands between last and t where one should.
func (n *nesting) isEmpty(t, last *token.Token) bool {
	if last == nil {
		return false
	}
	if len(n.flows) > 0 {
		ends := t.Type == token.CollectEntryType || t.Type == token.MappingEndType || t.Type == token.SequenceEndType
		in := n.flows[len(n.flows)-1]
		return ends && (last.Type == token.MappingValueType || in.table && !in.colon)
	}
	if len(n.blocks) == 0 || last.Type != token.MappingValueType && last.Type != token.SequenceEntryType {
		return false
	}
	column := n.blocks[len(n.blocks)-1].column
	listInMap := t.Type == token.SequenceEntryType && last.Type == token.MappingValueType
	return t.Position.Column < column || t.Position.Column == column && !listInMap
}
