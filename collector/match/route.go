package match

import (
	"strings"

	"github.com/slowburn-slo/slowburn/collector/span"
)

// route is the route of the span in hand, once done.
type route struct {
	done bool
	text string // empty if there is none
	made bool   // text was made from path, the raw path, as the span names no route
	path string
	buf  []byte
}

// maxRoute is the length in bytes after which a route made from a path is
// cut. Real ones are shorter, and the rest of a scanner's is noise.
const maxRoute = 256

// findRoute finds the route of a span, unless it has been found.
func (m *Matcher) findRoute(sp *span.Span) {
	if m.route.done {
		return
	}
	r := &m.route
	r.done, r.made = true, false
	for _, slot := range [...]int{m.routeSlot, m.templateSlot} {
		if r.text = view(sp.Attr(slot).Bytes()); m.believes(r.text, sp) {
			return
		}
	}
	if r.text = pathInName(view(sp.Name)); m.believes(r.text, sp) {
		return
	}
	r.text = ""
	if path := m.path(sp); path != "" {
		r.buf = appendTemplate(r.buf[:0], path)
		r.text, r.made, r.path = view(r.buf), true, path
	}
}

// believes reports whether a route is one. Older instrumentations say "/" when
// no route fits, as if somebody had asked for the home page.
func (m *Matcher) believes(route string, sp *span.Span) bool {
	if route == "/" {
		path := m.path(sp)
		return path == "" || path == "/"
	}
	return route != ""
}

// path returns the path of an HTTP request without its query, empty if it is
// not known.
func (m *Matcher) path(sp *span.Span) string {
	path := view(sp.Attr(m.pathSlot).Bytes())
	if path == "" {
		path = view(sp.Attr(m.targetSlot).Bytes())
	}
	if end := strings.IndexAny(path, "?#"); end >= 0 {
		path = path[:end]
	}
	return path
}

// pathInName returns the path in a span's name such as "GET /stock/{id}", or
// nothing if it is not of that form.
func pathInName(name string) string {
	for i := range len(name) {
		switch c := name[i]; {
		case 'A' <= c && c <= 'Z':
			continue
		case c == ' ' && i > 0:
			path := name[i+1:]
			if strings.HasPrefix(path, "/") && strings.IndexByte(path, ' ') < 0 {
				return path
			}
		}
		return ""
	}
	return ""
}

// appendTemplate appends path with its numbers, UUIDs and long hexadecimal
// segments replaced by {id}, cut after maxRoute bytes.
func appendTemplate(dst []byte, path string) []byte {
	start := len(dst)
	for first := true; ; first = false {
		segment, rest, more := strings.Cut(path, "/")
		if !first {
			dst = append(dst, '/')
		}
		if isID(segment) {
			dst = append(dst, "{id}"...)
		} else {
			dst = append(dst, segment...)
		}
		if len(dst)-start >= maxRoute || !more {
			return dst[:min(len(dst), start+maxRoute)]
		}
		path = rest
	}
}

// isID reports whether a segment of a path tells one thing from others of its
// kind: a number, a UUID, or at least 16 hexadecimal digits.
func isID(segment string) bool {
	digits, hex, dashes := 0, 0, 0
	for i := range len(segment) {
		switch c := segment[i]; {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			hex++
		case c == '-' && (i == 8 || i == 13 || i == 18 || i == 23):
			dashes++
		default:
			return false
		}
	}
	switch len(segment) {
	case digits:
		return digits > 0
	case digits + hex:
		return digits+hex >= 16
	default:
		return len(segment) == 36 && dashes == 4
	}
}
