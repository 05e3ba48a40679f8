package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// keepPosted is for how long a message of an incident that nobody ever said was
// over is remembered: Slack lets nobody edit much older ones in some workspaces.
const keepPosted = 30 * 24 * time.Hour

// keepEnded is for how long an incident is remembered that has been told to be
// over. A process that is killed before it is known that this was told tells it
// again: as an edit that changes nothing, not as a message of its own.
const keepEnded = 24 * time.Hour

// posted is the message of an incident.
type posted struct {
	Channel string `json:"channel"` // Slack's id of it
	TS      string `json:"ts"`      // Slack's id of the message in it
	File    string `json:"file,omitempty"`

	// Open are the severities that fire.
	Open map[slo.Severity]bool `json:"open"`

	At time.Time `json:"at"` // of the post

	// Deeds are what people did by the message's buttons, the earliest first.
	Deeds []deed `json:"deeds,omitempty"`

	// Told are the marks of what the thread has been told, or the message said
	// when it was posted.
	Told []string `json:"told,omitempty"`

	// Ended is when the last of its alerts ended; zero while one is open.
	Ended time.Time `json:"ended,omitzero"`
}

// book remembers the messages of incidents in a file, so that a restart goes on
// editing them. Its methods may be called from several goroutines.
type book struct {
	path string // empty: only in memory

	mu   sync.Mutex
	open map[string]posted
	over map[string]posted // by the same keys: the last that has ended
}

// openBook reads the file at path; that it does not exist is no error.
func openBook(path string, now time.Time) (*book, error) {
	b := &book{path: path, open: map[string]posted{}, over: map[string]posted{}}
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
	var all map[string]posted
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w; want the file removed: incidents that are open get a new message then", path, err)
	}
	for key, p := range all {
		b.set(key, p, now)
	}
	return b, nil
}

// set takes in a message, and forgets what is too old. Callers hold mu.
func (b *book) set(key string, p posted, now time.Time) {
	delete(b.open, key)
	delete(b.over, key)
	if p.Ended.IsZero() {
		b.open[key] = p
	} else {
		b.over[key] = p
	}
	maps.DeleteFunc(b.open, func(_ string, p posted) bool { return now.Sub(p.At) > keepPosted })
	maps.DeleteFunc(b.over, func(_ string, p posted) bool { return now.Sub(p.Ended) > keepEnded })
}

// get returns the message of an incident that is not over.
func (b *book) get(key string) (p posted, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok = b.open[key]
	return p, ok
}

// toldOver reports whether it has been told that the incident ended at that
// time.
func (b *book) toldOver(key string, ended time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.over[key]
	return ok && p.Ended.Equal(ended)
}

// put remembers the message of an incident. What it says is on disk when it
// returns, unless it returns an error; it holds in memory all the same.
func (b *book) put(key string, p posted) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(key, p, time.Now())
	if b.path == "" {
		return nil
	}
	all := maps.Clone(b.over)
	maps.Copy(all, b.open)
	data, err := json.MarshalIndent(all, "", " ")
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
