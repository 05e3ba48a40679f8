package spec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/slowburn-slo/slowburn/slo"
)

type kind uint8

const (
	null kind = iota
	text
	number
	boolean
	list
	table
)

// node is one value of a YAML file.
type node struct {
	kind   kind
	text   string  // a text, or a number or boolean as it is written
	items  []*node // of a list
	fields []field // of a table, as in the file: keys may be there twice
	pos    slo.Pos

	// meant is set on a null that was meant otherwise, and says how to write
	// it: in "slack: #shop" the value is a comment.
	meant string
}

type field struct {
	key   string
	pos   slo.Pos
	value *node
}

// document is a YAML file while it is read.
type document struct {
	name   string
	faults *collector

	// lost holds what looks like a value lost to a comment, such as the #shop
	// of "slack: #shop", by the place of the colon before it.
	lost map[slo.Pos]lost
}

type lost struct {
	text   string
	inFlow bool // within [] or {}, whose end is then lost as well
}

// parse reads a YAML file of one document. It returns nil when the file is
// empty or has been found faulty, and reports to faults why.
func parse(name string, data []byte, faults *collector) *node {
	d := &document{name: name, faults: faults, lost: map[slo.Pos]lost{}}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !d.checkBytes(data) {
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	if !d.checkTokens(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		d.fault(slo.Pos{File: name, Line: 1, Column: 1}, "no flows", "want a map with service: and flows:")
		return nil
	}
	return d.node(file.Docs[0].Body)
}

func (d *document) fault(pos slo.Pos, fact, want string) {
	d.faults.add(Fault{Pos: pos, Fact: fact, Want: want})
}

func (d *document) at(t *token.Token) slo.Pos {
	return slo.Pos{File: d.name, Line: max(1, t.Position.Line), Column: max(1, t.Position.Column)}
}

// syntax reports an error of the YAML library, in other words where those say
// more to somebody who is no parser.
func (d *document) syntax(err error) {
	before := len(d.faults.list)
	for pos, l := range d.lost {
		if l.inFlow { // in {page: #shop} the } is part of the comment
			d.fault(pos, "an empty value", quoteIt("", l.text))
		}
	}
	if len(d.faults.list) > before {
		return
	}
	pos, message := slo.Pos{File: d.name, Line: 1, Column: 1}, ""
	var located yaml.Error
	if errors.As(err, &located) { // its Error would print the whole source, slowly
		message = located.GetMessage()
		if t := located.GetToken(); t != nil && t.Position != nil {
			pos = d.at(t)
		}
	} else {
		message = err.Error()
	}
	for _, known := range []struct{ message, fact, want string }{
		{"mapping value is not allowed", `a second ":" in one line`, "want quotes around a text that holds one"},
		{"could not find end character", "a quote that is not closed", "want the closing quote"},
		{"could not find flow mapping end", `a "{" that is not closed`, `want the closing "}"`},
		{"sequence end token", `a "[" that is not closed`, `want the closing "]"`},
		{"must be specified", "brackets that do not go on here", `want "," or the closing bracket, or quotes around a text that holds brackets`},
		{"value is not allowed in this context", "a value where none can be", "want key: value, indented like its neighbours"},
		{"non-map value is specified", "a text where a key should be", "want key: value"},
		{"is a reserved character", "a text cannot begin with @ or ` in YAML", "want quotes around it"},
		{"invalid header option", "a text cannot begin with > or | in YAML", `want quotes around it, as in ">=500"`},
	} {
		if strings.Contains(message, known.message) {
			d.fault(pos, known.fact, known.want)
			return
		}
	}
	message, _, _ = strings.Cut(message, "\n")
	d.fault(pos, "is not YAML: "+brief(message), "want valid YAML")
}

// quoteIt says how to write a value that YAML took for a comment.
func quoteIt(before, lost string) string {
	return fmt.Sprintf(`"#" starts a comment in YAML, so quote it: %s"%s"`, before, brief(lost))
}

// node converts a value as the library read it.
func (d *document) node(n ast.Node) *node {
	out := &node{pos: d.at(n.GetToken())}
	switch n := n.(type) {
	case *ast.MappingNode:
		out.kind = table
		if n.IsFlowStyle {
			out.pos = d.at(n.Start)
		}
		for _, v := range n.Values {
			out.fields = append(out.fields, d.field(v))
		}
		if !n.IsFlowStyle && len(out.fields) > 0 {
			out.pos = out.fields[0].pos
		}
	case *ast.MappingValueNode:
		out.kind = table
		out.fields = []field{d.field(n)}
		out.pos = out.fields[0].pos
	case *ast.SequenceNode:
		out.kind = list
		out.pos = d.at(n.Start)
		for _, v := range n.Values {
			out.items = append(out.items, d.node(v))
		}
	case *ast.StringNode:
		out.kind, out.text = text, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = text, strings.TrimRight(n.Value.Value, "\n")
		out.pos = d.at(n.Start)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = number, n.GetToken().Value
	case *ast.BoolNode:
		out.kind, out.text = boolean, strings.ToLower(n.GetToken().Value)
	case *ast.NullNode:
	default:
		d.fault(out.pos, "a "+strings.ToLower(n.Type().String())+", which is not supported", "want a text, list or map")
	}
	return out
}

func (d *document) field(n *ast.MappingValueNode) field {
	key := n.Key.GetToken()
	f := field{key: key.Value, pos: d.at(key), value: d.node(n.Value)}
	if f.value.kind == null {
		f.value.pos = f.pos // nothing is nowhere: point to its key
		if l, ok := d.lost[d.at(n.Start)]; ok {
			f.value.meant = quoteIt(brief(f.key)+": ", l.text)
		}
	}
	return f
}
