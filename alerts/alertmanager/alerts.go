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

	// owed is what receivers should have been told and were not, by the key of
	// their courier; anybody's is that of receivers that are no more.
	owed map[string]*debt
}

// anybody is the key of what is owed to whoever is told of the alert next.
const anybody = ""

// debt is what a receiver does not know of an alert.
type debt struct {
	// Since is when it was first tried to tell that the alert fires; zero when
	// that has not been tried. On disk it is only of alerts that have ended:
	// others are tried again at once.
	Since time.Time `json:"since,omitzero"`

	// Missed are the times it fired before, the latest maxMissed of them.
	Missed []episode `json:"missed,omitempty"`
}

// episode is a time for which an alert fired.
type episode struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// maxMissed bounds the episodes that are remembered of an alert: more of them
// nobody reads in one message.
const maxMissed = 20

// stored is an open alert on disk.
type stored struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt,omitzero"` // zero: it fires
	Owed         map[string]*debt  `json:"owed,omitempty"`
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
		o.open[a.Fingerprint()] = &openAlert{Alert: a, firing: firing, owed: s.Owed}
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
			} else if firing && old.Resolved() {
				old.again()
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

// again is called when the alert begins to fire once more.
func (a *openAlert) again() {
	for _, d := range a.owed {
		if !d.Since.IsZero() {
			d.Missed = append(d.Missed, episode{a.StartsAt, a.EndsAt})
			d.Missed = d.Missed[max(0, len(d.Missed)-maxMissed):]
			d.Since = time.Time{}
		}
	}
}

// trying is called before a receiver is told that alerts fire of which it does
// not know. Until it has heard, that is owed to it.
func (o *openAlerts) trying(key string, alerts []*alert.Alert) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ended := false
	for _, a := range alerts {
		known := o.open[a.Fingerprint()]
		if known == nil {
			continue
		}
		if known.owed == nil {
			known.owed = map[string]*debt{}
		}
		d := known.owed[key]
		if d == nil {
			d = &debt{}
			known.owed[key] = d
		}
		if d.Since.IsZero() {
			d.Since = time.Now()
			ended = ended || !known.firing // it has just been written without this
		}
	}
	if ended {
		o.write()
	}
}

// heard is called when a receiver has been told of alerts: nothing is owed to it
// any more, but what has happened since.
func (o *openAlerts) heard(key string, alerts []*alert.Alert) {
	o.mu.Lock()
	defer o.mu.Unlock()
	changed := false
	for _, a := range alerts {
		known := o.open[a.Fingerprint()]
		if known == nil {
			continue
		}
		for _, k := range []string{key, anybody} {
			d := known.owed[k]
			switch {
			case d == nil:
				continue
			case known.StartsAt.After(a.StartsAt): // it has ended and fires again by now
				d.Missed = slices.DeleteFunc(d.Missed, func(e episode) bool { return !e.From.After(a.StartsAt) })
				changed = true
			default:
				delete(known.owed, k)
				changed = changed || len(d.Missed) > 0
			}
		}
	}
	if changed {
		o.write()
	}
}

// missed returns when the alert fired without that the receiver was told,
// including its present episode if it has ended.
func (o *openAlerts) missed(key string, a *alert.Alert) []episode {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.open[a.Fingerprint()]
	if known == nil {
		return nil
	}
	var out []episode
	for _, k := range []string{anybody, key} {
		d := known.owed[k]
		if d == nil {
			continue
		}
		out = append(out, d.Missed...)
		if a.Resolved() && !d.Since.IsZero() && !known.StartsAt.After(a.StartsAt) {
			out = append(out, episode{a.StartsAt, a.EndsAt})
		}
	}
	slices.SortFunc(out, func(x, y episode) int { return x.From.Compare(y.From) })
	return slices.CompactFunc(out, func(x, y episode) bool { return x.From.Equal(y.From) })
}

// owedSince returns since when it has been tried to tell the receiver that one
// of the alerts fires, or fired; the zero time is never.
func (o *openAlerts) owedSince(key string, alerts []*alert.Alert) (since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range alerts {
		known := o.open[a.Fingerprint()]
		if known == nil {
			continue
		}
		if d := known.owed[key]; d != nil && !d.Since.IsZero() && (since.IsZero() || d.Since.Before(since)) {
			since = d.Since
		}
	}
	return since
}

// inherit lets anybody be told what is owed to receivers that are no more. live
// holds the keys of those that are.
func (o *openAlerts) inherit(live map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.open {
		for key, d := range a.owed {
			if key == anybody || live[key] {
				continue
			}
			delete(a.owed, key)
			if old := a.owed[anybody]; old != nil {
				d.Missed = append(d.Missed, old.Missed...)
				if d.Since.IsZero() {
					d.Since = old.Since
				}
			}
			a.owed[anybody] = d
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
		s.Owed = a.lasting()
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

// lasting returns what is owed as it goes to disk.
func (a *openAlert) lasting() map[string]*debt {
	if !a.firing {
		return a.owed
	}
	out := map[string]*debt{}
	for key, d := range a.owed {
		if len(d.Missed) > 0 {
			out[key] = &debt{Missed: d.Missed}
		}
	}
	return out
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
