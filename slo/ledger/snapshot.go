package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

// A snapshot is, in unsigned varints unless said otherwise:
//
//	magic    the 8 bytes "SLBLDGR1"
//	now      ms since 1970
//	n        number of accounts, each:
//	  id     length, bytes
//	  created, seen, events, errors, period (ms)
//	  fine ring, coarse ring, each:
//	    res (ms), head slot, n runs, each run:
//	      gap    empty slots skipped, going back from the head
//	      k      slots that follow, each: bad, total
//	crc      4 bytes little endian, CRC-32C of all before
//
// Slots are written newest first, so a ring of another size restores what fits.
const magic = "SLBLDGR1"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCorrupt marks bytes that are not a snapshot or a record of this ledger.
var ErrCorrupt = errors.New("corrupt")

// Snapshot appends the whole ledger to dst.
func (l *Ledger) Snapshot(dst []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.AppendUvarint(dst, uint64(l.now))
	dst = binary.AppendUvarint(dst, uint64(len(l.accounts)))
	ids := make([]string, 0, len(l.accounts))
	for id := range l.accounts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		a := l.accounts[id]
		dst = appendString(dst, id)
		for _, v := range []uint64{uint64(a.created), uint64(a.seen), a.events, a.errors, uint64(a.period)} {
			dst = binary.AppendUvarint(dst, v)
		}
		dst = a.fine.snapshot(dst)
		dst = a.coarse.snapshot(dst)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (r *ring) snapshot(dst []byte) []byte {
	type run struct{ gap, from, k int64 }
	var runs []run
	last := r.head + 1 // the slot after the run before, going back
	for n := r.head; n > r.head-int64(len(r.slots)) && n >= 0; n-- {
		if *r.slot(n) == (counts{}) {
			continue
		}
		if len(runs) > 0 && last == n+1 {
			runs[len(runs)-1].k++
		} else {
			runs = append(runs, run{gap: last - 1 - n, from: n, k: 1})
		}
		last = n
	}
	dst = binary.AppendUvarint(dst, uint64(r.res))
	dst = binary.AppendUvarint(dst, uint64(r.head))
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	for _, u := range runs {
		dst = binary.AppendUvarint(dst, uint64(u.gap))
		dst = binary.AppendUvarint(dst, uint64(u.k))
		for n := u.from; n > u.from-u.k; n-- {
			c := r.slot(n)
			dst = binary.AppendUvarint(dst, uint64(c.bad))
			dst = binary.AppendUvarint(dst, uint64(c.total))
		}
	}
	return dst
}

// Restore returns the ledger of a snapshot. Its SLOs are known but not yet
// defined. Errors wrap ErrCorrupt.
func Restore(src []byte) (*Ledger, error) {
	if len(src) < len(magic)+4 || string(src[:len(magic)]) != magic {
		return nil, fmt.Errorf("ledger snapshot: begins with %.8q: %w; want %q", src, ErrCorrupt, magic)
	}
	body, sum := src[:len(src)-4], binary.LittleEndian.Uint32(src[len(src)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("ledger snapshot: checksum is %08x, written as %08x: %w", got, sum, ErrCorrupt)
	}
	d := reader{rest: body[len(magic):]}
	l := &Ledger{now: int64(d.uvarint()), accounts: map[string]*account{}}
	for range d.count() {
		id := d.str()
		a := &account{
			created: int64(d.uvarint()),
			seen:    int64(d.uvarint()),
			events:  d.uvarint(),
			errors:  d.uvarint(),
			period:  int64(d.uvarint()),
		}
		if a.period <= 0 || a.period > maxPeriod {
			d.bad = true
			break
		}
		a.shape(l.now, []int64{a.period})
		a.lengths = nil
		d.ring(a.fine, fineSlot)
		d.ring(a.coarse, coarseSlot)
		l.accounts[id] = a
	}
	if d.bad || len(d.rest) > 0 {
		return nil, fmt.Errorf("ledger snapshot: its fields do not add up: %w", ErrCorrupt)
	}
	return l, nil
}

// maxPeriod bounds what a snapshot may make the ledger allocate: 10 years.
const maxPeriod = 10 * 366 * 24 * 3600_000

// ring reads a ring into r, which stands at the snapshot's time.
func (d *reader) ring(r *ring, res int64) {
	if got := int64(d.uvarint()); got != res {
		d.bad = true
		return
	}
	n := int64(d.uvarint())
	if n != r.head {
		d.bad = true
		return
	}
	for range d.count() {
		n -= int64(d.uvarint())
		for range d.count() {
			bad, total := d.uvarint(), d.uvarint()
			if n < 0 || bad > total || total > uint64(^uint32(0)) {
				d.bad = true
				return
			}
			r.put(n, counts{uint32(bad), uint32(total)})
			n--
		}
	}
}

// AppendRecord appends what Add(t, entries) does, as bytes for a journal.
// Entries without events are left out.
func AppendRecord(dst []byte, t time.Time, entries []Entry) []byte {
	n := 0
	for _, e := range entries {
		if e.Good|e.Bad != 0 {
			n++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(t.UnixMilli()))
	dst = binary.AppendUvarint(dst, uint64(n))
	for _, e := range entries {
		if e.Good|e.Bad == 0 {
			continue
		}
		dst = appendString(dst, e.ID)
		dst = binary.AppendUvarint(dst, e.Good)
		dst = binary.AppendUvarint(dst, e.Bad)
	}
	return dst
}

// Replay does again what a record says. An SLO that is not known is made
// known. Errors wrap ErrCorrupt, and then nothing was done.
func (l *Ledger) Replay(record []byte) error {
	d := reader{rest: record}
	t := int64(d.uvarint())
	entries := make([]Entry, 0, 16)
	for range d.count() {
		entries = append(entries, Entry{ID: d.str(), Good: d.uvarint(), Bad: d.uvarint()})
	}
	if d.bad || len(d.rest) > 0 {
		return fmt.Errorf("ledger record of %d bytes: its fields do not add up: %w", len(record), ErrCorrupt)
	}
	l.mu.Lock()
	for _, e := range entries {
		if l.accounts[e.ID] == nil {
			a := &account{created: l.now, seen: l.now}
			a.shape(l.now, []int64{int64(30 * 24 * time.Hour / time.Millisecond)})
			a.lengths = nil
			l.accounts[e.ID] = a
		}
	}
	l.mu.Unlock()
	l.Add(time.UnixMilli(t), entries)
	return nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// reader reads varints until the bytes end or do not make sense; then bad is
// set and all further values are 0.
type reader struct {
	rest []byte
	bad  bool
}

func (d *reader) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || d.bad {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads a number of things that take at least one byte each.
func (d *reader) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.bad = true
		return 0
	}
	return n
}

func (d *reader) str() string {
	n := d.count()
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}
