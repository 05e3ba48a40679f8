package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	// historyBlock is how much history one block holds; all of it is in memory
	// while it is written. A month makes 14 blocks; with 300 counters and 100
	// histograms of 80 buckets at 5-minute steps that takes 5 s and 100 MB.
	historyBlock = 54 * time.Hour

	// historyBatch is how many samples wait for one commit.
	historyBatch = 10_000

	// historyDir is where blocks wait for the last one to be written.
	historyDir = "backfill.tmp"
)

// Backfill writes what fn appends as history into the data directory of a store
// that is to be opened, which must be empty. A store opened on it afterwards
// takes new samples of the same series from where the history ends.
//
// fn appends samples of all series in the order of their times, none of them in
// the future. It need not commit, and cannot roll back; references to series
// are always 0. When it returns an error nothing is kept.
func Backfill(dir string, logger *slog.Logger, fn func(storage.Appender) error) (err error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	release, err := claim(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()

	tmp := filepath.Join(dir, historyDir)
	if err := os.RemoveAll(tmp); err != nil { // of a run that was killed
		return dirError(dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return dirError(dir, err)
	}
	for _, e := range entries {
		if e.Name() != lockFile {
			return dirError(dir, fmt.Errorf("holds %s already; want an empty directory to fill with history", e.Name()))
		}
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return dirError(dir, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()

	if err := writeHistory(tmp, logger, fn); err != nil {
		return fmt.Errorf("backfill: %w", err)
	}
	blocks, err := os.ReadDir(tmp)
	if err != nil {
		return dirError(dir, err)
	}
	for _, b := range blocks {
		if err := os.Rename(filepath.Join(tmp, b.Name()), filepath.Join(dir, b.Name())); err != nil {
			return dirError(dir, err)
		}
	}
	return nil
}

func writeHistory(dir string, logger *slog.Logger, fn func(storage.Appender) error) (err error) {
	h := &history{dir: dir, logger: logger}
	if err := h.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.block.Close()) }()
	if err := fn(h); err != nil {
		return err
	}
	return h.flush()
}

// history is the appender that fn of Backfill gets: it spreads samples over
// blocks. Times are in milliseconds.
type history struct {
	storage.Appender // of block

	dir    string
	logger *slog.Logger
	now    int64 // when it was last looked at the clock

	block   *tsdb.BlockWriter
	end     int64 // of block, excluded
	last    int64 // time of the last sample
	samples int   // in block
}

func (h *history) open() error {
	block, err := tsdb.NewBlockWriter(h.logger, h.dir, historyBlock.Milliseconds())
	if err != nil {
		return err
	}
	h.block, h.samples = block, 0
	h.Appender = block.Appender(context.Background())
	return nil
}

// flush writes the open block, if it has samples.
func (h *history) flush() error {
	if h.samples == 0 {
		return nil
	}
	if err := h.Appender.Commit(); err != nil {
		return err
	}
	_, err := h.block.Flush(context.Background())
	return err
}

// advance gets the block for a sample at t ready.
func (h *history) advance(t int64) error {
	if t > h.now {
		h.now = time.Now().UnixMilli()
	}
	switch {
	case t > h.now:
		return fmt.Errorf("sample at %s lies in the future; want history", at(t))
	case h.samples > 0 && t < h.last:
		return fmt.Errorf("sample at %s after one at %s; want samples in the order of their times", at(t), at(h.last))
	case h.samples > 0 && t >= h.end:
		if err := h.flush(); err != nil {
			return err
		}
		done := h.block
		if err := h.open(); err != nil {
			return err
		}
		if err := done.Close(); err != nil {
			return err
		}
	case h.samples > 0 && h.samples%historyBatch == 0:
		if err := h.Commit(); err != nil {
			return err
		}
	}
	if h.samples == 0 {
		width := historyBlock.Milliseconds()
		h.end = t - t%width + width
	}
	h.samples++
	h.last = t
	return nil
}

func at(t int64) string { return timestamp.Time(t).UTC().Format(time.RFC3339Nano) }

// Append adds one sample. It passes no reference on and returns none: the next
// block knows the series under another.
func (h *history) Append(_ storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if err := h.advance(t); err != nil {
		return 0, err
	}
	_, err := h.Appender.Append(0, l, t, v)
	return 0, err
}

// AppendHistogram adds one native histogram, as Append does.
func (h *history) AppendHistogram(_ storage.SeriesRef, l labels.Labels, t int64, i *histogram.Histogram, f *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if err := h.advance(t); err != nil {
		return 0, err
	}
	_, err := h.Appender.AppendHistogram(0, l, t, i, f)
	return 0, err
}

// Commit is of no consequence to what is kept; see Backfill.
func (h *history) Commit() error {
	if err := h.Appender.Commit(); err != nil {
		return err
	}
	h.Appender = h.block.Appender(context.Background())
	return nil
}

// Rollback refuses: earlier blocks are written.
func (h *history) Rollback() error {
	return errors.New("history cannot be rolled back; want an error returned instead")
}
