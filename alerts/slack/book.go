package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// keepPosted is for how long a message of an incident that nobody ever said was
// over is remembered: Slack lets nobody edit much older ones in some workspaces.
const keepPosted = 30 * 24 * time.Hour

// posted is the message of an incident that is not over.
type posted struct {
	Channel string `json:"channel"` // Slack's id of it
	TS      string `json:"ts"`      // Slack's id of the message in it
	File    string `json:"file,omitempty"`

	// Open are the severities that fire.
	Open map[slo.Severity]bool `json:"open"`

	At time.Time `json:"at"` // of the post
}

// book remembers the messages of open incidents in a file, so that a restart
// goes on editing them. Its methods may be called from several goroutines.
type book struct {
	path string // empty: only in memory

	mu   sync.Mutex
	open map[string]posted
}

// openBook reads the file at path; that it does not exist is no error.
func openBook(path string, now time.Time) (*book, error) {
	b := &book{path: path, open: map[string]posted{}}
	if path == "" {
		return b, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &b.open); err != nil {
		return nil, fmt.Errorf("%s: %w; want the file removed: incidents that are open get a new message then", path, err)
	}
	for key, p := range b.open {
		if now.Sub(p.At) > keepPosted {
			delete(b.open, key)
		}
	}
	return b, nil
}

// get returns the message of an incident.
func (b *book) get(key string) (p posted, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok = b.open[key]
	return p, ok
}

// put remembers the message of an incident, or with nil forgets it. What it
// says is on disk when it returns, unless it returns an error; it holds in
// memory all the same.
func (b *book) put(key string, p *posted) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p != nil {
		b.open[key] = *p
	} else {
		delete(b.open, key)
	}
	if b.path == "" {
		return nil
	}
	data, err := json.MarshalIndent(b.open, "", " ")
	if err != nil {
		return err
	}
	return replace(b.path, append(data, '\n'))
}

// replace puts data in the place of the file at path, whole or not at all.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
