package alertmanager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/common/model"
)

// Annotations that alerts carry on their way to a receiver, besides their own.
const (
	// Undelivered says when the alert was firing without that the receiver
	// could be told: ISO 8601 intervals such as
	// 2026-03-02T14:05:00Z/2026-03-02T14:18:00Z, the earliest first, with a
	// space between. Of a resolved alert the last is that which has just ended.
	Undelivered = "undelivered"

	// Unreachable says, in messages to the fallback, since when the receiver
	// that it stands in for could not be told: an RFC 3339 time.
	Unreachable = "unreachable"
)

const (
	// fallbackName is the integration of the fallback in the notification log.
	fallbackName = "fallback"

	// fallbackAfter is how long a receiver may be out of reach before the
	// fallback is told: a restart of either side takes less.
	fallbackAfter = 5 * time.Minute
)

// delivery tells a receiver of groups of alerts. It does what Alertmanager's
// own pipeline does: it leaves out what is inhibited or silenced and what was
// told before, tries for as long as it may, and remembers. In three things it
// differs.
//
// An alert that fired and ended while the receiver could not be told is told
// when it can: Alertmanager drops it. One that ended before anybody tried to
// tell it is left out of every message.
//
// That an alert has ended is remembered when it is inhibited or silenced too,
// or it would pass for one that was told when it fires again, and nobody would
// hear of that. The end of what was told goes out in spite of a silence; an
// inhibited one is told by what inhibits it.
//
// Where an integration has a fallback, that is told when the integration has
// been out of reach for a while, and of the end of what it was told.
type delivery struct {
	inhibit  notify.Stage
	silence  notify.Stage // and time intervals
	couriers []*courier
}

// deliveries returns a stage that tells receivers by name.
func (a *Alertmanager) deliveries(receivers map[string][]notify.Integration, in *inhibit.Inhibitor, times *timeinterval.Intervener) notify.Stage {
	out := make(notify.RoutingStage, len(receivers))
	live := map[string]bool{}
	for name, integrations := range receivers {
		d := &delivery{
			inhibit: notify.NewMuteStage(in, a.notified),
			silence: notify.MultiStage{
				notify.NewTimeActiveStage(times, a.groups, a.notified),
				notify.NewTimeMuteStage(times, a.groups, a.notified),
				notify.NewMuteStage(a.silencer, a.notified),
			},
		}
		for i := range integrations {
			in := &integrations[i]
			recv := &nflogpb.Receiver{GroupName: name, Integration: in.Name(), Idx: uint32(in.Index())}
			c := &courier{
				key: fmt.Sprintf("%s/%s/%d", name, in.Name(), in.Index()), alerts: a.alerts, log: a.told, recv: recv,
				dedup:    notify.NewDedupStage(in, a.told, recv),
				retry:    notify.NewRetryStage(*in, name, a.notified, eventrecorder.Recorder{}),
				remember: notify.NewSetNotifiesStage(lasting{a.told}, recv),
			}
			if in.Name() == fallbackName && i > 0 {
				c.standsFor = d.couriers[i-1].key
			}
			live[c.key] = true
			d.couriers = append(d.couriers, c)
		}
		out[name] = d
	}
	a.alerts.inherit(live)
	a.notified.InitializeFor(receivers)
	return out
}

// lasting remembers what was told for as long as the log does at all. Alertmanager
// forgets it after two repeat intervals, and with it that an end is still to be
// told when the receiver was away for longer.
type lasting struct{ log *nflog.Log }

// Log implements notify.NotificationLog.
func (l lasting) Log(r *nflogpb.Receiver, group string, firing, resolved []uint64, store *nflog.Store, _ time.Duration) error {
	return l.log.Log(r, group, firing, resolved, store, 0)
}

// Query implements notify.NotificationLog.
func (l lasting) Query(params ...nflog.QueryParam) ([]*nflogpb.Entry, error) {
	return l.log.Query(params...)
}

// Exec implements notify.Stage.
func (d *delivery) Exec(ctx context.Context, l *slog.Logger, alerts ...*alert.Alert) (context.Context, []*alert.Alert, error) {
	ctx, free, err := d.inhibit.Exec(ctx, l, alerts...)
	if err != nil {
		return ctx, nil, err
	}
	ctx, loud, err := d.silence.Exec(ctx, l, free...)
	if err != nil {
		return ctx, nil, err
	}
	b := batch{loud: loud}
	for _, a := range alerts {
		switch {
		case !a.Resolved() || slices.Contains(loud, a):
		case slices.Contains(free, a):
			b.silenced = append(b.silenced, a)
		default:
			b.inhibited = append(b.inhibited, a)
		}
	}
	if len(b.all()) == 0 {
		return ctx, nil, nil
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		faults error
	)
	for _, c := range d.couriers {
		wg.Go(func() {
			if err := c.tell(ctx, l, b); err != nil {
				mu.Lock()
				faults = errors.Join(faults, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ctx, alerts, faults
}

// batch is what there is of a group at one time.
type batch struct {
	loud      []*alert.Alert
	silenced  []*alert.Alert // only those that have ended
	inhibited []*alert.Alert // only those that have ended
}

func (b batch) all() []*alert.Alert { return slices.Concat(b.loud, b.silenced, b.inhibited) }

// courier tells one integration of a receiver.
type courier struct {
	key    string // names it among all
	alerts *openAlerts
	log    *nflog.Log
	recv   *nflogpb.Receiver

	// standsFor is the key of the courier that this one is the fallback of;
	// empty for all others.
	standsFor string

	dedup, retry, remember notify.Stage
}

// tell tells what there is to tell.
func (c *courier) tell(ctx context.Context, l *slog.Logger, b batch) error {
	debtor, since, needed := c.key, time.Time{}, true
	if c.standsFor != "" {
		debtor = c.standsFor
		since = c.alerts.owedSince(debtor, b.loud)
		needed = !since.IsZero() && time.Since(since) >= fallbackAfter
		firing := slices.ContainsFunc(b.loud, func(a *alert.Alert) bool { return !a.Resolved() })
		if !needed && firing {
			return nil
		}
	}
	group, _ := notify.GroupKey(ctx)
	before, err := c.lastTold(group)
	if err != nil {
		return err
	}
	ctx, due, err := c.dedup.Exec(ctx, l, b.all()...)
	if err != nil {
		return err
	}
	firing, _ := notify.FiringAlerts(ctx)
	resolved, _ := notify.ResolvedAlerts(ctx)

	var message, news []*alert.Alert
	ends := false // the message says that something has ended
	for i, a := range b.all() {
		var hash uint64
		if a.Resolved() {
			hash, resolved = resolved[0], resolved[1:]
		} else {
			hash, firing = firing[0], firing[1:]
		}
		told := slices.Contains(before.FiringAlerts, hash)
		var missed []episode
		if needed {
			missed = c.alerts.missed(debtor, a)
		}
		switch {
		case !a.Resolved():
			if !told {
				news = append(news, a)
			}
		case told && i < len(b.loud)+len(b.silenced):
			missed, ends = nil, true
		case i < len(b.loud) && len(missed) > 0 && !(slices.Contains(before.ResolvedAlerts, hash) && !before.Timestamp.AsTime().Before(a.EndsAt)):
			ends = true
		default:
			continue
		}
		message = append(message, annotated(a, missed, since))
	}
	reason, _ := notify.NotificationReason(ctx)
	switch {
	case due == nil && !ends:
		return nil
	case reason == notify.ReasonNewResolvedAlerts && !ends:
		return nil // only what nobody has heard of has ended
	case due == nil:
		ctx = notify.WithNotificationReason(ctx, notify.ReasonAllAlertsResolved)
	}
	if len(message) > 0 {
		if c.standsFor == "" {
			c.alerts.trying(c.key, news)
		}
		if _, _, err := c.retry.Exec(ctx, l, message...); err != nil {
			return err
		}
	}
	if _, _, err := c.remember.Exec(ctx, l, b.all()...); err != nil {
		return err
	}
	if c.standsFor == "" {
		c.alerts.heard(c.key, message)
	}
	return nil
}

// lastTold returns what the group's last message said.
func (c *courier) lastTold(group string) (*nflogpb.Entry, error) {
	entries, err := c.log.Query(nflog.QGroupKey(group), nflog.QReceiver(c.recv))
	if errors.Is(err, nflog.ErrNotFound) || (err == nil && len(entries) == 0) {
		return &nflogpb.Entry{}, nil
	}
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// annotated returns an alert with what its receiver is told besides.
func annotated(a *alert.Alert, missed []episode, unreachable time.Time) *alert.Alert {
	if len(missed) == 0 && unreachable.IsZero() {
		return a
	}
	out := *a
	out.Annotations = maps.Clone(a.Annotations)
	if out.Annotations == nil {
		out.Annotations = model.LabelSet{}
	}
	if len(missed) > 0 {
		written := make([]string, len(missed))
		for i, e := range missed {
			written[i] = e.From.UTC().Format(time.RFC3339) + "/" + e.To.UTC().Format(time.RFC3339)
		}
		out.Annotations[Undelivered] = model.LabelValue(strings.Join(written, " "))
	}
	if !unreachable.IsZero() {
		out.Annotations[Unreachable] = model.LabelValue(unreachable.UTC().Format(time.RFC3339))
	}
	return &out
}
