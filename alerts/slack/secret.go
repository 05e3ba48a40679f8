package slack

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// hidden stands wherever a secret would be printed.
const hidden = "<secret>"

// Secret is a text nobody may read in a log, an error, a page or a dump, such
// as a webhook URL: who has it can post. The zero Secret is empty.
type Secret struct {
	// A pointer: printing a struct that holds a Secret in a field of its own
	// shows an address, where a method would not be called.
	text *string
}

// NewSecret returns text as a secret, without the space around it.
func NewSecret(text string) Secret {
	text = strings.TrimSpace(text)
	return Secret{text: &text}
}

// ReadSecret reads a secret from a file of at most 64 KiB.
func ReadSecret(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAnswer+1))
	switch {
	case err != nil:
		return Secret{}, err
	case len(data) > maxAnswer:
		return Secret{}, fmt.Errorf("%s: more than %d bytes; want a file that holds one secret", path, maxAnswer)
	}
	s := NewSecret(string(data))
	if s.Empty() {
		return Secret{}, fmt.Errorf("%s: empty; want a file that holds one secret", path)
	}
	return s, nil
}

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return s.reveal() == "" }

// Reveal returns the text, for what sends it to where it belongs and shows it to
// nobody.
func (s Secret) Reveal() string { return s.reveal() }

func (s Secret) reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Format implements fmt.Formatter: no verb prints the secret.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// String implements fmt.Stringer.
func (s Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return hidden }

// MarshalText implements encoding.TextMarshaler, which YAML uses too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
