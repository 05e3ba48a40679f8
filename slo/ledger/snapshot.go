package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// A snapshot is, in unsigned varints unless said otherwise:
//
//	magic    the 8 bytes "SLBLDGR3"
//	now      ms since 1970
//	n        number of accounts, each:
//	  id     length, bytes
//	  created, seen, events, errors, span (ms)
//	  live   0 or 1: whether it is defined
//	  n      number of cuts, each: from, until (ms)
//	  slice  length (ms), and if that is not 0:
//	    bits of the target, fresh (ms), upto (ms), last (ms), good, bad,
//	    partial (0 or 1)
//	  fine, middle and coarse ring, each:
//	    res (ms), head slot, n runs, each run:
//	      gap    empty slots skipped, going back from the head
//	      k      slots that follow, each: bad, total
//	crc      4 bytes little endian, CRC-32C of all before
//
// Slots are written newest first, so a ring of another size restores what fits.
// Cuts are those worked out when it was written; see ahead. A snapshot of
// "SLBLDGR2" has no middle ring, one of "SLBLDGR1" no live, cuts and slice
// either.
const magic = "SLBLDGR3"

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
		for _, v := range []uint64{uint64(a.created), uint64(a.seen), a.events, a.errors, uint64(a.span), bit(a.live)} {
			dst = binary.AppendUvarint(dst, v)
		}
		dst = binary.AppendUvarint(dst, uint64(len(a.cuts)))
		for _, c := range a.cuts {
			dst = binary.AppendUvarint(dst, uint64(c.from))
			dst = binary.AppendUvarint(dst, uint64(c.until))
		}
		dst = a.slice.snapshot(dst)
		for i := range a.rings {
			dst = a.rings[i].snapshot(dst)
		}
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (s *slicer) snapshot(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.length))
	if s.length == 0 {
		return dst
	}
	for _, v := range []uint64{
		math.Float64bits(s.target), uint64(s.fresh), uint64(s.upto), uint64(s.last), s.good, s.bad, bit(s.partial),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
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
	version := 0
	if len(src) >= len(magic)+4 {
		version = slices.Index([]string{"", "SLBLDGR1", "SLBLDGR2", magic}, string(src[:len(magic)]))
	}
	if version < 1 {
		return nil, fmt.Errorf("ledger snapshot: begins with %.8q: %w; want %q", src, ErrCorrupt, magic)
	}
	body, sum := src[:len(src)-4], binary.LittleEndian.Uint32(src[len(src)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("ledger snapshot: checksum is %08x, written as %08x: %w", got, sum, ErrCorrupt)
	}
	d := reader{rest: body[len(magic):]}
	l := &Ledger{now: int64(d.uvarint()), accounts: map[string]*account{}}
	d.time(l.now)
	for range d.count() {
		id := d.str()
		a := &account{
			created: int64(d.uvarint()),
			seen:    int64(d.uvarint()),
			events:  d.uvarint(),
			errors:  d.uvarint(),
			span:    int64(d.uvarint()),

			periodEnd: never,
			cutAnew:   never,
		}
		if a.span <= 0 || a.span > maxSpan {
			d.bad = true
			break
		}
		if version > 1 {
			a.live = d.bool()
			a.cuts = d.cuts()
			a.slice = d.slicer(l.now)
		} else {
			a.live = true
		}
		a.shape(l.now, a.span)
		for i := range a.rings {
			if i != middle || version > 2 {
				d.ring(&a.rings[i])
			}
		}
		if version < 3 {
			a.rings[middle].spread(&a.rings[fine], &a.rings[coarse])
		}
		l.accounts[id] = a
	}
	if d.bad || len(d.rest) > 0 {
		return nil, fmt.Errorf("ledger snapshot: its fields do not add up: %w", ErrCorrupt)
	}
	return l, nil
}

// time takes note of a time (ms) that no clock shows: before 1970, or after the
// year 10000, where sums would overflow.
func (d *reader) time(t int64) {
	if t < 0 || t > 1<<48 {
		d.bad = true
	}
}

// maxSpan bounds what a snapshot may make the ledger allocate: 10 years.
const maxSpan = 10 * 366 * 24 * 3600_000

func (d *reader) cuts() cuts {
	var out cuts
	last := int64(-1)
	for range d.count() {
		c := cut{int64(d.uvarint()), int64(d.uvarint())}
		if c.from <= last || c.until <= c.from {
			d.bad = true
			return nil
		}
		out, last = append(out, c), c.until
	}
	return out
}

func (d *reader) slicer(now int64) slicer {
	s := slicer{length: int64(d.uvarint())}
	if s.length == 0 {
		return s
	}
	s.target = math.Float64frombits(d.uvarint())
	s.fresh, s.upto, s.last = int64(d.uvarint()), int64(d.uvarint()), int64(d.uvarint())
	s.good, s.bad = d.uvarint(), d.uvarint()
	s.partial = d.bool()
	if s.length < 0 || s.length > maxSpan || s.fresh < 0 || s.last < 0 || s.last > s.upto || s.upto > now {
		d.bad = true
	}
	return s
}

// ring reads a ring into r, which stands at the snapshot's time.
func (d *reader) ring(r *ring) {
	if got := int64(d.uvarint()); got != r.res {
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
			r.add(n, bad, total, false)
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
	d.time(t)
	entries := make([]Entry, 0, 16)
	for range d.count() {
		entries = append(entries, Entry{ID: d.str(), Good: d.uvarint(), Bad: d.uvarint()})
	}
	if d.bad || len(d.rest) > 0 {
		return fmt.Errorf("ledger record of %d bytes: its fields do not add up: %w", len(record), ErrCorrupt)
	}
	l.mu.Lock()
	for _, e := range entries {
		a := l.accounts[e.ID]
		if a == nil {
			a = &account{created: l.now, seen: l.now, periodEnd: never, cutAnew: never}
			a.shape(l.now, slo.DefaultWindow.Milliseconds())
			l.accounts[e.ID] = a
		}
		a.live = true
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

func (d *reader) bool() bool { return d.uvarint() == 1 }

func (d *reader) str() string {
	n := d.count()
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}
