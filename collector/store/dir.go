package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// lockFile is the name the database itself gives its lock, so that tools made
// for Prometheus' data directories see ours as taken.
const lockFile = "lock"

// claim makes dir if need be, locks it against other processes and checks that
// files can be written in it. It comes before the database touches anything,
// which on opening removes what looks like the leftovers of a crash: with
// another process at work there, they are no leftovers.
func claim(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, notWritable(dir, err)
	}
	lock, _, err := fileutil.Flock(filepath.Join(dir, lockFile))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, dirError(dir, errors.New("locked by another process; want a directory of its own"))
	}
	if err != nil {
		return nil, notWritable(dir, err)
	}
	// A lock file left from earlier opens even where no other file can be made.
	for _, sub := range []string{"", "wal", "chunks_head"} {
		if err := probe(filepath.Join(dir, sub)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(notWritable(filepath.Join(dir, sub), err), lock.Release())
		}
	}
	// The file stays: removing it would let a process that waits on the old
	// one and a process that makes a new one both hold the lock.
	return lock.Release, nil
}

// probe makes a file in dir and removes it.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func notWritable(dir string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err // its path is dir or one in it, and the message names dir
	}
	return dirError(dir, fmt.Errorf("not writable: %w; want a directory this user may write to", err))
}

// dirError says err of a data directory in one line, as the program prints it
// before it exits.
func dirError(dir string, err error) error {
	if text := err.Error(); strings.Contains(text, "\n") {
		err = errors.New(strings.ReplaceAll(text, "\n", "; "))
	}
	return fmt.Errorf("data directory %s: %w", dir, err)
}
