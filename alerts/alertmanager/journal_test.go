package alertmanager

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// letters is a mesh of single letters.
type letters struct {
	mu        sync.Mutex
	set       map[string]bool
	broadcast func([]byte)
	snapshot  func() // called while a snapshot is taken
}

func (l *letters) Merge(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range string(b) {
		if r < 'a' || r > 'z' {
			return fmt.Errorf("%q is no letter", r)
		}
		l.set[string(r)] = true
	}
	return nil
}

func (l *letters) SetBroadcast(f func([]byte)) { l.broadcast = f }

func (l *letters) GC() (int, error) { return 0, nil }

func (l *letters) Snapshot(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, l.String())
	if l.snapshot != nil {
		l.snapshot()
	}
	return int64(n), err
}

func (l *letters) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for s := range l.set {
		all = append(all, s)
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

func (l *letters) add(s string) {
	if err := l.Merge([]byte(s)); err != nil {
		panic(err)
	}
	l.broadcast([]byte(s))
}

func openLetters(t *testing.T, dir string) (*letters, *durable, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	l := &letters{set: map[string]bool{}}
	d, err := openDurable(dir, "letters", l, slog.New(slog.NewTextHandler(&log, nil)), func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.close() })
	return l, d, &log
}

func TestDurable(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := openLetters(t, dir)
	l.add("c")
	l.add("a")
	l.add("b")
	// No close: the process is killed.
	l, d, _ := openLetters(t, dir)
	if l.String() != "abc" {
		t.Errorf("after a kill: %s, want abc", l)
	}
	l.add("d")
	l.snapshot = func() { l.add("e") } // too late for the snapshot
	if _, err := d.compact(); err != nil {
		t.Fatal(err)
	}
	l.add("f")
	l, d, log := openLetters(t, dir)
	if l.String() != "abcdef" {
		t.Errorf("after a snapshot and a kill: %s, want abcdef", l)
	}
	journals, err := d.journals()
	if err != nil || len(journals) != 1 {
		t.Errorf("journals = %v, %v; want one", journals, err)
	}
	if log.Len() > 0 {
		t.Errorf("log = %s, want nothing", log)
	}
}

// TestDurableFailures: a snapshot or a change that cannot be written costs
// nothing that was on disk.
func TestDurableFailures(t *testing.T) {
	dir := t.TempDir()
	l, d, log := openLetters(t, dir)
	l.add("a")
	if err := os.Mkdir(d.path("")+".tmp", 0o700); err != nil { // in the way of the snapshot
		t.Fatal(err)
	}
	for range 3 {
		if _, err := d.compact(); err == nil {
			t.Fatal("compact = nil, want an error")
		}
		l.add("b")
	}
	if err := os.Remove(d.path("") + ".tmp"); err != nil {
		t.Fatal(err)
	}
	l, d, _ = openLetters(t, dir)
	if l.String() != "ab" {
		t.Errorf("after failed snapshots: %s, want ab", l)
	}

	var failures int
	d.failed = func() { failures++ }
	d.logger = slog.New(slog.NewTextHandler(log, nil))
	l.add("c")
	if err := d.file.Close(); err != nil { // as good as a full disk
		t.Fatal(err)
	}
	l.add("d")
	if failures != 1 || !strings.Contains(log.String(), "not on disk") {
		t.Errorf("%d failures counted, log %q; want one and why", failures, log)
	}
	if err := d.rotate(d.seq + 1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("rotate = %v, want that the old journal is closed", err)
	}
	l.add("e")
	if l, _, _ := openLetters(t, dir); l.String() != "abce" {
		t.Errorf("after a failed write: %s, want abce", l)
	}
}

// TestDamagedJournal flips each byte of a journal, and cuts it at each, and
// wants what stands before the damage and no fault of the start.
func TestDamagedJournal(t *testing.T) {
	made := t.TempDir()
	l, d, _ := openLetters(t, made)
	l.add("a")
	l.add("b")
	l.add("c")
	whole, err := os.ReadFile(d.path(journalSuffix(d.seq)))
	if err != nil {
		t.Fatal(err)
	}
	const record = 9
	if len(whole) != 3*record {
		t.Fatalf("journal of %d bytes, want three records of %d", len(whole), record)
	}
	check := func(name string, data []byte, at int, damaged bool) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "letters.journal-7"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, d, log := openLetters(t, dir)
		if got, want := l.String(), "abc"[:at/record]; got != want {
			t.Errorf("%s at byte %d: %q, want %q", name, at, got, want)
		}
		aside, err := filepath.Glob(filepath.Join(dir, "quarantine", "letters.journal-7-*"))
		if err != nil {
			t.Fatal(err)
		}
		if damaged != (len(aside) == 1) || damaged != (log.Len() > 0) {
			t.Errorf("%s at byte %d: quarantine %v, log %q; want damage reported: %v", name, at, aside, log, damaged)
		}
		if d.seq != 8 {
			t.Errorf("%s at byte %d: new journal %d, want 8", name, at, d.seq)
		}
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
	}
	for at := range whole {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x41
		check("flipped", flipped, at, true)
		check("cut", whole[:at], at, at%record != 0)
	}
}

func TestDamagedSnapshot(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letters"), []byte("ab!"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, _, log := openLetters(t, dir)
	l.add("x")
	aside, err := filepath.Glob(filepath.Join(dir, "quarantine", "letters-*"))
	if err != nil || len(aside) != 1 || !strings.Contains(log.String(), "damaged") {
		t.Errorf("quarantine %v, %v, log %q; want the snapshot and why", aside, err, log)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 'a'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 'a'})
	path := filepath.Join(f.TempDir(), "journal")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		size := 0
		err := replay(path, func(b []byte) error { size += 8 + len(b); return nil })
		if size > len(data) || (err == nil) != (size == len(data)) {
			t.Errorf("read %d of %d bytes, error %v", size, len(data), err)
		}
	})
}
