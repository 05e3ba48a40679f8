package alertmanager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	amlabels "github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// maxSilences bounds the silences there are, ended ones included while they
	// are remembered: each is held against every new alert.
	maxSilences = 10_000

	// maxSilenceBytes bounds one of them: a paragraph of reasons is 1 KB.
	maxSilenceBytes = 64 << 10

	// MaxSilence is how long a silence may be at most. Whoever needs longer
	// wants another objective.
	MaxSilence = 30 * 24 * time.Hour
)

// ErrNoSilence says that there is no silence with an ID: it has never been, or
// ended days ago.
var ErrNoSilence = errors.New("alertmanager: there is no such silence")

// Silence keeps alerts from being told for a while: those that carry all of its
// labels. They fire on, and are told when the silence ends before they do.
type Silence struct {
	ID string // given when it is made

	// Labels are what an alert has to carry, by name. It is nil for a silence
	// of other conditions, made through Alertmanager's own API.
	Labels map[string]string

	// Matchers are the same conditions as Alertmanager writes them,
	// {severity="page"}. Silence does not read them.
	Matchers string

	By, Why     string
	From, Until time.Time

	compiled amlabels.MatcherSet
}

// Mutes reports whether the silence concerns alerts with these labels, while it
// is in force.
func (s *Silence) Mutes(labels map[string]string) bool {
	set := make(model.LabelSet, len(labels))
	for name, value := range labels {
		set[model.LabelName(name)] = model.LabelValue(value)
	}
	return s.compiled.Matches(set)
}

// Silences returns the silences that are in force or still to come, those that
// end first before the others.
func (a *Alertmanager) Silences() ([]Silence, error) {
	found, _, err := a.silences.Query(context.Background(), silence.QState(silence.SilenceStateActive, silence.SilenceStatePending))
	if err != nil {
		return nil, fmt.Errorf("silences: %w", err)
	}
	out := make([]Silence, 0, len(found))
	for _, p := range found {
		s, err := read(p)
		if err != nil {
			return nil, fmt.Errorf("silence %s: %w", p.Id, err)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y Silence) int { return cmp.Or(x.Until.Compare(y.Until), cmp.Compare(x.ID, y.ID)) })
	return out, nil
}

// Silence makes a silence that is in force from now, or from From where that is
// later, and returns its ID. Labels, By, Why and Until are wanted. It is on disk
// when Silence returns.
func (a *Alertmanager) Silence(ctx context.Context, s Silence) (id string, err error) {
	now := time.Now()
	from := s.From
	if from.Before(now) {
		from = now
	}
	switch {
	case len(s.Labels) == 0:
		return "", errors.New("silence: it has no labels and would mute every alert; want one at least")
	case strings.TrimSpace(s.By) == "" || strings.TrimSpace(s.Why) == "":
		return "", errors.New("silence: By or Why is missing; want who silences, and the reason")
	case !s.Until.After(from):
		return "", errors.New("silence: it ends before it begins; want an end in the future")
	case s.Until.Sub(from) > MaxSilence:
		return "", fmt.Errorf("silence: it lasts for more than %d days; want an end before", MaxSilence/(24*time.Hour))
	}
	set := &silencepb.MatcherSet{}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		set.Matchers = append(set.Matchers, &silencepb.Matcher{Type: silencepb.Matcher_EQUAL, Name: name, Pattern: s.Labels[name]})
	}
	p := &silencepb.Silence{
		MatcherSets: []*silencepb.MatcherSet{set},
		StartsAt:    timestamppb.New(from), EndsAt: timestamppb.New(s.Until),
		CreatedBy: s.By, Comment: s.Why,
	}
	err = a.changeSilences(func() error { return a.silences.Set(ctx, p) })
	return p.Id, err
}

// Unsilence ends a silence. The alerts it muted are told again as if they had
// begun now. Ending one that has ended is no error; ErrNoSilence says that there
// is none with the ID.
func (a *Alertmanager) Unsilence(ctx context.Context, id string) error {
	err := a.changeSilences(func() error { return a.silences.Expire(ctx, id) })
	if errors.Is(err, silence.ErrNotFound) {
		return ErrNoSilence
	}
	return err
}

// changeSilences makes a change while what changes is still written to disk.
func (a *Alertmanager) changeSilences(change func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errors.New("alertmanager: it has been stopped")
	}
	return change()
}

// read returns a silence as Alertmanager keeps it.
func read(p *silencepb.Silence) (Silence, error) {
	s := Silence{
		ID: p.Id, By: p.CreatedBy, Why: p.Comment,
		From: p.StartsAt.AsTime(), Until: p.EndsAt.AsTime(),
	}
	plain := len(p.MatcherSets) == 1 && len(p.ReceiverMatcherSets) == 0
	labels := map[string]string{}
	var written []string
	for _, set := range p.MatcherSets {
		var all amlabels.Matchers
		for _, m := range set.Matchers {
			kind, ok := matchTypes[m.Type]
			if !ok {
				return s, fmt.Errorf("%s is a comparison nobody knows", m.Type)
			}
			compiled, err := amlabels.NewMatcher(kind, m.Name, m.Pattern)
			if err != nil {
				return s, err
			}
			all = append(all, compiled)
			_, twice := labels[m.Name]
			plain = plain && kind == amlabels.MatchEqual && !twice
			labels[m.Name] = m.Pattern
		}
		s.compiled = append(s.compiled, &all)
		written = append(written, all.String())
	}
	s.Matchers = strings.Join(written, " or ")
	if plain {
		s.Labels = labels
	}
	return s, nil
}

var matchTypes = map[silencepb.Matcher_Type]amlabels.MatchType{
	silencepb.Matcher_EQUAL:      amlabels.MatchEqual,
	silencepb.Matcher_NOT_EQUAL:  amlabels.MatchNotEqual,
	silencepb.Matcher_REGEXP:     amlabels.MatchRegexp,
	silencepb.Matcher_NOT_REGEXP: amlabels.MatchNotRegexp,
}
