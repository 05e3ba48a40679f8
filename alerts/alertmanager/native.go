package alertmanager

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/config/receiver"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/matcher/compat"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/alertmanager/timeinterval"
)

// OwnReceiver is the name by which a native configuration sends alerts to
// slowburn's own messages: that of a receiver without integrations. After a
// space may follow a channel: "slowburn-slack #oncall".
const OwnReceiver = "slowburn-slack"

// init makes the library read matchers as the Alertmanager program does when it
// is told nothing else. Without it names of labels in UTF-8 are refused.
func init() {
	compat.InitFromFlags(slog.New(slog.DiscardHandler), featurecontrol.NoopFlags{})
}

// Native is a configuration in Alertmanager's own format, alertmanager.yml,
// checked and with everything built that can fail.
type Native struct{ routing }

// NativeOptions are what a native configuration is built with.
type NativeOptions struct {
	ExternalURL *url.URL // what templates know as .ExternalURL; may be nil
	Logger      *slog.Logger
}

// ReadNative reads the file at path. Its templates and what it names with
// _file are looked for beside it, as Alertmanager does.
//
// An error names the file and, where there is one, the line. No error shows a
// secret of the file.
func ReadNative(path string, o NativeOptions) (*Native, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cfg, err := config.LoadFile(path)
	if err != nil {
		return nil, placed(path, text, err)
	}
	tmpl, err := template.FromGlobs(cfg.Templates)
	if err != nil {
		return nil, fmt.Errorf("%s: templates: %w", path, err)
	}
	tmpl.ExternalURL = o.ExternalURL

	n := &Native{routing{
		config: cfg, template: tmpl, slack: map[string]string{},
		receivers: map[string][]notify.Integration{},
		times:     map[string][]timeinterval.TimeInterval{},
	}}
	used := map[string]bool{}
	dispatch.NewRoute(cfg.Route, nil).Walk(func(r *dispatch.Route) { used[r.RouteOpts.Receiver] = true })
	var faults []error
	for _, r := range cfg.Receivers {
		if !used[r.Name] {
			continue
		}
		built, err := receiver.BuildReceiverIntegrations(r, tmpl, o.Logger)
		for _, file := range missing(reflect.ValueOf(r)) {
			err = errors.Join(err, file)
		}
		if err != nil {
			faults = append(faults, placed(path, text, fmt.Errorf("receiver %q: %w", r.Name, err)))
			continue
		}
		n.receivers[r.Name] = built
		if name, channel, _ := strings.Cut(r.Name, " "); name == OwnReceiver && len(built) == 0 {
			n.slack[r.Name] = strings.TrimSpace(channel)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	for _, t := range cfg.MuteTimeIntervals {
		n.times[t.Name] = t.TimeIntervals
	}
	for _, t := range cfg.TimeIntervals {
		n.times[t.Name] = t.TimeIntervals
	}
	n.sum = sum(text, cfg.Templates)
	return n, nil
}

// Slack reports whether a route leads to slowburn's own messages.
func (n *Native) Slack() bool { return len(n.slack) > 0 }

// Receivers returns how many receivers routes lead to.
func (n *Native) Receivers() int { return len(n.receivers) }

// sum tells apart configurations: the file and its templates.
func sum(text []byte, globs []string) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s", len(text), text)
	for _, glob := range globs {
		paths, _ := filepath.Glob(glob) // the pattern has been used before
		for _, p := range paths {
			b, err := os.ReadFile(p)
			fmt.Fprintf(h, "%q %d %v\n%s", p, len(b), err, b)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// missing returns the files that the settings of a receiver name, such as
// api_url_file, and that cannot be read. Alertmanager itself would say so only
// when somebody is to be told.
func missing(v reflect.Value) (faults []error) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return missing(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			faults = append(faults, missing(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			switch {
			case !field.IsExported():
			case field.Type.Kind() != reflect.String:
				faults = append(faults, missing(v.Field(i))...)
			case strings.HasSuffix(name, "_file") && v.Field(i).Len() > 0:
				f, err := os.Open(v.Field(i).String())
				if err != nil {
					faults = append(faults, fmt.Errorf("%s: %w", name, err))
					continue
				}
				_ = f.Close() // nothing was written
			}
		}
	}
	return faults
}

var (
	yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	goType   = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
	inQuotes = regexp.MustCompile(`"([^"]+)"`)
)

// placed says where in the file at path the faults are: at the line that the
// parser names, else at the last that has the word the fault quotes.
func placed(path string, text []byte, err error) error {
	var faults []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line == "yaml: unmarshal errors:" {
			continue
		}
		at := ""
		if m := yamlLine.FindStringSubmatch(line); m != nil {
			at, line = ":"+m[1], goType.ReplaceAllString(m[2], "$1 is no setting that Alertmanager knows here")
		} else if m := inQuotes.FindStringSubmatch(line); m != nil {
			if i := bytes.LastIndex(text, []byte(m[1])); i >= 0 {
				at = ":" + strconv.Itoa(1+bytes.Count(text[:i], []byte("\n")))
			}
		}
		faults = append(faults, fmt.Errorf("%s%s: %s", path, at, line))
	}
	return errors.Join(faults...)
}
