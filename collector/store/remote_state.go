package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// collectorName returns the name kept in dir. Without one it makes one of the
// host's name and a random id.
func collectorName(dir string) (string, error) {
	path := filepath.Join(dir, "collector")
	b, err := os.ReadFile(path)
	if name := strings.TrimSpace(string(b)); err == nil && name != "" {
		return name, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("remote write: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "slowburn"
	}
	name := host + "-" + strings.ToLower(rand.Text()[:6])
	if err := writeFile(path, name+"\n"); err != nil {
		return "", fmt.Errorf("remote write: %w", err)
	}
	return name, nil
}

// writeFile makes a file whole or not at all, in a directory that it makes too.
func writeFile(path, text string) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// position is a time kept in a file: that of the newest sample the endpoint has
// answered for.
//
// It is written in place, always as many bytes in one page, so that a kill
// leaves the old time or the new one. It is not synced: after a power cut it may
// be some seconds behind, and what was sent since is sent again.
type position struct {
	file *os.File // nil once closed
	at   int64    // ms; -1: not known
}

const positionFormat = "%019d\n"

func openPosition(path string) (*position, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("remote write: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("remote write: %w", err)
	}
	p := &position{file: f, at: -1}
	b := make([]byte, len(fmt.Sprintf(positionFormat, 0)))
	if n, _ := f.ReadAt(b, 0); n == 0 {
		return p, nil
	}
	if p.at, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err != nil || p.at < 0 {
		return nil, errors.Join(fmt.Errorf("remote write: %s: not a time in milliseconds; want the file removed, to go on from now", path), f.Close())
	}
	return p, nil
}

// set moves the position on; it never goes back.
func (p *position) set(ms int64) error {
	if ms <= p.at {
		return nil
	}
	if _, err := p.file.WriteAt(fmt.Appendf(nil, positionFormat, ms), 0); err != nil {
		return fmt.Errorf("remote write: how far was sent: %w", err)
	}
	p.at = ms
	return nil
}

func (p *position) close() error {
	if p.file == nil {
		return nil
	}
	f := p.file
	p.file = nil
	return f.Close()
}

// remoteMetrics has the names and meanings of Prometheus' own remote write, so
// that alerts and dashboards made for it work here.
type remoteMetrics struct {
	samples, histograms               prometheus.Counter
	samplesFailed, histogramsFailed   prometheus.Counter
	samplesRetried, histogramsRetried prometheus.Counter
	samplesWait, histogramsWait       prometheus.Gauge
	bytes                             prometheus.Counter
	duration                          prometheus.Histogram
	newestSent                        prometheus.Gauge
}

func newRemoteMetrics(reg prometheus.Registerer, endpoint string, delay, newest func() float64) *remoteMetrics {
	auto := promauto.With(reg)
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "slowburn_remote_write_delay_seconds",
		Help: "Age of the oldest sample that waits for the endpoint's answer; 0 when none does.",
	}, delay)
	const prefix = "prometheus_remote_storage_"
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: prefix + "highest_timestamp_in_seconds", Help: "Time of the newest sample in the store.",
	}, newest)
	constant := prometheus.Labels{"remote_name": "slowburn", "url": endpoint}
	counter := func(name, help string) prometheus.Counter {
		return auto.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help, ConstLabels: constant})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help, ConstLabels: constant})
	}
	return &remoteMetrics{
		samples:           counter("samples_total", "Samples that the endpoint has taken."),
		histograms:        counter("histograms_total", "Native histograms that the endpoint has taken."),
		samplesFailed:     counter("samples_failed_total", "Samples that the endpoint has refused for good."),
		histogramsFailed:  counter("histograms_failed_total", "Native histograms that the endpoint has refused for good."),
		samplesRetried:    counter("samples_retried_total", "Samples that were sent again because the endpoint did not take them."),
		histogramsRetried: counter("histograms_retried_total", "Native histograms that were sent again because the endpoint did not take them."),
		samplesWait:       gauge("samples_pending", "Samples in memory that wait for the endpoint. What waits in the store is not among them."),
		histogramsWait:    gauge("histograms_pending", "Native histograms in memory that wait for the endpoint."),
		bytes:             counter("bytes_total", "Bytes that the endpoint has taken, as compressed."),
		duration: auto.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "sent_batch_duration_seconds", Help: "How long the endpoint took to take a request.",
			Buckets: append(prometheus.DefBuckets, 25, 60), ConstLabels: constant,
		}),
		newestSent: gauge("queue_highest_sent_timestamp_seconds", "Time of the newest sample that the endpoint has answered for."),
	}
}

// count returns how many of a batch, all of one kind, are samples and how many
// histograms.
func count(batch []remoteSample) (samples, histograms float64) {
	if len(batch) > 0 && batch[0].isHistogram() {
		return 0, float64(len(batch))
	}
	return float64(len(batch)), 0
}

// waiting notes what was read to be sent.
func (m *remoteMetrics) waiting(samples []remoteSample) {
	histograms := 0
	for i := range samples {
		if samples[i].isHistogram() {
			histograms++
		}
	}
	m.samplesWait.Set(float64(len(samples) - histograms))
	m.histogramsWait.Set(float64(histograms))
}

// answered notes that a batch waits no more.
func (m *remoteMetrics) answered(batch []remoteSample) {
	s, h := count(batch)
	m.samplesWait.Sub(s)
	m.histogramsWait.Sub(h)
}

func (m *remoteMetrics) sent(batch []remoteSample, bytes int, took time.Duration) {
	s, h := count(batch)
	m.samples.Add(s)
	m.histograms.Add(h)
	m.bytes.Add(float64(bytes))
	m.duration.Observe(took.Seconds())
}

func (m *remoteMetrics) failed(batch []remoteSample) {
	s, h := count(batch)
	m.samplesFailed.Add(s)
	m.histogramsFailed.Add(h)
}

func (m *remoteMetrics) retried(batch []remoteSample) {
	s, h := count(batch)
	m.samplesRetried.Add(s)
	m.histogramsRetried.Add(h)
}
