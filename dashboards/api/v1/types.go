package v1

import (
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// State is what a flow or an objective is in: the name of a read.State.
type State string

// The states, worst first.
const (
	Burning  State = "burning"  // a page fires
	Spending State = "spending" // the budget is spent faster than it is earned
	Spent    State = "spent"    // nothing is left of the budget, though not spending faster now
	Unknown  State = "unknown"  // the figures that say so could not be read
	Calm     State = "calm"     // within what the objective earns
	Excluded State = "excluded" // what happens now does not count
	Idle     State = "idle"     // no events lately
	NoData   State = "no_data"  // never had an event
)

// States are all states, worst first.
var States = []State{Burning, Spending, Spent, Unknown, Calm, Excluded, Idle, NoData}

// Reading is what an answer is as of.
type Reading struct {
	At      time.Time `json:"at"`               // when it was read
	DataAt  time.Time `json:"data_at,omitzero"` // of the newest data, which all figures are as of; absent while there never was any
	Stale   bool      `json:"stale"`            // that data is older than it should be
	Notices []string  `json:"notices"`          // what to know before believing the figures
}

// Flows answers GET /flows.
type Flows struct {
	Reading
	Flows []Flow `json:"flows"` // worst first
}

// OneFlow answers GET /flows/{service}/{flow}.
type OneFlow struct {
	Reading
	Flow Flow `json:"flow"`
}

// Flow is a flow as it is now. Figures are absent where there is nothing to
// tell them from.
type Flow struct {
	Service    string      `json:"service"`
	Name       string      `json:"flow"`
	State      State       `json:"state"` // the worst of its objectives
	Objectives []Objective `json:"objectives"`

	// Over the last five minutes.
	RequestsPerSecond *float64 `json:"requests_per_second,omitempty"`
	ErrorRatio        *float64 `json:"error_ratio,omitempty"` // in [0, 1]
	P50Seconds        *float64 `json:"p50_seconds,omitempty"`
	P95Seconds        *float64 `json:"p95_seconds,omitempty"`
	P99Seconds        *float64 `json:"p99_seconds,omitempty"`

	LastHour *Hour      `json:"last_hour,omitempty"` // absent without requests
	Excluded *Exclusion `json:"excluded,omitempty"`  // while what happens does not count

	Where []Where `json:"where,omitempty"` // only in the answer for one flow

	Owner       string `json:"owner,omitempty"`
	Description string `json:"description,omitempty"`
	Runbook     string `json:"runbook,omitempty"`
}

// Hour is the requests of an hour in steps, oldest first.
type Hour struct {
	StartsAt          time.Time `json:"starts_at"`
	StepSeconds       float64   `json:"step_seconds"`
	RequestsPerSecond []float64 `json:"requests_per_second"` // to four digits
	ErrorsPerSecond   []float64 `json:"errors_per_second"`
}

// Where is what sets the bad requests of a flow apart: values of attributes.
type Where struct {
	Values      []Value `json:"values"`
	Symptom     bool    `json:"symptom"`      // they are how requests fail, not where
	BadRatio    float64 `json:"bad_ratio"`    // share of the bad requests that have them
	NormalRatio float64 `json:"normal_ratio"` // share of requests that normally do
	BadCount    uint64  `json:"bad_count"`    // requests that have them
	GoodCount   uint64  `json:"good_count"`
}

// Value is a value of an attribute.
type Value struct {
	Attribute string `json:"attribute"`
	Value     string `json:"value"`
}

// Judged is what keeps an objective from being judged by its burn rates alone.
type Judged struct {
	TooLittle           bool      `json:"too_little"` // it burns too fast, on too few events to judge by
	BadCount            uint64    `json:"bad_count,omitempty"`
	EventCount          uint64    `json:"event_count,omitempty"` // those, of which some are bad
	Learning            bool      `json:"learning"`              // it is younger than the window of its first alert
	DataMissingSince    time.Time `json:"data_missing_since,omitzero"`
	TrafficMissingSince time.Time `json:"traffic_missing_since,omitzero"`
	ExpectedCount       uint64    `json:"expected_count,omitempty"` // usual events in 15 minutes
	QuietSince          time.Time `json:"quiet_since,omitzero"`     // nothing burns, the alert is kept
	KeptUntil           time.Time `json:"kept_until,omitzero"`
}

// Exclusion says that what happens does not count.
type Exclusion struct {
	EndsAt time.Time `json:"ends_at"`
	Why    string    `json:"why,omitempty"`
}

// Objective is an objective of a flow as it is now.
type Objective struct {
	SLO       string `json:"slo"`  // identity, the label sloth_id
	Name      string `json:"name"` // within its flow
	Objective string `json:"objective"`

	Kind             string   `json:"kind"` // succeed, faster_than, fresh or promql
	TargetRatio      float64  `json:"target_ratio"`
	ThresholdSeconds *float64 `json:"threshold_seconds,omitempty"`
	SliceSeconds     *float64 `json:"slice_seconds,omitempty"`
	SliceTargetRatio *float64 `json:"slice_target_ratio,omitempty"`
	Unit             string   `json:"unit"` // what is counted

	WindowSeconds  float64   `json:"window_seconds"`
	Period         string    `json:"period,omitempty"` // of a calendar window
	PeriodStartsAt time.Time `json:"period_starts_at,omitzero"`
	PeriodEndsAt   time.Time `json:"period_ends_at,omitzero"`

	State            State    `json:"state"`
	GoodRatio        *float64 `json:"good_ratio,omitempty"` // now
	NowWindowSeconds float64  `json:"now_window_seconds"`   // what now means there
	BurnRate         *float64 `json:"burn_rate,omitempty"`
	BudgetLeftRatio  *float64 `json:"budget_left_ratio,omitempty"` // at most 1, below 0 when overspent

	// BudgetEndsAt is when the budget is gone if it goes on burning as now;
	// absent when it lasts or is spent.
	BudgetEndsAt time.Time `json:"budget_ends_at,omitzero"`

	// Only in the answer for one flow.
	Judged         *Judged  `json:"judged,omitempty"`
	EventsTotal    *float64 `json:"events_total,omitempty"` // since counting began
	BadEventsTotal *float64 `json:"bad_events_total,omitempty"`
	Windows        []Window `json:"windows,omitempty"`
	Tiers          []Tier   `json:"tiers,omitempty"`
}

// Window is what an objective did over a time.
type Window struct {
	WindowSeconds float64  `json:"window_seconds"`
	ErrorRatio    *float64 `json:"error_ratio,omitempty"`
	BurnRate      *float64 `json:"burn_rate,omitempty"`
}

// Tier is a burn-rate alert of an objective.
type Tier struct {
	Severity           slo.Severity `json:"severity"`
	BurnRate           float64      `json:"burn_rate"` // fires above it over both windows
	LongWindowSeconds  float64      `json:"long_window_seconds"`
	ShortWindowSeconds float64      `json:"short_window_seconds"`
}

// Budgets answers GET /flows/{service}/{flow}/budget.
type Budgets struct {
	StartsAt    time.Time       `json:"starts_at"`
	EndsAt      time.Time       `json:"ends_at"`
	StepSeconds float64         `json:"step_seconds"`
	Objectives  []BudgetHistory `json:"objectives"`
}

// BudgetHistory is the error budget of an objective over time.
type BudgetHistory struct {
	SLO       string        `json:"slo"`
	Name      string        `json:"name"`
	Objective string        `json:"objective"`
	Points    []BudgetPoint `json:"points"` // oldest first; none where there was no data
}

// BudgetPoint is what was left of a budget at a moment.
type BudgetPoint struct {
	At              time.Time `json:"at"`
	BudgetLeftRatio float64   `json:"budget_left_ratio"`
}

// Alerts answers GET /alerts.
type Alerts struct {
	At      time.Time   `json:"at"`
	Firing  []Firing    `json:"firing"`           // pages first, then the oldest first
	History []PastAlert `json:"history,omitzero"` // when asked for; the newest first

	// HistoryTruncated says that there were more, older than those.
	HistoryTruncated bool `json:"history_truncated,omitempty"`
}

// Of says what an alert is about. All but SLO are absent when it is no longer
// configured.
type Of struct {
	SLO       string `json:"slo"`
	Service   string `json:"service,omitempty"`
	Flow      string `json:"flow,omitempty"`
	Objective string `json:"objective,omitempty"`
}

// Firing is an alert that fires.
type Firing struct {
	Of
	Severity   slo.Severity `json:"severity"`
	BeganAt    time.Time    `json:"began_at"`
	Summary    string       `json:"summary,omitempty"`
	SilencedBy []string     `json:"silenced_by"` // identities of silences; none: it is told
}

// PastAlert is a time during which an alert fired.
type PastAlert struct {
	Of
	Severity slo.Severity `json:"severity"`
	BeganAt  time.Time    `json:"began_at,omitzero"` // absent when that was before the time asked for
	EndedAt  time.Time    `json:"ended_at,omitzero"` // absent while it fires
}

// Silences answers GET /silences.
type Silences struct {
	Silences []Silence `json:"silences"` // those that end first before the others
}

// Silence keeps alerts from being told for a while. They fire on.
type Silence struct {
	ID       string    `json:"id"`
	Service  string    `json:"service,omitempty"` // absent, with Flow, when it is about something else, as Matchers tell
	Flow     string    `json:"flow,omitempty"`
	SLO      string    `json:"slo,omitempty"`      // absent: all of the flow's
	Matchers string    `json:"matchers,omitempty"` // its conditions as Alertmanager writes them
	By       string    `json:"by"`
	Why      string    `json:"why"`
	StartsAt time.Time `json:"starts_at"`
	EndsAt   time.Time `json:"ends_at"`
}

// Error answers whatever cannot be done.
type Error struct {
	Error struct {
		Message string `json:"message"`
		Field   string `json:"field,omitempty"` // the parameter or field at fault
	} `json:"error"`
}
