package where

import (
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// Culprit is what sets bad requests apart: a value of an attribute, or two
// together. Shares and counts are estimates from samples, exact while there are
// few requests.
type Culprit struct {
	Values []Value // one or two

	// Symptom says that the values are how requests failed, such as a status
	// code, not where.
	Symptom bool

	Bad    float64 // share of the bad requests that have the values, in [0, 1]
	Normal float64 // share of all requests that do; of those before when Before

	BadCount, GoodCount uint64 // requests in the window that have the values

	// Lift is how many times as likely to be bad a request with the values is
	// as one without.
	Lift float64

	// Before says that the window's requests cannot tell, as nearly all have
	// the values or are bad, and that they were compared with good ones before it.
	Before bool
}

// Value is a value of an attribute.
type Value struct {
	Attribute string
	Text      string // valid UTF-8 of at most 122 bytes
}

// How much evidence it takes. A culprit must be unlikely to be chance, and it
// must matter.
const (
	// falseAlarms is how likely it is to name a value where none is to blame, and
	// as likely again for a pair. It is divided among all that are looked at.
	falseAlarms = 0.01

	minBad      = 4    // bad requests that have it
	minOdds     = 2    // odds of having it among bad requests to those among good
	minLift     = 1.5  // as in Culprit
	minExplains = 0.25 // share of the bad requests that would not be there without it

	// pairGain is by how much more a pair must explain than any value, in units
	// of the G statistic: it has one more choice to fit.
	pairGain = 8

	// maxPaired is how many values pairs are made of: those that tell most.
	maxPaired = 24

	maxCulprits = 3
	maxSymptoms = 2

	// fewGood is less than what can be compared with, and enoughBefore is how
	// many samples of the time before a window are.
	fewGood      = 10
	enoughBefore = 256

	// Where nearly all requests have a value now and few had it before, such as
	// a version that is rolled out, only the time before can tell.
	nearlyAll, fewBefore = 0.9, 0.5

	// twins are two values whose requests are the same but for this share.
	twins = 0.05
)

// symptoms are attributes that say how a request ended.
var symptoms = map[string]bool{slo.KeyStatusCode: true, slo.KeyStatus: true, "error.type": true}

// Find returns what sets the bad requests of a flow, or with slow those over its
// lowest latency threshold, apart from the others between from and to, the best
// explanation first: at most three that each explain what those before leave, then
// at most two symptoms. It names nothing without enough evidence.
//
// A value that is bad more often at all times is to blame only for what
// exceeds it. Of values that the same requests have, the one whose attribute is
// listed first in the flow's Compared is named. Time is resolved to minutes, within
// half an hour, and to less further back; there are 25 hours. Where nothing
// happened or no such flow is known, nothing is returned.
func (f *Finder) Find(service, name string, slow bool, from, to time.Time) []Culprit {
	class := isBad
	if slow {
		class = isSlow
	}
	e := f.evidence(service, name, class, from, to)
	if e == nil {
		return nil
	}
	return f.name(e.explain(), e.where)
}

// evidence returns the samples of a flow for a window, nil for no such flow.
func (f *Finder) evidence(service, name string, class int, from, to time.Time) *evidence {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fl := range f.flows {
		if fl.service == service && fl.name == name {
			return fl.gather(class, from.Unix(), to.Unix())
		}
	}
	return nil
}

// name gives what was found its texts. What has one that is no longer known is
// left out.
func (f *Finder) name(all []found, where []string) []Culprit {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Culprit
	for i := range all {
		c := all[i].culprit
		for _, h := range all[i].conds {
			if text := f.texts.get(h.id); text != "" {
				c.Values = append(c.Values, Value{where[h.attribute], text})
			}
		}
		if len(c.Values) == len(all[i].conds) {
			out = append(out, c)
		}
	}
	return out
}
