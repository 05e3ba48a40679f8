package store

import (
	"context"
	"errors"

	"github.com/prometheus/prometheus/promql"
)

// gate lets as many queries run at once as it has room for. It implements
// promql.QueryTracker without the file that Prometheus keeps for it.
type gate chan struct{}

// GetMaxConcurrent returns how many queries run at once.
func (g gate) GetMaxConcurrent() int { return cap(g) }

// Insert waits for room, or for the end of ctx, which it reports as the engine
// reports a query that was cut short.
func (g gate) Insert(ctx context.Context, _ string) (int, error) {
	select {
	case g <- struct{}{}:
		return 0, nil
	case <-ctx.Done():
		const where = "queue for other queries"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return 0, promql.ErrQueryTimeout(where)
		}
		return 0, promql.ErrQueryCanceled(where)
	}
}

// Delete makes the room of one query free again.
func (g gate) Delete(int) { <-g }

// Close implements promql.QueryTracker.
func (g gate) Close() error { return nil }
