package synth

import "time"

// Versions of the shop: the one that runs, and the one whose deployment breaks
// the checkout in the demo.
const (
	GoodVersion = "1.41.0"
	BadVersion  = "1.42.0"
)

// Shop returns a web shop with 30 days of history before now. What went wrong in
// them spent part of every budget and all of none, for these objectives:
//
//	checkout  99.9% succeed, 95% under 300ms
//	search    99.5% succeed
//	product   99% under 500ms
//	login     99.9% succeed
//
// The last of it is more than four days old, so that nothing alerts now.
// The shop's day is that of now's location.
func Shop(now time.Time) *Model {
	// ago returns a time of day some days before now: incidents keep to
	// office hours, when people deploy.
	ago := func(days, hour, minute int) time.Time {
		return time.Date(now.Year(), now.Month(), now.Day()-days, hour, minute, 0, 0, now.Location())
	}
	return &Model{
		Service:  "shop",
		Version:  GoodVersion,
		PeakHour: 14,
		Location: now.Location(),
		Seed:     1,
		Flows: []Flow{
			{Name: "checkout", Method: "POST", Route: "/api/checkout", Peak: 8, ErrorRatio: 0.0003, Median: 120 * time.Millisecond, Sigma: 0.45},
			{Name: "search", Method: "GET", Route: "/api/search", Peak: 15, ErrorRatio: 0.0006, Median: 80 * time.Millisecond, Sigma: 0.6},
			{Name: "product", Method: "GET", Route: "/api/products/{id}", Peak: 20, ErrorRatio: 0.0002, Median: 90 * time.Millisecond, Sigma: 0.65},
			{Name: "login", Method: "POST", Route: "/api/login", Peak: 4, ErrorRatio: 0.0002, Median: 150 * time.Millisecond, Sigma: 0.4},
		},
		Incidents: []Incident{
			{Flow: "login", From: ago(26, 10, 40), For: 20 * time.Minute, ErrorRatio: 0.6, Why: "the identity provider renewed its certificate late"},
			{Flow: "checkout", From: ago(23, 16, 5), For: 35 * time.Minute, ErrorRatio: 0.15, Version: "1.38.0", Why: "1.38.0 opened too few database connections"},
			{Flow: "product", From: ago(17, 9, 30), For: 3 * time.Hour, LatencyFactor: 3, Why: "the image cache was emptied"},
			{Flow: "search", From: ago(12, 13, 15), For: 150 * time.Minute, ErrorRatio: 0.1, LatencyFactor: 1.5, Why: "one of the index nodes ran out of disk"},
			{Flow: "checkout", From: ago(9, 11, 0), For: 90 * time.Minute, LatencyFactor: 2.2, Why: "the payment provider answered slowly"},
			{Flow: "login", From: ago(5, 15, 20), For: 10 * time.Minute, ErrorRatio: 0.1, Version: "1.40.1", Why: "1.40.1 lost sessions"},
		},
	}
}
