package collector

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo/ledger"
)

// journal keeps the ledger on disk: a snapshot, and a record of every flush
// since. A record is written before the counters it leads to reach the store,
// so a counter read from the store never goes back after a crash.
//
// Files, in a directory of their own:
//
//	snapshot      "SLBSNAP1"; 8 bytes little endian: the number of the journal
//	              that follows it; 4 bytes CRC-32C of both; a ledger snapshot
//	journal-N     records: 4 bytes length, 4 bytes CRC-32C, both little endian,
//	              and the record
//	quarantine/   what could not be read, kept for people
//
// Records are not synced one by one: they survive the death of the process at
// once, and that of the machine after the kernel has written them back. Snapshots
// are synced.
type journal struct {
	dir     string
	logger  *slog.Logger
	seq     uint64
	f       *os.File
	size    int64 // of whole records in f
	buf     []byte
	pending bool // a record could not be written: only a snapshot makes it whole
}

const (
	snapshotMagic = "SLBSNAP1"
	snapshotHead  = len(snapshotMagic) + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal restores the ledger from dir, which is created where missing. An
// empty directory gives an empty ledger at time now. What is damaged is moved
// to quarantine/ and said in the log, and the rest is used.
func openJournal(dir string, now time.Time, logger *slog.Logger) (*journal, *ledger.Ledger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("ledger directory: %w", err)
	}
	j := &journal{dir: dir, logger: logger}
	l, err := j.readSnapshot()
	if err != nil {
		return nil, nil, err
	}
	if l == nil {
		l = ledger.New(now)
	}
	if err := j.replay(l); err != nil {
		return nil, nil, err
	}
	return j, l, nil
}

func (j *journal) path() string { return filepath.Join(j.dir, fmt.Sprintf("journal-%d", j.seq)) }

// readSnapshot returns nil without error when there is no snapshot that can be
// read. It sets which journal follows and clears away the others: they belong to
// snapshots that were replaced, unless this one is lost.
func (j *journal) readSnapshot() (*ledger.Ledger, error) {
	path := filepath.Join(j.dir, "snapshot")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	seq, l, damage := decodeSnapshot(data)
	if damage != nil {
		j.logger.Error("the ledger's snapshot cannot be read: budgets are incomplete before this start", "path", path, "err", damage)
		if err := j.quarantine(path); err != nil {
			return nil, err
		}
	}
	j.seq = seq
	names, err := filepath.Glob(filepath.Join(j.dir, "journal-*"))
	if err != nil {
		return nil, err
	}
	if damage != nil {
		// The newest journal is the one that went on from it.
		for _, name := range names {
			if n, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(name), "journal-"), 10, 64); err == nil {
				j.seq = max(j.seq, n)
			}
		}
	}
	for _, name := range names {
		switch {
		case name == j.path():
			continue
		case damage != nil:
			err = j.quarantine(name)
		default:
			err = os.Remove(name)
		}
		if err != nil {
			return nil, fmt.Errorf("an old journal: %w", err)
		}
	}
	return l, nil
}

func encodeSnapshot(seq uint64, l *ledger.Ledger) []byte {
	b := binary.LittleEndian.AppendUint64([]byte(snapshotMagic), seq)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return l.Snapshot(b)
}

func decodeSnapshot(b []byte) (seq uint64, l *ledger.Ledger, err error) {
	if len(b) < snapshotHead || string(b[:len(snapshotMagic)]) != snapshotMagic ||
		crc32.Checksum(b[:snapshotHead-4], castagnoli) != binary.LittleEndian.Uint32(b[snapshotHead-4:]) {
		return 0, nil, fmt.Errorf("its head is not a snapshot's: %w", ledger.ErrCorrupt)
	}
	if l, err = ledger.Restore(b[snapshotHead:]); err != nil {
		return 0, nil, err
	}
	return binary.LittleEndian.Uint64(b[len(snapshotMagic):]), l, nil
}

// replay applies the records of the current journal and opens it for more. A
// record cut short by a crash is dropped.
func (j *journal) replay(l *ledger.Ledger) error {
	f, err := os.OpenFile(j.path(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(j.path())
	if err != nil {
		f.Close()
		return err
	}
	rest := data
	for len(rest) >= 8 {
		n, sum := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
		if uint64(n) > uint64(len(rest)-8) {
			break
		}
		record := rest[8 : 8+n]
		if crc32.Checksum(record, castagnoli) != sum || l.Replay(record) != nil {
			break
		}
		rest = rest[8+n:]
	}
	j.size = int64(len(data) - len(rest))
	if len(rest) > 0 {
		j.logger.Warn("the ledger's journal ends in a record that is not whole: it was cut off",
			"path", j.path(), "whole_bytes", j.size, "cut_bytes", len(rest))
		if err := j.keep(filepath.Base(j.path()), rest); err != nil {
			f.Close()
			return err
		}
	}
	if err := errors.Join(f.Truncate(j.size), seekEnd(f)); err != nil {
		f.Close()
		return err
	}
	j.f = f
	return nil
}

func seekEnd(f *os.File) error {
	_, err := f.Seek(0, 2)
	return err
}

func (j *journal) quarantine(path string) error {
	dir, err := j.quarantineDir()
	if err != nil {
		return err
	}
	return os.Rename(path, filepath.Join(dir, filepath.Base(path)+time.Now().UTC().Format("-20060102T150405.000")))
}

func (j *journal) keep(name string, data []byte) error {
	dir, err := j.quarantineDir()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+time.Now().UTC().Format("-20060102T150405.000")), data, 0o600)
}

func (j *journal) quarantineDir() (string, error) {
	dir := filepath.Join(j.dir, "quarantine")
	return dir, os.MkdirAll(dir, 0o700)
}

// record writes what one flush added. After an error the journal is as before,
// and the next snapshot holds what it misses.
func (j *journal) record(t time.Time, entries []ledger.Entry) error {
	b := append(j.buf[:0], make([]byte, 8)...)
	b = ledger.AppendRecord(b, t, entries)
	binary.LittleEndian.PutUint32(b, uint32(len(b)-8))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	j.buf = b
	if _, err := j.f.Write(b); err != nil {
		j.pending = true
		return errors.Join(fmt.Errorf("ledger journal: %w", err), j.f.Truncate(j.size), seekEnd(j.f))
	}
	j.size += int64(len(b))
	return nil
}

// snapshot writes the whole ledger and begins a new journal. A crash at any
// point leaves either the old snapshot with its journal or the new one.
func (j *journal) snapshot(l *ledger.Ledger) error {
	if err := writeSynced(filepath.Join(j.dir, "snapshot"), encodeSnapshot(j.seq+1, l)); err != nil {
		return fmt.Errorf("ledger snapshot: %w", err)
	}
	old, oldPath := j.f, j.path()
	j.seq++
	f, err := os.OpenFile(j.path(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		// Records in the old journal would not be read again: without a new one
		// only further snapshots keep the ledger.
		j.pending = true
		return fmt.Errorf("ledger journal: %w", err)
	}
	j.f, j.size, j.pending = f, 0, false
	return errors.Join(old.Close(), os.Remove(oldPath))
}

// writeSynced replaces path with data, whole or not at all.
func writeSynced(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (j *journal) close() error { return j.f.Close() }
