// Package source reads YAML into values that know their place in the file, and
// gathers what is wrong with them, so that whoever gives them a meaning can
// report every fault of every file at once.
//
// It reads the part of YAML that configuration needs: no anchors, tags or merge
// keys, and within bounds that no file, however odd, exceeds; see bounds.go.
package source

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

// Kind is what a node holds.
type Kind uint8

// The kinds. Null is no value at all: "slack:" and "slack: ~".
const (
	Null Kind = iota
	Text
	Number
	Boolean
	List
	Table
)

// Node is one value of a YAML file.
type Node struct {
	Kind   Kind
	Text   string  // a text, or a number or boolean as it is written
	Items  []*Node // of a list
	Fields []Field // of a table, as in the file: keys may be there twice
	Pos    slo.Pos

	// Meant is set on a null that was meant otherwise, and says how to write
	// it: in "slack: #shop" the value is a comment.
	Meant string
}

// Field is an entry of a table, as in the file.
type Field struct {
	Key   string
	Pos   slo.Pos
	Value *Node
}

// document is a YAML file while it is read.
type document struct {
	name   string
	faults *Collector

	// lost holds what looks like a value lost to a comment by the place of the
	// colon before it.
	lost map[slo.Pos]lost
}

// lost is the #shop of "slack: #shop".
type lost struct {
	text   string
	inFlow bool // within [] or {}, whose end is then lost as well
}

// Parse reads the documents of a YAML file; those that hold nothing are left
// out. It returns none when the file is not YAML, or not the part of it that is
// read here, and reports to faults why. name is what places in it are called by.
func Parse(name string, data []byte, faults *Collector) []*Node {
	d := &document{name: name, faults: faults, lost: map[slo.Pos]lost{}}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !d.checkBytes(data) {
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	if !d.checkTokens(tokens) {
		return nil
	}
	var docs []*Node
	before := faults.Len()
	for _, part := range documents(tokens) {
		file, err := parser.Parse(part, 0, parser.AllowDuplicateMapKey())
		if err != nil {
			d.syntax(err)
			return nil
		}
		for _, doc := range file.Docs {
			if doc.Body != nil {
				docs = append(docs, d.node(doc.Body))
			}
		}
	}
	if faults.Len() > before {
		return nil
	}
	return docs
}

// documents splits tokens at the marks between documents, and leaves out those
// that hold nothing: the library drops whatever follows one.
func documents(tokens token.Tokens) []token.Tokens {
	var out []token.Tokens
	var part token.Tokens
	holds := false
	end := func() {
		if holds {
			part[0].Prev, part[len(part)-1].Next = nil, nil
			out = append(out, part)
		}
		part, holds = nil, false
	}
	for _, t := range tokens {
		if t.Type == token.DocumentHeaderType || t.Type == token.DocumentEndType {
			end()
			continue
		}
		part = append(part, t)
		holds = holds || t.Type != token.CommentType
	}
	end()
	return out
}

func (d *document) fault(pos slo.Pos, fact, want string) {
	d.faults.Add(Fault{Pos: pos, Fact: fact, Want: want})
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
	d.fault(pos, "is not YAML: "+Brief(message), "want valid YAML")
}

// quoteIt says how to write a value that YAML took for a comment.
func quoteIt(before, lost string) string {
	return fmt.Sprintf(`"#" starts a comment in YAML, so quote it: %s"%s"`, before, Brief(lost))
}

// node converts a value as the library read it.
func (d *document) node(n ast.Node) *Node {
	out := &Node{Pos: d.at(n.GetToken())}
	switch n := n.(type) {
	case *ast.MappingNode:
		out.Kind = Table
		if n.IsFlowStyle {
			out.Pos = d.at(n.Start)
		}
		for _, v := range n.Values {
			out.Fields = append(out.Fields, d.field(v))
		}
		if !n.IsFlowStyle && len(out.Fields) > 0 {
			out.Pos = out.Fields[0].Pos
		}
	case *ast.MappingValueNode:
		out.Kind = Table
		out.Fields = []Field{d.field(n)}
		out.Pos = out.Fields[0].Pos
	case *ast.SequenceNode:
		out.Kind = List
		out.Pos = d.at(n.Start)
		for _, v := range n.Values {
			out.Items = append(out.Items, d.node(v))
		}
	case *ast.StringNode:
		out.Kind, out.Text = Text, n.Value
	case *ast.LiteralNode:
		out.Kind, out.Text = Text, strings.TrimRight(n.Value.Value, "\n")
		out.Pos = d.at(n.Start)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.Kind, out.Text = Number, n.GetToken().Value
	case *ast.BoolNode:
		out.Kind, out.Text = Boolean, strings.ToLower(n.GetToken().Value)
	case *ast.NullNode:
	default:
		d.fault(out.Pos, "a "+strings.ToLower(n.Type().String())+", which is not supported", "want a text, list or map")
	}
	return out
}

func (d *document) field(n *ast.MappingValueNode) Field {
	key := n.Key.GetToken()
	f := Field{Key: key.Value, Pos: d.at(key), Value: d.node(n.Value)}
	if f.Value.Kind == Null {
		f.Value.Pos = f.Pos // nothing is nowhere: point to its key
		if l, ok := d.lost[d.at(n.Start)]; ok {
			f.Value.Meant = quoteIt(Brief(f.Key)+": ", l.text)
		}
	}
	return f
}
