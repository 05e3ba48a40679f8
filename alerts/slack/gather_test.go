package slack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/internal/fakeslack"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// flowAlert is a page of one of many flows.
func flowAlert(i int, over time.Time) *alert.Alert {
	a := checkout(slo.Page, over)
	name := fmt.Sprintf("flow-%04d", i)
	a.Labels[series.SLOFlow], a.Labels[series.ID] = model.LabelValue(name), model.LabelValue("shop-"+name+"-availability")
	return a
}

func groupOf(ctx context.Context, a *alert.Alert) context.Context {
	return notify.WithGroupKey(ctx, "group of "+string(a.Labels[series.SLOFlow]))
}

// TestStormOfPages: 2,000 flows that page at once, or within the time in which
// rules are evaluated, are told in at most five messages, none over Slack's
// limits, with the way to all names; and so is their end.
func TestStormOfPages(t *testing.T) {
	for _, by := range []string{"webhook", "bot"} {
		for _, within := range []time.Duration{0, 15 * time.Second} {
			t.Run(fmt.Sprint(by, " within ", within), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(time.Until(fired.Add(time.Hour)))
					inbox := fakeslack.New(fakeslack.Options{})
					client := &http.Client{Transport: inProcess{inbox}}
					known := func(string, time.Time) (Facts, bool) { return someFacts(), true }
					channel := Gather(testNotifier(t, by, "http://slack.invalid", client, known))
					for _, over := range []bool{false, true} {
						before := len(inbox.Messages())
						var end time.Time
						if over {
							time.Sleep(10 * time.Minute)
							end = time.Now()
						}
						var wg sync.WaitGroup
						began := time.Now()
						for i := range 2000 {
							wg.Go(func() {
								time.Sleep(within * time.Duration(i) / 2000)
								a := flowAlert(i, end)
								ctx, cancel := context.WithTimeout(groupOf(t.Context(), a), time.Minute)
								defer cancel()
								if _, err := channel.Notify(ctx, a); err != nil {
									t.Error(err)
								}
							})
						}
						wg.Wait()
						if took := time.Since(began); took > within+gatherFor+10*time.Second {
							t.Errorf("told after %v, want %v at most", took, within+gatherFor+10*time.Second)
						}
						told := slices.DeleteFunc(inbox.Messages()[before:], func(m fakeslack.Message) bool { return m.Thread != "" })
						if len(told) < 2 || len(told) > 5 {
							t.Fatalf("%d messages, want 2 to 5", len(told))
						}
						summary := told[len(told)-1]
						for _, m := range told {
							fits(t, m.Raw)
							inert(t, m.Raw)
							if strings.Count(m.Text, "Flow-") > 1 {
								summary = m
							}
						}
						text := string(summary.Raw)
						if !strings.Contains(text, "https://slo.example/alerts|") || !strings.Contains(text, " flows of shop ") {
							t.Errorf("summary = %s, want a count and a link to all alerts", text)
						}
					}
				})
			})
		}
	}
}

// scribe writes down what it is told.
type scribe struct {
	mu    sync.Mutex
	told  []string
	fails error
	slow  time.Duration
}

func (s *scribe) Notify(ctx context.Context, alerts ...*alert.Alert) (bool, error) {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return true, s.fails
	}
	reason, _ := notify.NotificationReason(ctx)
	var names []string
	for _, a := range alerts {
		names = append(names, strings.TrimLeft(strings.TrimPrefix(string(a.Labels[series.SLOFlow]), "flow-"), "0"))
	}
	slices.Sort(names)
	s.told = append(s.told, fmt.Sprintf("%s %s", reason, strings.Join(names, " ")))
	return false, nil
}

// tell tells flow i, repeating what was told before.
func tellFlow(t *testing.T, n notify.Notifier, i int, for_ time.Duration) error {
	ctx, cancel := context.WithTimeout(groupOf(t.Context(), flowAlert(i, time.Time{})), for_)
	defer cancel()
	_, err := n.Notify(notify.WithNotificationReason(ctx, notify.ReasonRepeatIntervalElapsed), flowAlert(i, time.Time{}))
	return err
}

// TestGather: single alerts never wait, others wait for a summary of all.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scribe{}
		g := Gather(s)
		for i := 1; i <= 3; i++ {
			began := time.Now()
			if err := tellFlow(t, g, i, time.Minute); err != nil || time.Since(began) > 0 {
				t.Errorf("alert %d: %v after %v, want it told at once", i, err, time.Since(began))
			}
		}
		began := time.Now()
		var wg sync.WaitGroup
		for i := 4; i <= 6; i++ {
			time.Sleep(time.Second)
			wg.Go(func() {
				wait := time.Minute
				if i == 5 {
					wait = 4 * time.Second // and it leaves
				}
				if err := tellFlow(t, g, i, wait); (err != nil) != (i == 5) || (i == 5) != errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("alert %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != gatherFor {
			t.Errorf("the summary came after %v, want %v", took, gatherFor)
		}
		time.Sleep(gatherFor)
		if err := tellFlow(t, g, 7, time.Minute); err != nil {
			t.Error(err)
		}
		want := []string{
			"repeat interval elapsed 1", "repeat interval elapsed 2", "repeat interval elapsed 3",
			"repeat interval elapsed 4 6", "repeat interval elapsed 7",
		}
		if !slices.Equal(s.told, want) {
			t.Errorf("told %q, want %q", s.told, want)
		}
	})
}

// TestGatherFails: what fails takes no room, and every group hears of it.
func TestGatherFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scribe{fails: errors.New("slack is away"), slow: 10 * time.Second}
		g := Gather(s)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := tellFlow(t, g, i, time.Minute); err == nil || err.Error() != "slack is away" {
					t.Errorf("alert %d: %v, want the failure", i, err)
				}
			})
		}
		wg.Wait()
		s.mu.Lock()
		s.fails = nil
		s.mu.Unlock()
		began := time.Now()
		for i := range 20 {
			wg.Go(func() {
				if err := tellFlow(t, g, i, time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var names []string
		for _, line := range s.told {
			names = append(names, strings.Fields(strings.TrimPrefix(line, "repeat interval elapsed"))...)
		}
		slices.Sort(names)
		if took := time.Since(began); took > time.Minute || len(slices.Compact(names)) != 19 || len(s.told) != 4 { // flow-0000 has no number
			t.Errorf("told %q after %v, want each flow once, in four messages, within a minute", s.told, took)
		}
	})
}

// TestGatherEdits: an incident that a bot has told goes on in its message,
// whatever else goes on.
func TestGatherEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		o.facts.Chart = nil
		g := Gather(o.bot.Channel("#shop"))
		tell := func(a *alert.Alert) {
			t.Helper()
			if _, err := g.Notify(groupOf(t.Context(), a), a); err != nil {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		for i := range 3 {
			tell(flowAlert(i, time.Time{}))
		}
		for i := 3; i < 8; i++ {
			wg.Go(func() { tell(flowAlert(i, time.Time{})) })
		}
		synctest.Wait()
		began := time.Now()
		for i := range 3 {
			tell(flowAlert(i, time.Now()))
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("three incidents ended after %v, want no wait for the summary", took)
		}
		wg.Wait()
		green, red := strings.Count(o.shown(), "#12b76a"), strings.Count(o.shown(), "#d92d20")
		if green != 3 || red != 1 {
			t.Errorf("%d green and %d red messages, want 3 and the summary:\n%s", green, red, o.shown())
		}
		for key, p := range o.bot.book.open {
			if p.Ended.IsZero() {
				t.Errorf("%s is remembered as open, want nothing of the summary", key)
			}
		}
	})
}
