package collector

import (
	"time"

	"github.com/slowburn-slo/slowburn/collector/where"
)

// Culprits returns what sets the bad requests of a flow apart from good ones
// between from and to, or with slow those over its lowest latency threshold; see
// where.Finder.Find. Only what this process saw is known.
//
// It may be called from several goroutines, at any time. It takes some
// milliseconds, and none of them from requests that arrive.
func (p *Pipeline) Culprits(service, flow string, slow bool, from, to time.Time) []where.Culprit {
	return p.where.Find(service, flow, slow, from, to)
}
