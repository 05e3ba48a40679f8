package slack

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
)

const (
	// gatherAfter is how many messages of a channel go out one by one in the
	// time gatherFor; what comes meanwhile waits for its end and then is one
	// summary. Three fit a screen and are what people can act on. Rules are
	// evaluated within 15 s, so that a storm is told in at most five messages.
	gatherAfter = 3
	gatherFor   = 15 * time.Second

	// stormGroup is the group of summaries: when Slack refuses one, others wait
	// as well.
	stormGroup = "storm"
)

// Gather returns a notifier of a channel that tells a storm as a summary: when
// more than three groups of alerts have to be told within 15 s, the others are
// told as one message, 15 s later at most. An edit of a message that is there
// already never waits. The result may be used from several goroutines.
//
// Each group hears whether the message it was part of was delivered, so that
// one that was not is tried again, alone or with others.
func Gather(next notify.Notifier) notify.Notifier {
	return &gatherer{next: next, changed: make(chan struct{})}
}

type gatherer struct {
	next notify.Notifier

	mu      sync.Mutex
	waiting []*groupTold
	going   []*going
	changed chan struct{} // closed when there is room again
}

// groupTold is a group of alerts that waits to be told.
type groupTold struct {
	alerts []*alert.Alert
	again  bool
	done   chan result // takes one
}

type result struct {
	retry bool
	err   error
}

// going is a message that is under way or went out a short while ago.
type going struct {
	began time.Time
	size  int // how much of gatherAfter it takes
	busy  bool
}

// editor is a notifier that knows whether telling alerts changes a message that
// is there already.
type editor interface {
	edits(ctx context.Context, alerts []*alert.Alert) bool
}

// summarizer is a notifier that tells many groups in a way of its own.
type summarizer interface {
	summarize(ctx context.Context, alerts []*alert.Alert, again bool) (retry bool, err error)
}

// Notify implements notify.Notifier.
func (g *gatherer) Notify(ctx context.Context, alerts ...*alert.Alert) (retry bool, err error) {
	if e, ok := g.next.(editor); ok && e.edits(ctx, alerts) {
		return g.next.Notify(ctx, alerts...)
	}
	reason, _ := notify.NotificationReason(ctx)
	me := &groupTold{alerts: alerts, again: reason == notify.ReasonRepeatIntervalElapsed, done: make(chan result, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, me)
	g.mu.Unlock()
	for {
		all, m, room, changed := g.take(me, time.Now())
		if m != nil {
			r := g.tell(ctx, all)
			g.settle(m, r.err)
			for _, one := range all {
				one.done <- r
			}
		}
		wait := time.NewTimer(room)
		select {
		case r := <-me.done:
			wait.Stop()
			return r.retry, r.err
		case <-ctx.Done():
			wait.Stop()
			if g.leave(me) {
				return true, fmt.Errorf("wait for a summary: %w", ctx.Err())
			}
			r := <-me.done // who tells it ends by a deadline of its own
			return r.retry, r.err
		case <-wait.C:
		case <-changed:
		}
	}
}

// take returns all that wait, for the caller to tell as message m, if there is
// room for a message and the caller is among them; m is nil otherwise, and room
// says when to look again unless changed is closed before.
func (g *gatherer) take(me *groupTold, now time.Time) (all []*groupTold, m *going, room time.Duration, changed chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.going = slices.DeleteFunc(g.going, func(m *going) bool { return !m.busy && now.Sub(m.began) >= gatherFor })
	if !slices.Contains(g.waiting, me) {
		return nil, nil, gatherFor, g.changed
	}
	full, room := 0, gatherFor
	for _, m := range g.going {
		full += m.size
		if !m.busy {
			room = min(room, gatherFor-now.Sub(m.began))
		}
	}
	if full >= gatherAfter {
		return nil, nil, room, g.changed
	}
	all, g.waiting = g.waiting, nil
	m = &going{began: now, size: 1, busy: true}
	if len(all) > 1 {
		m.size = gatherAfter
	}
	g.going = append(g.going, m)
	return all, m, room, g.changed
}

// leave takes a group from those that wait; ok is false when it is being told.
func (g *gatherer) leave(me *groupTold) (ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, me)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return i >= 0
}

// settle ends a message. One that failed takes no room.
func (g *gatherer) settle(m *going, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.busy = false
	if err != nil {
		g.going = slices.DeleteFunc(g.going, func(x *going) bool { return x == m })
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// tell tells groups as one message.
func (g *gatherer) tell(ctx context.Context, all []*groupTold) (r result) {
	if len(all) == 1 {
		r.retry, r.err = g.next.Notify(ctx, all[0].alerts...)
		return r
	}
	var alerts []*alert.Alert
	again := true
	for _, one := range all {
		alerts = append(alerts, one.alerts...)
		again = again && one.again
	}
	ctx = notify.WithGroupKey(ctx, stormGroup)
	if s, ok := g.next.(summarizer); ok {
		r.retry, r.err = s.summarize(ctx, alerts, again)
		return r
	}
	reason := notify.ReasonFirstNotification
	if again {
		reason = notify.ReasonRepeatIntervalElapsed
	}
	r.retry, r.err = g.next.Notify(notify.WithNotificationReason(ctx, reason), alerts...)
	return r
}

// edits implements editor: an incident has its message.
func (c *botChannel) edits(ctx context.Context, alerts []*alert.Alert) bool {
	group, _ := notify.GroupKey(ctx)
	_, known := c.bot.book.get(c.name + " " + incident(group, alerts))
	return known
}

// summarize implements summarizer: a summary is a message of its own, which
// nothing changes any more. What its incidents go through is told as it comes.
func (c *botChannel) summarize(ctx context.Context, alerts []*alert.Alert, again bool) (retry bool, err error) {
	if err := sleepUntil(ctx, c.holds.held(stormGroup)); err != nil {
		return true, fmt.Errorf("slack refused a summary; the next try waits: %w", err)
	}
	n := notice{botChannel: c, group: stormGroup, alerts: alerts, again: again}
	return true, n.post(ctx, &posted{}, c.bot.voice.tell(alerts, again))
}
