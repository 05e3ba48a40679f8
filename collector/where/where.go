// Package where tells what sets bad requests apart from good ones: the version,
// the instance, the region, or two of them together.
//
// It keeps samples. Of each flow, each minute and each class of requests (bad,
// slow, both or neither) a few dozen are kept whole, as the hashes of their
// attributes' values, beside how many there were; older minutes are merged into
// longer slices of time. Samples need no bound on how many values there are,
// answer for any stretch of time, and know which values come together.
//
// A Batch looks at a request only when it may become a sample, which is the
// rarer the more come in, so that the hot path is a counter. Nothing is written
// to disk: a new process learns anew.
package where

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// DefaultMaxBytes is how much memory the samples of all flows take at most
// unless Options say otherwise. A flow with requests in each minute of a day
// takes 120 KB while it is well, 360 KB when it failed all day, and 840 KB when
// its requests were of all classes: there is room for some 270 healthy flows
// before history gets shorter.
const DefaultMaxBytes = 32 << 20

// Options configure a Finder. The zero Options are the defaults.
type Options struct {
	// MaxBytes bounds the samples of all flows together; 0 means
	// DefaultMaxBytes, and the least is 1 MiB. When it is reached, the oldest
	// samples of the flows that hold most go first. Beside them a Finder takes 2 MiB
	// for texts and up to 17 KB for each flow that has requests.
	MaxBytes int
}

// Finder keeps samples of the flows. Its methods may be called from several
// goroutines; see Apply for the one thing to know.
type Finder struct {
	seed maphash.Seed

	mu    sync.Mutex
	rand  *rand.Rand
	flows []*flow
	texts texts
	pool  pool
	both  [2 * maxKept]row // scratch of merge
}

// flow is one applied flow.
type flow struct {
	service, name string
	where         []string // attributes
	badWhen       slo.Selector
	limit         uint64 // ns; what takes longer is slow; 0: nothing is

	slices []slice // oldest first
	held   int     // chunks

	// strides say how many requests of a class a look stands for in the current
	// minute: the minute in the upper half, the stride in the lower.
	strides [classes]atomic.Uint64
}

// Classes of requests, as bits.
const (
	isBad   = 1
	isSlow  = 2
	classes = 4
)

// New returns a Finder without flows.
func New(o Options) (*Finder, error) {
	if o.MaxBytes < 0 || o.MaxBytes > 0 && o.MaxBytes < 1<<20 {
		return nil, fmt.Errorf("where: max bytes is %d; want 0 for the default of %d, or at least %d", o.MaxBytes, DefaultMaxBytes, 1<<20)
	}
	return &Finder{
		seed:  maphash.MakeSeed(),
		rand:  rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		texts: newTexts(),
		pool:  pool{left: cmp.Or(o.MaxBytes, DefaultMaxBytes) / chunkBytes},
	}, nil
}

// Apply replaces the flows. One that was there before, by service and name,
// keeps its samples if it compares the same attributes and means the same by bad
// and slow.
//
// A Batch is of the flows in force when it was made: the caller must not use it
// after the next Apply.
func (f *Finder) Apply(flows []slo.Flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.flows
	f.flows = make([]*flow, len(flows))
	for i := range flows {
		next := newFlow(&flows[i])
		if j := slices.IndexFunc(was, next.continues); j >= 0 {
			next = was[j]
			was = slices.Delete(was, j, j+1)
		}
		f.flows[i] = next
	}
	for _, gone := range was {
		for i := range gone.slices {
			f.free(gone, &gone.slices[i])
		}
	}
}

func newFlow(f *slo.Flow) *flow {
	out := &flow{service: f.Service, name: f.Name, where: f.Compared(), badWhen: f.BadWhen}
	out.where = out.where[:min(len(out.where), slo.MaxWhere)]
	for _, o := range f.Objectives {
		if limit := uint64(o.Threshold); o.Kind == slo.FasterThan && (out.limit == 0 || limit < out.limit) {
			out.limit = limit
		}
	}
	return out
}

// continues reports whether the samples of a former flow are f's.
func (f *flow) continues(was *flow) bool {
	return f.service == was.service && f.name == was.name && f.limit == was.limit &&
		slices.Equal(f.where, was.where) && reflect.DeepEqual(f.badWhen, was.badWhen)
}

const (
	// perLook is how many looks at requests of a class there are in one batch
	// before only each second request is looked at, and so on.
	perLook = 2 * maxKept

	// maxLooks bounds the looks of one batch.
	maxLooks = 1024

	// never is more requests than a batch may hold.
	never = 1 << 31
)

// Batch gathers what one request of a sender holds. It is for one goroutine at a
// time. Its methods do not allocate, except to make its buffers large enough.
type Batch struct {
	finder  *Finder
	rand    *rand.Rand
	flows   []*flow
	tallies []tally // by flow and class
	touched []int32 // tallies
	minute  uint64  // when it arrived
	looks   []look
	text    []byte // of values
	values  []value
}

// tally counts the requests of a class of a flow.
type tally struct {
	n      uint32 // requests
	left   uint32 // until the next look
	stride uint32 // requests a look stands for
	looks  uint32 // since stride was set
}

// look is a request that was looked at.
type look struct {
	tally  int32
	stride uint32
	row    row
}

// value is a value that was seen: its text is Batch.text[lo:hi].
type value struct {
	id     uint32
	lo, hi int
}

// Batch returns a Batch for the flows in force.
func (f *Finder) Batch() *Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Batch{
		finder: f, rand: rand.New(rand.NewPCG(f.rand.Uint64(), 0)),
		flows: f.flows, tallies: make([]tally, classes*len(f.flows)),
	}
}

// Begin forgets what was gathered; what comes next arrived at now, in
// nanoseconds since 1970.
func (b *Batch) Begin(now uint64) {
	for _, i := range b.touched {
		b.tallies[i].n = 0
	}
	b.touched, b.looks, b.text, b.values = b.touched[:0], b.looks[:0], b.text[:0], b.values[:0]
	b.minute = now / uint64(time.Minute)
}

// See counts a request of a flow, an index into the flows in force, and reports
// whether its values are wanted: the caller then calls Put with each.
func (b *Batch) See(flow int32, latency uint64, bad bool) bool {
	f := b.flows[flow]
	if len(f.where) == 0 {
		return false
	}
	i := classes * flow
	if bad {
		i |= isBad
	}
	if f.limit != 0 && latency > f.limit {
		i |= isSlow
	}
	t := &b.tallies[i]
	if t.n == 0 {
		b.touch(i)
	}
	t.n++
	if t.left--; t.left > 0 {
		return false
	}
	return b.look(i)
}

// touch begins a tally.
func (b *Batch) touch(i int32) {
	t := &b.tallies[i]
	b.touched = append(b.touched, i)
	t.stride, t.left, t.looks = 1, 1, 0
	if s := b.flows[i/classes].strides[i%classes].Load(); s>>32 == b.minute&(1<<32-1) {
		t.stride = uint32(s)
		t.left += b.rand.Uint32N(t.stride)
	}
}

// look begins a look, unless there were enough.
func (b *Batch) look(i int32) bool {
	t := &b.tallies[i]
	if len(b.looks) == maxLooks {
		t.left = never
		return false
	}
	if t.looks++; t.looks > perLook {
		t.stride, t.looks = 2*t.stride, 0
	}
	t.left = t.stride
	b.looks = append(b.looks, look{tally: i, stride: t.stride})
	return true
}

// Put adds a value to the request that See returned true for last: that of the
// attribute with this index in the flow's Compared. Empty texts count as none.
// The text is not kept.
func (b *Batch) Put(attribute int, text []byte) {
	if len(text) == 0 {
		return
	}
	id := b.finder.id(text)
	b.looks[len(b.looks)-1].row[attribute] = id
	lo := len(b.text)
	b.text = append(b.text, text[:min(len(text), maxText)]...)
	b.values = append(b.values, value{id, lo, len(b.text)})
}

// id returns what stands for a text, never 0. Two texts in four thousand
// million share one.
func (f *Finder) id(text []byte) uint32 {
	return max(1, uint32(maphash.Bytes(f.seed, text)))
}

// Commit keeps what the batch holds.
func (f *Finder) Commit(b *Batch) {
	if len(b.touched) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := int64(b.minute) * 60
	for _, i := range b.touched {
		fl := b.flows[i/classes]
		st := &f.at(fl, at).strata[i%classes]
		st.n += uint64(b.tallies[i].n)
		stride := max(1, min(st.n/(2*kept[i%classes]), 1<<20))
		fl.strides[i%classes].Store(b.minute<<32 | stride)
	}
	for i := range b.looks {
		l := &b.looks[i]
		fl := b.flows[l.tally/classes]
		f.keep(fl, int(l.tally%classes), l)
	}
	for _, v := range b.values {
		f.texts.put(v.id, b.text[v.lo:v.hi])
	}
}
