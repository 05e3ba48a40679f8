package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// look is how often files are looked at for changes. Reading some kilobytes
// costs nothing and works where change events do not: mounted ConfigMaps,
// network drives, editors that replace files.
const look = time.Second

// disk is the file system as the user names it, so that faults show paths the
// way they were given. Unlike other file systems it takes any path.
type disk struct{}

// Open implements fs.FS.
func (disk) Open(name string) (fs.File, error) { return os.Open(name) }

// loadFlows reads a file or a directory of flows.
func loadFlows(path string) ([]slo.Flow, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("--slos: %w", err)
	}
	c, err := spec.Load(disk{}, filepath.Clean(path))
	return c.Flows, err
}

// fingerprint sums up the names and contents of the files below path.
func fingerprint(path string) ([32]byte, error) {
	h := sha256.New()
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			// A mounted ConfigMap keeps its versions in hidden directories.
			if name != path && strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		b, err := os.ReadFile(name)
		fmt.Fprintf(h, "%q %d\n", name, len(b))
		h.Write(b)
		return err
	})
	return [32]byte(h.Sum(nil)), err
}

// watch reloads on SIGHUP and when the files have changed and then been left
// alone for one look, until ctx ends.
func (s *server) watch(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tick := time.NewTicker(look)
	defer tick.Stop()

	loaded := s.loaded
	before := loaded
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-hup:
			loaded, _ = fingerprint(s.config.slos)
			before = loaded
			s.reload("SIGHUP")
			continue
		case <-tick.C:
		}
		now, err := fingerprint(s.config.slos)
		if err != nil {
			continue // being replaced, or gone: what is loaded goes on
		}
		if now != loaded && now == before {
			loaded = now
			s.reload("file change")
		}
		before = now
	}
}

// reload puts the configuration on disk in force, or says what is wrong with it
// and leaves the old one running: whatever can fail does before anything is
// replaced.
func (s *server) reload(cause string) {
	err := func() error {
		flows, groups, err := load(s.config.slos)
		if err != nil {
			return err
		}
		was := *s.flows.Load()
		if err := s.pipeline.Apply(flows); err != nil {
			return err
		}
		if err := errors.Join(s.evaluator.Apply(groups), s.alerts.Apply(flows)); err != nil {
			// Neither can refuse what rulegen wrote; if one does, go back.
			return errors.Join(err, s.pipeline.Apply(was))
		}
		s.flows.Store(&flows)
		return nil
	}()
	if err != nil {
		fault := err.Error()
		s.fault.Store(&fault)
		s.telemetry.reloaded(false)
		s.logger.Error("the new configuration was refused, the old one goes on", "cause", cause, "err", fault)
		return
	}
	none := ""
	s.fault.Store(&none)
	s.telemetry.reloaded(true)
	flows := *s.flows.Load()
	s.logger.Info("configuration reloaded", "cause", cause, "flows", len(flows), "slos", len(slo.All(flows)))
}
