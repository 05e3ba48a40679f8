// Package store keeps the recorded series: Prometheus' time series database and
// query engine, embedded. Series go in through storage.Appendable and come out
// through storage.Queryable and the engines, so that whatever reads or writes
// here would run over any other Prometheus storage.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
)

// Options say where a Store keeps its data and what a query may cost. The zero
// value of every field but Dir is a good choice.
type Options struct {
	// Dir is the store's own directory. It is made where it is missing.
	Dir string

	// Retention is how long samples are kept. Default DefaultRetention.
	Retention time.Duration

	// MaxSamples is how many samples one query may hold in memory, at 16 bytes
	// each. Default 50 million, as in Prometheus.
	MaxSamples int

	// QueryTimeout ends a query. Default 2 minutes, as in Prometheus.
	QueryTimeout time.Duration

	// MaxConcurrent is how many queries of Engine run at once; the others
	// wait. Default 4: two busy cores gain nothing from more, and four queries
	// at MaxSamples fit in 4 GiB.
	MaxConcurrent int

	// Logger hears of WAL replays, compactions and repairs. Default: nobody.
	Logger *slog.Logger

	// Registerer takes the metrics prometheus_tsdb_* and prometheus_engine_*.
	// One Registerer serves one Store in its life. Default: none.
	Registerer prometheus.Registerer
}

// DefaultRetention is the 30 days of the longest usual SLO window and half of
// it again, so that a month can be looked back on after it ended.
const DefaultRetention = 45 * 24 * time.Hour

const (
	minBlock = 2 * time.Hour       // what the head holds before it is written as a block
	maxBlock = 31 * 24 * time.Hour // Prometheus' limit to what compaction makes of blocks

	// stripes is the size of the head's two series tables, which are allocated
	// up front. Prometheus' 16384 are meant for millions of series and cost 4
	// MiB; 512 keep 10,000 series at 20 a stripe.
	stripes = 512

	// writeBuffer is the least the chunk writer takes. Prometheus' 4 MiB save
	// system calls at a rate of chunks that our thousands of series never have.
	writeBuffer = 64 << 10

	// exemplars is how many exemplars are kept in memory, the newest of all
	// series; their ring is allocated up front at 64 bytes each.
	exemplars = 10_000

	// subqueryStep is the step of a subquery that names none, Prometheus'
	// default evaluation interval.
	subqueryStep = time.Minute
)

// withDefaults returns o with its gaps filled, or every fault in it.
func (o Options) withDefaults() (Options, error) {
	var faults []error
	if o.Dir == "" {
		faults = append(faults, errors.New("no data directory; want a path"))
	}
	if o.Retention < 0 || o.MaxSamples < 0 || o.QueryTimeout < 0 || o.MaxConcurrent < 0 {
		faults = append(faults, fmt.Errorf("retention %v, max samples %d, query timeout %v, max concurrent queries %d; want none below 0",
			o.Retention, o.MaxSamples, o.QueryTimeout, o.MaxConcurrent))
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.MaxSamples == 0 {
		o.MaxSamples = 50_000_000
	}
	if o.QueryTimeout == 0 {
		o.QueryTimeout = 2 * time.Minute
	}
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = 4
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(faults...)
}

// Store is an open database with its query engines. Its methods may be called
// from several goroutines; none may be called after Close.
type Store struct {
	db          *tsdb.DB
	engine      *promql.Engine
	rulesEngine *promql.Engine
	release     func() error
}

// Open opens the store in o.Dir, replaying what a crash left in the write-ahead
// log. It returns one line that says what to mend when the directory is not
// writable or another process has it.
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	release, err := claim(o.Dir)
	if err != nil {
		return nil, err
	}

	t := tsdb.DefaultOptions()
	t.RetentionDuration = o.Retention.Milliseconds()
	t.MinBlockDuration = minBlock.Milliseconds()
	// A tenth of the retention, so that no more than that outlives it.
	t.MaxBlockDuration = max(minBlock, min(o.Retention/10, maxBlock)).Milliseconds()
	t.NoLockfile = true // claim holds the lock already
	t.WALCompression = compression.Snappy
	t.StripeSize = stripes
	t.HeadChunksWriteBufferSize = writeBuffer
	t.EnableExemplarStorage = true
	t.MaxExemplars = exemplars
	db, err := tsdb.Open(o.Dir, o.Logger, o.Registerer, t, nil)
	if err != nil {
		return nil, dirError(o.Dir, errors.Join(err, release()))
	}

	return &Store{
		db:          db,
		engine:      newEngine(o, "query", make(gate, o.MaxConcurrent)),
		rulesEngine: newEngine(o, "rules", nil),
		release:     release,
	}, nil
}

// newEngine returns an engine whose queries are let in by tracker, or freely
// where it is nil.
func newEngine(o Options, name string, tracker promql.QueryTracker) *promql.Engine {
	reg := o.Registerer
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"engine": name}, reg)
	}
	return promql.NewEngine(promql.EngineOpts{
		Logger:                   o.Logger,
		Reg:                      reg,
		MaxSamples:               o.MaxSamples,
		Timeout:                  o.QueryTimeout,
		ActiveQueryTracker:       tracker,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
	})
}

// Engine returns the query engine for people: dashboards and the API.
func (s *Store) Engine() *promql.Engine { return s.engine }

// RulesEngine returns the query engine for rules. Its queries never wait for
// those of Engine: an alert must not come late because many look at dashboards.
func (s *Store) RulesEngine() *promql.Engine { return s.rulesEngine }

// Appender starts a batch of samples, which Commit makes visible and durable.
// Each series takes samples in time order. It implements storage.Appendable.
func (s *Store) Appender(ctx context.Context) storage.Appender { return s.db.Appender(ctx) }

// Querier reads the samples between mint and maxt, in milliseconds, both
// included. It implements storage.Queryable; close what it returns.
func (s *Store) Querier(mint, maxt int64) (storage.Querier, error) { return s.db.Querier(mint, maxt) }

// ChunkQuerier is Querier for whole chunks. It implements storage.ChunkQueryable.
func (s *Store) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return s.db.ChunkQuerier(mint, maxt)
}

// ExemplarQuerier reads exemplars. It implements storage.ExemplarQueryable.
func (s *Store) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	return s.db.ExemplarQuerier(ctx)
}

// Close waits for running queries to let go of their blocks, closes the
// database and gives the directory free.
func (s *Store) Close() error {
	return errors.Join(s.db.Close(), s.release())
}
