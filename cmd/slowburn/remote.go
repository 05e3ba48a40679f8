package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	promconfig "github.com/prometheus/common/config"
	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpguts"

	"github.com/slowburn-slo/slowburn/collector/store"
)

// remoteConfig is what serve is told about sending its series elsewhere.
type remoteConfig struct {
	url          string
	series       string
	histograms   bool
	collector    string
	tokenFile    string
	username     string
	passwordFile string
	caFile       string
	headers      *[]string // behind a pointer, so that printing the configuration does not print a token
}

func (c *remoteConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.url, "remote-write", "", "also send all series to a Prometheus, Mimir, Thanos or VictoriaMetrics, e.g. http://prometheus:9090/api/v1/write")
	f.StringVar(&c.series, "remote-write-series", "all", "all, or counters: only what rules that sum several collectors need")
	f.BoolVar(&c.histograms, "remote-write-native-histograms", true, "send latencies; Prometheus before 3.9 takes them with --enable-feature=native-histograms")
	f.StringVar(&c.collector, "collector-name", "", "label collector of all series sent, unlike that of any other collector (default: the host's name and an id kept in the data directory)")
	f.StringVar(&c.tokenFile, "remote-write-bearer-token-file", "", "file with the bearer token to send with")
	f.StringVar(&c.username, "remote-write-username", "", "user to send as, with --remote-write-password-file")
	f.StringVar(&c.passwordFile, "remote-write-password-file", "", "file with the user's password")
	f.StringVar(&c.caFile, "remote-write-ca-file", "", "file with the certificates that vouch for the endpoint (default: the system's)")
	c.headers = f.StringArray("remote-write-header", nil, "header to send, e.g. X-Scope-OrgID=team; may be given several times")
}

// options returns how series are sent elsewhere, or nil when they are not. The
// error is every fault in it.
func (c *remoteConfig) options(dataDir string) (*store.RemoteOptions, error) {
	var given []string
	if c.headers != nil {
		given = *c.headers
	}
	if c.url == "" {
		if c.tokenFile+c.username+c.passwordFile+c.caFile+strings.Join(given, "") != "" {
			return nil, errors.New("--remote-write is missing; want the endpoint that the other --remote-write flags are for")
		}
		return nil, nil
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	u, err := url.Parse(c.url)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		// What it is stays untold: it may hold a password.
		fault("--remote-write: not an address; want one such as http://prometheus:9090/api/v1/write")
	case u.User != nil:
		fault("--remote-write: a password in the address shows in logs; want --remote-write-username and --remote-write-password-file")
	case u.Path == "":
		fault("--remote-write: %s has no path; want /api/v1/write for Prometheus and VictoriaMetrics, /api/v1/push for Mimir, /api/v1/receive for Thanos", u.Redacted())
	}
	if c.series != "all" && c.series != "counters" {
		fault("--remote-write-series: %q is not a choice; want all or counters", c.series)
	}
	if strings.ContainsFunc(c.collector, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) || len(c.collector) > 128 {
		fault("--collector-name: %q is not a name; want 128 bytes of text at most", c.collector)
	}
	if c.tokenFile != "" && c.username+c.passwordFile != "" {
		fault("--remote-write-bearer-token-file and --remote-write-username exclude each other; want one of them")
	}
	if (c.username == "") != (c.passwordFile == "") {
		fault("--remote-write-username and --remote-write-password-file belong together; want both")
	}
	for _, file := range []struct{ flag, path string }{
		{"bearer-token-file", c.tokenFile}, {"password-file", c.passwordFile}, {"ca-file", c.caFile},
	} {
		if file.path == "" {
			continue
		}
		if b, err := os.ReadFile(file.path); err != nil {
			fault("--remote-write-%s: %w", file.flag, err)
		} else if len(strings.TrimSpace(string(b))) == 0 {
			fault("--remote-write-%s: %s is empty", file.flag, file.path)
		}
	}
	headers := map[string]promconfig.Header{}
	for i, h := range given {
		// The value may be a secret, so that faults name the place.
		name, value, ok := strings.Cut(h, "=")
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		_, reserved := promconfig.ReservedHeaders[name]
		switch {
		case !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
			fault("--remote-write-header: number %d is not a header; want NAME=VALUE, e.g. X-Scope-OrgID=team", i+1)
		case name == "Authorization":
			fault("--remote-write-header: Authorization is a secret; want --remote-write-bearer-token-file")
		case reserved:
			fault("--remote-write-header: %s is set by remote write itself; want another", name)
		default:
			headers[name] = promconfig.Header{Secrets: append(headers[name].Secrets, promconfig.Secret(value))}
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}

	o := &store.RemoteOptions{
		URL: u, Dir: filepath.Join(dataDir, "remote-write"), Collector: c.collector,
		CountersOnly: c.series == "counters", NoHistograms: !c.histograms,
		HTTP: promconfig.HTTPClientConfig{
			EnableHTTP2: true,
			ProxyConfig: promconfig.ProxyConfig{ProxyFromEnvironment: true},
			TLSConfig:   promconfig.TLSConfig{CAFile: c.caFile},
			HTTPHeaders: &promconfig.Headers{Headers: headers},
		},
	}
	if c.tokenFile != "" {
		o.HTTP.Authorization = &promconfig.Authorization{Type: "Bearer", CredentialsFile: c.tokenFile}
	}
	if c.username != "" {
		o.HTTP.BasicAuth = &promconfig.BasicAuth{Username: c.username, PasswordFile: c.passwordFile}
	}
	return o, nil
}

// newRemote prepares to send the store's series elsewhere, where o says so.
func (s *server) newRemote(o *store.RemoteOptions) (err error) {
	if o == nil {
		return nil
	}
	o.Logger, o.Registerer = s.logger.With("component", "remote-write"), s.telemetry.registry
	if s.remote, err = store.NewRemote(s.store, *o); err != nil {
		return err
	}
	s.cleanup = append(s.cleanup, s.remote.Close)
	return nil
}
