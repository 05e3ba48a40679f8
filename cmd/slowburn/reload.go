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
	"github.com/slowburn-slo/slowburn/slo/source"
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

// loadConfig reads files and directories as one configuration.
func loadConfig(paths ...string) (spec.Config, error) {
	clean := make([]string, len(paths))
	for i, path := range paths {
		if _, err := os.Stat(path); err != nil {
			return spec.Config{}, fmt.Errorf("--slos: %w", err)
		}
		clean[i] = filepath.Clean(path)
	}
	return spec.Load(disk{}, clean...)
}

// fingerprint sums up the names and contents of the files below paths.
func fingerprint(paths []string) ([32]byte, error) {
	h := sha256.New()
	var faults []error
	for _, path := range paths {
		faults = append(faults, filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
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
		}))
	}
	return [32]byte(h.Sum(nil)), errors.Join(faults...)
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
			loaded, _ = fingerprint(s.config.files())
			before = loaded
			s.reload("SIGHUP")
			continue
		case <-tick.C:
		}
		now, err := fingerprint(s.config.files())
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
	was, began := *s.flows.Load(), time.Now()
	loaded, err := func() (spec.Config, error) {
		loaded, groups, err := load(s.config.slos)
		native, fault := s.native()
		if err := errors.Join(err, fault); err != nil {
			return loaded, err
		}
		if err := s.pipeline.Apply(loaded.Flows); err != nil {
			return loaded, err
		}
		if err := errors.Join(s.probe.Apply(loaded.Flows), s.evaluator.Apply(groups), s.applyRoutes(loaded.Flows, native)); err != nil {
			// None can refuse what was loaded; if one does, go back.
			return loaded, errors.Join(err, s.pipeline.Apply(was), s.probe.Apply(was))
		}
		s.flows.Store(&loaded.Flows)
		s.messages.retry()
		return loaded, nil
	}()
	if err != nil {
		inForce := *s.reloaded.Load()
		inForce.refused, inForce.fault = began, err
		s.reloaded.Store(&inForce)
		s.telemetry.reloaded(false)
		s.logger.Error("the new configuration was refused, the old one goes on", "cause", cause, "err", err.Error())
		return
	}
	s.reloaded.Store(&reloaded{at: began, cause: cause, changes: changes(was, loaded.Flows), warnings: loaded.Warnings})
	s.telemetry.reloaded(true)
	select {
	case s.changed <- struct{}{}:
	default: // somebody is about to look anyway
	}
	s.logger.Info("configuration reloaded", "cause", cause, "flows", len(loaded.Flows), "slos", len(slo.All(loaded.Flows)))
	s.warn(loaded.Warnings)
	s.compare(was, loaded.Flows, began)
}

// warn logs what is legal in a configuration but can hardly be meant.
func (s *server) warn(warnings source.Faults) {
	const shown = 20
	for i, w := range warnings {
		if i == shown {
			s.logger.Warn("more configuration warnings", "count", len(warnings)-shown, "hint", "slowburn validate shows them all")
			break
		}
		s.logger.Warn("configuration warning", "warning", w.String())
	}
}
