package otlp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// Buffers come in powers of two from 64 KiB, the size of a small batch,
	// to 4 MiB, past which they are made to measure and not kept: a rare
	// giant should not stay resident.
	smallestClass = 16
	largestClass  = 22
	largestKept   = 1 << largestClass

	// believed is how much of a declared length is taken at its word before
	// the bytes are there: a batch of 1,000 spans. More would let idle senders
	// fill the budget with promises.
	believed = 512 << 10

	// unmeasured is how far a body is unzipped into buffers that are kept. A
	// larger one is first unzipped to nowhere and counted, so that a bomb
	// costs time but no memory, and nothing is copied from buffer to buffer.
	unmeasured = largestKept - 1

	// maxWindow is the least the zstd format asks decoders to support.
	maxWindow = 8 << 20
)

// memory lends the buffers that bodies are held in, and never more bytes at
// once than its budget. A buffer is charged at its whole capacity. It is safe
// for concurrent use.
type memory struct {
	left  atomic.Int64
	pools [largestClass - smallestClass + 1]sync.Pool // of *[]byte
}

func newMemory(budget int64) *memory {
	m := new(memory)
	m.left.Store(budget)
	return m
}

// get lends an empty buffer with room for size bytes or more. The error is a
// refusal, busy.
func (m *memory) get(size int) (*[]byte, error) {
	class := max(bits.Len(uint(max(size, 1)-1)), smallestClass)
	if class <= largestClass {
		size = 1 << class
	}
	if err := m.charge(size); err != nil {
		return nil, err
	}
	if class <= largestClass {
		if buf, ok := m.pools[class-smallestClass].Get().(*[]byte); ok {
			return buf, nil
		}
	}
	buf := make([]byte, 0, size)
	return &buf, nil
}

// put takes a buffer back. nil is fine.
func (m *memory) put(buf *[]byte) {
	if buf == nil {
		return
	}
	size := cap(*buf)
	if size <= largestKept {
		*buf = (*buf)[:0]
		m.pools[bits.Len(uint(size-1))-smallestClass].Put(buf)
	}
	m.discharge(size)
}

// charge takes size bytes off the budget until discharge, for a buffer from
// elsewhere. The error is a refusal, busy.
func (m *memory) charge(size int) error {
	if m.left.Add(-int64(size)) < 0 {
		m.left.Add(int64(size))
		return busy()
	}
	return nil
}

func (m *memory) discharge(size int) { m.left.Add(int64(size)) }

// grow exchanges a full buffer for one with room for size bytes. On error the
// old one is gone too.
func (m *memory) grow(buf *[]byte, size int) (*[]byte, error) {
	defer m.put(buf)
	larger, err := m.get(size)
	if err != nil {
		return nil, err
	}
	*larger = append(*larger, *buf...)
	return larger, nil
}

// errLimit says that a reader holds more than the limit.
var errLimit = errors.New("over the limit")

// read reads r to its end into a buffer that starts with room for first bytes.
// whole is how many are said to come, 0 if nobody said. With more than limit
// bytes in r it returns errLimit. On any error there is no buffer to give back.
func (m *memory) read(r io.Reader, first, whole, limit int) (*[]byte, error) {
	// One byte more everywhere, so that the end of r is seen without growing.
	buf, err := m.get(min(first, limit) + 1)
	if err != nil {
		return nil, err
	}
	for {
		have, room := len(*buf), cap(*buf)
		n, err := r.Read((*buf)[have:room])
		have += n
		*buf = (*buf)[:have]
		switch {
		case have > limit:
			m.put(buf)
			return nil, errLimit
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			m.put(buf)
			return nil, err
		case have == room:
			next := 2 * room
			if have >= largestKept && whole > next {
				next = whole + 1 // enough has come to believe the rest
			}
			if buf, err = m.grow(buf, min(next, limit+1)); err != nil {
				return nil, err
			}
		}
	}
}

// compression is how a body is packed.
type compression uint8

const (
	identity compression = iota
	gzipped
	zstandard
)

func (c compression) String() string { return [...]string{"identity", "gzip", "zstd"}[c] }

// inflater unzips one body at a time. There are as many as processors: more
// would not be faster, and each may hold a zstd window of 8 MiB.
type inflater struct {
	src  bytes.Reader
	gzip *gzip.Reader
	zstd *zstd.Decoder
}

// open returns a reader of what src unzips to. It is valid until the next
// call. Errors are the sender's.
func (z *inflater) open(how compression, src []byte) (io.Reader, error) {
	z.src.Reset(src)
	if how == zstandard {
		if z.zstd == nil {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
			if err != nil {
				return nil, err
			}
			z.zstd = d
		}
		return z.zstd, z.zstd.Reset(&z.src)
	}
	if z.gzip == nil {
		z.gzip = new(gzip.Reader)
	}
	return z.gzip, z.gzip.Reset(&z.src)
}

// close lets go of the source.
func (z *inflater) close() {
	z.src.Reset(nil)
	if z.zstd != nil {
		_ = z.zstd.Reset(nil)
	}
}

// inflate unzips src, which must not be identity, into a buffer of at most
// limit bytes. The error is a refusal.
func (s *Server) inflate(how compression, src []byte, limit int) (*[]byte, error) {
	z := <-s.inflaters
	defer func() {
		z.close()
		s.inflaters <- z
	}()
	corrupt := func(err error) error {
		if r := (*refusal)(nil); errors.As(err, &r) {
			return r
		}
		return badRequest(reasonCompression, fmt.Sprintf("the body is not whole %s: %v", how, err))
	}

	r, err := z.open(how, src)
	if err != nil {
		return nil, corrupt(err)
	}
	buf, err := s.mem.read(r, inflatedSize(how, src), 0, min(limit, unmeasured))
	if err == nil {
		return buf, nil
	}
	if !errors.Is(err, errLimit) {
		return nil, corrupt(err)
	}

	if limit <= unmeasured {
		return nil, tooLarge(limit)
	}
	// read has seen unmeasured+1 bytes at least, but not how many: count anew.
	if r, err = z.open(how, src); err != nil {
		return nil, corrupt(err)
	}
	size, err := io.Copy(io.Discard, io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, corrupt(err)
	}
	if size > int64(limit) {
		return nil, tooLarge(limit)
	}
	if r, err = z.open(how, src); err != nil {
		return nil, corrupt(err)
	}
	if buf, err = s.mem.read(r, int(size), 0, limit); err != nil {
		return nil, corrupt(err)
	}
	return buf, nil
}

// inflatedSize guesses what src unzips to, to choose a first buffer among
// those kept: what it says of itself, believed up to the largest.
func inflatedSize(how compression, src []byte) int {
	switch how {
	case gzipped:
		if len(src) >= 4 {
			return int(min(binary.LittleEndian.Uint32(src[len(src)-4:]), unmeasured))
		}
	case zstandard:
		var h zstd.Header
		if h.Decode(src) == nil && h.HasFCS {
			return int(min(h.FrameContentSize, unmeasured))
		}
	}
	return min(8*len(src), unmeasured)
}
