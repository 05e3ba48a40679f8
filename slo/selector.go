package slo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Selector picks spans: every condition must hold. An empty Selector picks
// every span.
type Selector []Condition

// Condition compares one attribute of a span with patterns.
type Condition struct {
	// Key is a span or resource attribute (the span's wins where both have
	// it), or one of KeyKind, KeyName and KeyStatus. HTTP attributes are written in their
	// current names; the matcher also reads the older generation.
	Key string

	// Any holds the patterns, one of which must fit (with Not: none may). A
	// span without the attribute fits no pattern.
	Any []Pattern
	Not bool

	Pos Pos
}

// Keys of a Condition that are fields of the span rather than attributes.
const (
	KeyKind   = "kind"   // server, consumer, client, producer, internal
	KeyName   = "name"   // the span's name
	KeyStatus = "status" // unset, ok, error
)

// HTTP attributes in their current names, which conditions use. The matcher
// reads http.method, http.status_code and the route's fallbacks as well.
const (
	KeyMethod     = "http.request.method"
	KeyRoute      = "http.route"
	KeyStatusCode = "http.response.status_code"
)

// Op is how a pattern compares.
type Op uint8

// The comparisons. Like is a literal or a glob in which * stands for any run
// of characters, slashes included; the others compare numbers.
const (
	Like Op = iota
	AtLeast
	Above
	AtMost
	Below
)

// Pattern is what one attribute value is compared with.
type Pattern struct {
	Op     Op
	Text   string  // Like
	Number float64 // the others
}

// ParsePattern reads a pattern as people write it: a literal, a glob with *,
// or a comparison with a number such as >=500.
func ParsePattern(s string) (Pattern, error) {
	for _, o := range []struct {
		sign string
		op   Op
	}{{">=", AtLeast}, {"<=", AtMost}, {">", Above}, {"<", Below}} {
		rest, ok := strings.CutPrefix(s, o.sign)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
		if err != nil || n != n {
			return Pattern{}, fmt.Errorf("%q compares with %q; want a number after %s", s, strings.TrimSpace(rest), o.sign)
		}
		return Pattern{Op: o.op, Number: n}, nil
	}
	return Pattern{Op: Like, Text: s}, nil
}

// String writes the pattern as ParsePattern reads it.
func (p Pattern) String() string {
	sign := [...]string{Like: "", AtLeast: ">=", Above: ">", AtMost: "<=", Below: "<"}[p.Op]
	if p.Op == Like {
		return p.Text
	}
	return sign + strconv.FormatFloat(p.Number, 'f', -1, 64)
}

// Literal reports whether the pattern fits exactly one text.
func (p Pattern) Literal() bool { return p.Op == Like && !strings.Contains(p.Text, "*") }

// Fits reports whether the pattern fits a text. Numbers are compared where the
// text is one. It is the reference the compiled matcher is tested against.
func (p Pattern) Fits(text string) bool {
	if p.Op == Like {
		return glob(p.Text, text)
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return false
	}
	switch p.Op {
	case AtLeast:
		return n >= p.Number
	case Above:
		return n > p.Number
	case AtMost:
		return n <= p.Number
	default:
		return n < p.Number
	}
}

// Fits reports whether the condition holds for a value; present says whether
// the span has the attribute at all.
func (c Condition) Fits(value string, present bool) bool {
	hit := present && slices.ContainsFunc(c.Any, func(p Pattern) bool { return p.Fits(value) })
	return hit != c.Not
}

// glob reports whether pattern, in which * stands for any run of bytes, covers
// the whole of text. Linear in practice: on a mismatch only the last * is
// tried again.
func glob(pattern, text string) bool {
	star, mark := -1, 0
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
