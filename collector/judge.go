package collector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/judge"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

// watchTraffic is how often the traffic of flows is judged.
const watchTraffic = 30 * time.Second

// bench holds the judges of all SLOs and of the flows' traffic. A flush lets
// them judge; their verdicts may be read from several goroutines.
type bench struct {
	slos    []seat
	traffic []trafficSeat
	looked  int64 // ms; when traffic was judged last
	unsaved bool

	mu     sync.Mutex
	latest map[string]judge.Verdict           // by SLO
	absent map[[2]string]judge.TrafficVerdict // by service and flow
}

type seat struct {
	id     string
	sliced bool // slices of time are counted
	judge  *judge.Judge
}

type trafficSeat struct {
	service, flow string
	id            string // of the SLO whose account is looked at
	judge         *judge.Traffic
}

// savedVerdicts is what the bench remembers over a restart.
type savedVerdicts struct {
	SLOs    map[string]judge.Saved        `json:"slos"`
	Traffic map[string]judge.SavedTraffic `json:"traffic"` // by "service/flow"
}

func verdictsFile(dir string) string { return filepath.Join(dir, "verdicts.json") }

// apply seats a judge for every SLO; those of SLOs that stay go on.
func (b *bench) apply(flows []slo.Flow, now time.Time) { b.seat(flows, b.remember(), now) }

// seat is apply with what was remembered when the ledger had counted until then.
func (b *bench) seat(flows []slo.Flow, past savedVerdicts, until time.Time) {
	b.slos, b.traffic, b.looked = nil, nil, 0
	for i := range flows {
		f := &flows[i]
		for _, s := range f.SLOs() {
			j := judge.New(s)
			if old, ok := past.SLOs[s.ID()]; ok {
				j.Restore(old, until)
			}
			b.slos = append(b.slos, seat{s.ID(), s.Objective.Slice > 0 && s.Objective.Kind != slo.Fresh, j})
		}
		if s, ok := judge.TrafficOf(f); ok && f.Counted() {
			t := &judge.Traffic{}
			if old, ok := past.Traffic[f.Service+"/"+f.Name]; ok {
				t.Restore(old)
			}
			b.traffic = append(b.traffic, trafficSeat{f.Service, f.Name, s.ID(), t})
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latest = make(map[string]judge.Verdict, len(b.slos))
	b.absent = make(map[[2]string]judge.TrafficVerdict, len(b.traffic))
}

func (b *bench) remember() savedVerdicts {
	out := savedVerdicts{map[string]judge.Saved{}, map[string]judge.SavedTraffic{}}
	for i := range b.slos {
		out.SLOs[b.slos[i].id] = b.slos[i].judge.Save()
	}
	for i := range b.traffic {
		t := &b.traffic[i]
		out.Traffic[t.service+"/"+t.flow] = t.judge.Save()
	}
	return out
}

// judge lets the judge of SLO i see a state of the ledger.
func (b *bench) judge(i int, now time.Time, l *ledger.Ledger, s ledger.State) judge.Verdict {
	seat := &b.slos[i]
	var open uint64
	if seat.sliced {
		open = l.Open(seat.id)
	}
	v := seat.judge.Step(now, s, open)
	b.unsaved = b.unsaved || v.Changed
	b.mu.Lock()
	b.latest[seat.id] = v
	b.mu.Unlock()
	return v
}

// watch judges the traffic of the flows when that is due.
func (b *bench) watch(now time.Time, l *ledger.Ledger) {
	if now.UnixMilli()-b.looked < watchTraffic.Milliseconds() {
		return
	}
	b.looked = now.UnixMilli()
	for i := range b.traffic {
		t := &b.traffic[i]
		s, ok := l.State(t.id)
		if !ok {
			continue
		}
		v := t.judge.Step(now, l, t.id, s.Excluded)
		b.unsaved = b.unsaved || v.Changed
		b.mu.Lock()
		b.absent[[2]string{t.service, t.flow}] = v
		b.mu.Unlock()
	}
}

// save writes what the judges remember.
func (b *bench) save(dir string) error {
	data, err := json.Marshal(b.remember())
	if err == nil {
		err = writeSynced(verdictsFile(dir), data)
	}
	if err != nil {
		return fmt.Errorf("verdicts: %w", err)
	}
	b.unsaved = false
	return nil
}

// loadVerdicts reads what save wrote. A file that cannot be read is kept for
// people, and said in the log.
func loadVerdicts(j *journal) (past savedVerdicts, err error) {
	path := verdictsFile(j.dir)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return past, nil
	}
	if err != nil {
		return past, fmt.Errorf("verdicts: %w", err)
	}
	if err := json.Unmarshal(data, &past); err != nil {
		j.logger.Error("what fired before cannot be read: alerts may be told again", "path", path, "err", err)
		return savedVerdicts{}, j.quarantine(path)
	}
	return past, nil
}

// Verdict returns what the judge last said of an SLO; ok is false before the
// first flush and when there is no such SLO. It may be called from several
// goroutines.
func (p *Pipeline) Verdict(id string) (v judge.Verdict, ok bool) {
	p.bench.mu.Lock()
	defer p.bench.mu.Unlock()
	v, ok = p.bench.latest[id]
	return v, ok
}

// TrafficVerdict returns what was last said of a flow's traffic; ok is false
// when it has not been judged. It may be called from several goroutines.
func (p *Pipeline) TrafficVerdict(service, flow string) (v judge.TrafficVerdict, ok bool) {
	p.bench.mu.Lock()
	defer p.bench.mu.Unlock()
	v, ok = p.bench.absent[[2]string{service, flow}]
	return v, ok
}
