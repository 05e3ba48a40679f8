package alertmanager

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// mesh is what Alertmanager's notification log and silences have in common:
// made for gossip between instances, it lets every change be kept on disk.
type mesh interface {
	Merge([]byte) error
	SetBroadcast(func([]byte))
	Snapshot(io.Writer) (int64, error)
	GC() (int, error)
}

// durable keeps a mesh on disk: a snapshot, and a journal of the changes since.
// Alertmanager alone writes its state every 15 minutes, so that a crash sends
// notifications twice and forgets silences; here a change is on disk before
// the call that makes it returns.
//
// On disk are NAME, the snapshot as Alertmanager writes it, and
// NAME.journal-N, N counting up, each a row of records:
//
//	length of the payload, 4 bytes, big endian
//	CRC-32C of the payload, 4 bytes, big endian
//	payload: what the mesh broadcasts
//
// What cannot be read is moved to the folder quarantine, never deleted.
type durable struct {
	mesh
	dir, name string
	logger    *slog.Logger
	failed    func() // counts a change that could not be written

	mu   sync.Mutex
	file *os.File // the newest journal
	seq  int      // its N
	size int64    // its length up to the last whole record
}

// maxRecord bounds what a damaged length can make us read. A silence or the
// log entry of one group is far smaller.
const maxRecord = 16 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openDurable loads into m what dir holds under name, and from then on writes
// every change of m there.
func openDurable(dir, name string, m mesh, logger *slog.Logger, failed func()) (*durable, error) {
	d := &durable{mesh: m, dir: dir, name: name, logger: logger, failed: failed}
	snapshot, err := os.ReadFile(d.path(""))
	switch {
	case err == nil:
		if err := m.Merge(snapshot); err != nil {
			if err := d.quarantine(d.path(""), err); err != nil {
				return nil, err
			}
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	old, err := d.journals()
	if err != nil {
		return nil, err
	}
	for _, n := range old {
		path := d.path(journalSuffix(n))
		d.seq = n
		if err := replay(path, m.Merge); err != nil {
			if err := d.quarantine(path, err); err != nil {
				return nil, err
			}
		}
	}
	m.SetBroadcast(d.append)
	if _, err := d.compact(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *durable) path(suffix string) string { return filepath.Join(d.dir, d.name+suffix) }

func journalSuffix(n int) string { return ".journal-" + strconv.Itoa(n) }

// journals returns the numbers of the journals on disk, ascending.
func (d *durable) journals() ([]int, error) {
	paths, err := filepath.Glob(d.path(".journal-*"))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, p := range paths {
		if n, err := strconv.Atoi(strings.TrimPrefix(p, d.path(".journal-"))); err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// replay applies the records of a journal in order. It returns an error at the
// first that is damaged, with those before it applied.
func replay(path string, apply func([]byte) error) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for at := 0; at < len(data); {
		rest := data[at:]
		if len(rest) < 8 {
			return fmt.Errorf("byte %d: record cut short", at)
		}
		size := binary.BigEndian.Uint32(rest)
		if size > maxRecord || int(size) > len(rest)-8 {
			return fmt.Errorf("byte %d: record of %d bytes with %d left", at, size, len(rest)-8)
		}
		payload := rest[8 : 8+size]
		if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(rest[4:]) {
			return fmt.Errorf("byte %d: record does not match its checksum", at)
		}
		if err := apply(payload); err != nil {
			return fmt.Errorf("byte %d: %w", at, err)
		}
		at += 8 + int(size)
	}
	return nil
}

// append writes a change to the journal and returns when it is on disk. The
// mesh calls it under its own lock; there is nobody to return an error to.
func (d *durable) append(change []byte) {
	record := binary.BigEndian.AppendUint32(nil, uint32(len(change)))
	record = binary.BigEndian.AppendUint32(record, crc32.Checksum(change, castagnoli))
	record = append(record, change...)

	d.mu.Lock()
	defer d.mu.Unlock()
	err := errors.New("the journal is closed")
	if d.file != nil {
		if _, err = d.file.Write(record); err == nil {
			err = d.file.Sync()
		}
	}
	if err == nil {
		d.size += int64(len(record))
		return
	}
	d.failed()
	d.logger.Error("alerting state is not on disk; a crash now repeats notifications or loses silences", "state", d.name, "err", err)
	if d.file != nil {
		// Half a record would hide those that follow.
		_ = d.file.Truncate(d.size)
	}
}

// compact writes a snapshot and drops the journals it makes needless. It
// returns the snapshot's size in bytes.
func (d *durable) compact() (int64, error) {
	if _, err := d.GC(); err != nil {
		return 0, err
	}
	// Changes made while the snapshot is written go to the new journal: they
	// may be in both, which merging bears, but never in neither.
	if err := d.rotate(d.seq + 1); err != nil {
		return 0, err
	}
	var snapshot bytes.Buffer
	size, err := d.Snapshot(&snapshot)
	if err != nil {
		return 0, err
	}
	if err := writeFile(d.path(""), snapshot.Bytes()); err != nil {
		return 0, err
	}
	old, err := d.journals()
	if err != nil {
		return 0, err
	}
	for _, n := range old {
		if n < d.seq {
			if err := os.Remove(d.path(journalSuffix(n))); err != nil {
				return 0, err
			}
		}
	}
	return size, nil
}

// rotate starts journal n.
func (d *durable) rotate(n int) error {
	f, err := os.OpenFile(d.path(journalSuffix(n)), os.O_WRONLY|os.O_CREATE|os.O_APPEND|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(d.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.file
	d.file, d.seq, d.size = f, n, 0
	if old == nil {
		return nil
	}
	return old.Close()
}

func (d *durable) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}

// quarantine moves a file that cannot be read out of the way.
func (d *durable) quarantine(path string, why error) error {
	to, err := quarantine(d.dir, path)
	if err != nil {
		return err
	}
	d.logger.Error("alerting state on disk is damaged; notifications may repeat and silences may be missing",
		"file", path, "moved_to", to, "err", why)
	return nil
}

func quarantine(dir, path string) (to string, err error) {
	aside := filepath.Join(dir, "quarantine")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return "", err
	}
	to = filepath.Join(aside, fmt.Sprintf("%s-%d", filepath.Base(path), time.Now().UnixNano()))
	return to, os.Rename(path, to)
}

// writeFile replaces a file by data at once and for good: after a crash there
// is the old file or the new one.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes new names in a directory survive a power cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
