package alertmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/common/model"
)

// restartGrace is how long an alert that fired when the process died goes on
// firing on its own. The rule manager does not know what fired before; within
// seconds it has judged every rule again and takes over. What it does not
// confirm has recovered meanwhile, and is told as resolved.
const restartGrace = 2 * time.Minute

// openAlerts is Alertmanager's store of alerts, with those that are still open
// kept on disk as well: alerts that fire, and alerts that are resolved but not
// told so yet. Only so can a resolved message follow when the process dies in
// between.
type openAlerts struct {
	*mem.Alerts
	path   string
	logger *slog.Logger
	failed func()

	mu   sync.Mutex
	open map[model.Fingerprint]*openAlert
}

type openAlert struct {
	*alert.Alert
	firing bool // as on disk
}

// stored is an open alert on disk.
type stored struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt,omitzero"` // zero: it fires
}

// load puts the open alerts found on disk into the store.
func (o *openAlerts) load(now time.Time) error {
	data, err := os.ReadFile(o.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var list []stored
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("%s: %w", o.path, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range list {
		a := &alert.Alert{UpdatedAt: now}
		a.Labels, a.Annotations = labelSet(s.Labels), labelSet(s.Annotations)
		a.GeneratorURL, a.StartsAt, a.EndsAt = s.GeneratorURL, s.StartsAt, s.EndsAt
		firing := s.EndsAt.IsZero()
		if firing {
			a.EndsAt = now.Add(restartGrace)
		}
		o.open[a.Fingerprint()] = &openAlert{Alert: a, firing: firing}
	}
	return o.submit(context.Background())
}

// Put implements provider.Alerts. Which alerts are open is on disk before
// anybody can be told of them.
func (o *openAlerts) Put(ctx context.Context, alerts ...*alert.Alert) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var news []*alert.Alert
	changed := false
	for _, a := range alerts {
		fp := a.Fingerprint()
		old := o.open[fp]
		firing := !a.Resolved()
		switch {
		case old == nil && !firing:
			// Told long ago, or never known. The rule manager repeats a
			// resolved alert for 15 minutes.
			continue
		case old == nil:
			old = &openAlert{}
			o.open[fp] = old
			changed = true
		default:
			changed = changed || old.firing != firing
			if overlap(old.Alert, a) {
				a = old.Merge(a)
			}
		}
		old.Alert = a
		news = append(news, a)
	}
	if changed {
		o.write()
	}
	return o.Alerts.Put(ctx, news...)
}

// overlap is the rule by which Alertmanager's own store merges two reports of
// an alert, keeping the earlier start.
func overlap(old, a *alert.Alert) bool {
	return (a.EndsAt.After(old.StartsAt) && a.EndsAt.Before(old.EndsAt)) ||
		(a.StartsAt.After(old.StartsAt) && a.StartsAt.Before(old.EndsAt))
}

// resubmit puts all open alerts into the store again, which forgets resolved
// ones after a while, for a new dispatcher to find them there.
func (o *openAlerts) resubmit(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.submit(ctx)
}

func (o *openAlerts) submit(ctx context.Context) error {
	list := make([]*alert.Alert, 0, len(o.open))
	for _, a := range o.open {
		list = append(list, a.Alert)
	}
	return o.Alerts.Put(ctx, list...)
}

// telling is called before alerts are told. An alert can resolve by itself
// when nobody confirms it any more; that is on disk before it is told, or a
// restart would tell it as firing once more.
func (o *openAlerts) telling(alerts []*alert.Alert) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range alerts {
		if known := o.open[a.Fingerprint()]; known != nil && known.firing && a.Resolved() {
			o.write()
			return
		}
	}
}

// told is called when alerts have been told, or need not be. Those resolved
// are no longer open, unless they have changed since.
func (o *openAlerts) told(alerts []*alert.Alert) {
	o.mu.Lock()
	defer o.mu.Unlock()
	changed := false
	for _, a := range alerts {
		fp := a.Fingerprint()
		if known := o.open[fp]; known != nil && a.Resolved() && known.UpdatedAt.Equal(a.UpdatedAt) {
			delete(o.open, fp)
			changed = true
		}
	}
	if changed {
		o.write()
	}
}

// write brings the file up to date. Callers hold mu.
func (o *openAlerts) write() {
	list := make([]stored, 0, len(o.open))
	for _, a := range o.open {
		a.firing = !a.Resolved()
		s := stored{
			Labels:       plain(a.Labels),
			Annotations:  plain(a.Annotations),
			GeneratorURL: a.GeneratorURL,
			StartsAt:     a.StartsAt,
		}
		if !a.firing {
			s.EndsAt = a.EndsAt
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b stored) int {
		return strings.Compare(labelSet(a.Labels).String(), labelSet(b.Labels).String())
	})
	data, err := json.MarshalIndent(list, "", " ")
	if err == nil {
		err = writeFile(o.path, append(data, '\n'))
	}
	if err != nil {
		// Telling people matters more than knowing it after a crash.
		o.failed()
		o.logger.Error("firing alerts are not on disk; after a crash now a resolved message may be missing", "file", o.path, "err", err)
	}
}

func labelSet(m map[string]string) model.LabelSet {
	out := make(model.LabelSet, len(m))
	for k, v := range m {
		out[model.LabelName(k)] = model.LabelValue(v)
	}
	return out
}

func plain(ls model.LabelSet) map[string]string {
	out := make(map[string]string, len(ls))
	for k, v := range ls {
		out[string(k)] = string(v)
	}
	return out
}
