package openslo_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/OpenSLO/oslo/pkg/manifest/v1"
	"gopkg.in/yaml.v3" // whose Node the official types unmarshal

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/openslo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// everything is a flow for each thing OpenSLO can say of an SLO, or cannot.
const everything = `service: shop
flows:
  checkout:
    match: POST /api/checkout
    description: |
      What customers pay with.
      No money, no shop.
    labels: {team: shop, "tier": "2"}
    slos:
      - 99.9% succeed
      - {faster_than: 300ms, for: 95%, window: month, timezone: Europe/Zurich}
      - {succeed: 99%, window: week, name: weekly}
      - {succeed: 99.99%, window: quarter, timezone: America/New_York, name: quarterly}
      - 99.5% of minutes with 95% under 300ms
      - {succeed: 99%, time_slice: {target: 98%, length: 5m}, window: 7d, name: fives}
      - {succeed: 99%, time_slice: {target: 98%, length: 30s}, window: 36h, name: halves}
  import: {match: {kind: consumer}, slos: [fresh every 26h], alerts: off, owner: data, slack: "#data"}
  upstream:
    slos:
      - {promql: {bad: 'sum(rate(errors_total[$window]))', total: 'sum(rate(requests_total[$window]))'}, target: 99%, id: upstream}
      - {promql: {good: 'sum(rate(good_total[{{.window}}]))', total: 'sum(rate(requests_total[$window]))'}, target: 99%, id: upstream-good, window: 90m}
`

func load(t *testing.T, data string) []slo.Flow {
	t.Helper()
	config, err := spec.Parse("f.yaml", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return config.Flows
}

// TestWriteReadsBack writes every kind of SLO and reads it again: identities,
// targets, periods and slices are the same.
func TestWriteReadsBack(t *testing.T) {
	want := slo.All(load(t, everything))
	data, _, err := openslo.Write(load(t, everything))
	if err != nil {
		t.Fatal(err)
	}
	got := slo.All(load(t, string(data)))
	if len(got) != len(want) || len(want) < 10 {
		t.Fatalf("%d SLOs read back, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.ID() != w.ID() || g.Flow.Service != w.Flow.Service || strings.TrimSpace(w.Flow.Description) != g.Flow.Description ||
			!reflect.DeepEqual(g.Flow.Labels, w.Flow.Labels) {
			t.Errorf("SLO %s %q %v, want %s %q %v", g.ID(), g.Flow.Description, g.Flow.Labels, w.ID(), w.Flow.Description, w.Flow.Labels)
		}
		a, b := g.Objective, w.Objective
		if a.Target != b.Target || a.Window != b.Window || a.Calendar.String() != b.Calendar.String() {
			t.Errorf("%s: %s, want %s", w.ID(), a.Words(), b.Words())
		}
		slice, share := b.Slice, b.SliceTarget
		switch {
		case b.Kind == slo.Fresh:
			share = 1 // of one minute
		case b.Slice < time.Minute:
			slice, share = 0, 0
		}
		if a.Slice != slice || a.SliceTarget != share {
			t.Errorf("%s: %v of slices of %s, want %v of %s", w.ID(), a.SliceTarget, a.Slice, share, slice)
		}
		query := b.Query
		if b.Kind != slo.PromQL {
			query = slo.Query{
				Bad:   fmt.Sprintf("sum(increase(slo_errors_total{sloth_id=%q}[$window]))", w.ID()),
				Total: fmt.Sprintf("sum(increase(slo_events_total{sloth_id=%q}[$window]))", w.ID()),
			}
		}
		if a.Query != query {
			t.Errorf("%s asks %+v, want %+v", w.ID(), a.Query, query)
		}
	}
}

// TestWriteIsOpenSLO decodes what is written with the official types, none of
// whose keys may be unknown, and holds it to the rules on their fields.
func TestWriteIsOpenSLO(t *testing.T) {
	data, _, err := openslo.Write(load(t, everything))
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	documents := 0
	for ; ; documents++ {
		var plain any
		if err := decoder.Decode(&plain); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		again, err := yaml.Marshal(plain) // as oslo does, which normalises dates
		if err != nil {
			t.Fatal(err)
		}
		strict := yaml.NewDecoder(bytes.NewReader(again))
		strict.KnownFields(true)
		var object v1.SLO
		if err := strict.Decode(&object); err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		parsed, err := v1.Parse(again, v1.ObjectGeneric{}, "f.yaml", object.ObjectHeader.Kind)
		if err != nil {
			t.Fatal(err)
		}
		if kept, ok := parsed.(v1.SLO); !ok || kept.Metadata.Name != object.Metadata.Name {
			t.Errorf("v1.Parse returns %T", parsed)
		}
		for _, fault := range broken(reflect.ValueOf(object), "") {
			t.Errorf("%s: %s", object.Metadata.Name, fault)
		}
	}
	if documents < 10 {
		t.Errorf("%d documents, want at least 10", documents)
	}
}

// broken returns the rules of a struct's validate tags that its fields break,
// for the rules that the types of an SLO have.
func broken(s reflect.Value, path string) (faults []string) {
	switch s.Kind() {
	case reflect.Pointer:
		if !s.IsNil() {
			return broken(s.Elem(), path)
		}
		return nil
	case reflect.Slice:
		for i := range s.Len() {
			faults = append(faults, broken(s.Index(i), path+"["+strconv.Itoa(i)+"]")...)
		}
		return faults
	case reflect.Struct:
	default:
		return nil
	}
	for i := range s.NumField() {
		field, at := s.Type().Field(i), path+"."+s.Type().Field(i).Name
		for _, rule := range strings.Split(field.Tag.Get("validate"), ",") {
			name, argument, _ := strings.Cut(rule, "=")
			if !keeps(s, s.Field(i), name, argument) {
				faults = append(faults, fmt.Sprintf("%s breaks %s: %v", at, rule, s.Field(i)))
			}
		}
		faults = append(faults, broken(s.Field(i), at)...)
	}
	return faults
}

func keeps(s, v reflect.Value, rule, argument string) bool {
	number := func() float64 { x, _ := strconv.ParseFloat(argument, 64); return x }
	switch rule {
	case "", "omitempty", "dive", "numeric":
		return true
	case "required":
		return !v.IsZero()
	case "required_without":
		return !v.IsZero() || !s.FieldByName(argument).IsZero()
	case "required_if": // IsRolling false
		field, value, _ := strings.Cut(argument, " ")
		return fmt.Sprint(s.FieldByName(field)) != value || !v.IsZero()
	case "oneof":
		return slices.Contains(strings.Fields(argument), v.String())
	case "len":
		return float64(v.Len()) == number()
	case "min":
		return float64(v.Len()) >= number()
	case "max":
		return float64(v.Len()) <= number()
	case "gte":
		return v.Float() >= number()
	case "lte":
		return v.Float() <= number()
	case "lt":
		return v.Float() < number()
	case "validDuration":
		return strings.ContainsAny(v.String()[v.Len()-1:], "smhdwMQY")
	case "dateWithTime":
		_, err := time.Parse("2006-01-02T15:04:05Z", v.String())
		return err == nil
	case "timeZone":
		_, err := time.LoadLocation(v.String())
		return err == nil
	default:
		panic("a rule that is new: " + rule)
	}
}

// TestWrite shows one document in full, and everything that is said to be lost.
func TestWrite(t *testing.T) {
	data, lost, err := openslo.Write(load(t, `service: shop
flows:
  checkout:
    match: POST /api/checkout
    by: tenant.id
    where: [service.version]
    owner: team-shop
    runbook: https://wiki.example/checkout
    alerts: {tiers: off, outage: true}
    slos: [{faster_than: 300ms, for: 95%, window: month, timezone: Europe/Zurich}]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-latency-300ms
spec:
  service: shop
  indicator:
    metadata:
      name: checkout-latency-300ms
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource:
            type: Prometheus
            spec:
              query: slo_errors_total{sloth_id="shop-checkout-latency-300ms"}
        total:
          metricSource:
            type: Prometheus
            spec:
              query: slo_events_total{sloth_id="shop-checkout-latency-300ms"}
  timeWindow:
    - duration: 1M
      isRolling: false
      calendar:
        startTime: 2024-01-01 00:00:00
        timeZone: Europe/Zurich
  budgetingMethod: Occurrences
  objectives:
    - displayName: 95% under 300ms
      target: 0.95
`
	if string(data) != want {
		t.Errorf("Write =\n%s\nwant\n%s", data, want)
	}
	wantLost := []string{
		`shop-checkout-latency-300ms: match: and bad_when: are left out: the queries read the counters that slowburn writes`,
		`shop-checkout-latency-300ms: left out: by:, where:, owner:, runbook:`,
		`shop-checkout-latency-300ms: its alerts are left out: OpenSLO has none over two windows`,
	}
	if !slices.Equal(lost, wantLost) {
		t.Errorf("lost\n%s\nwant\n%s", strings.Join(lost, "\n"), strings.Join(wantLost, "\n"))
	}
}

// TestWriteRaw shows a ratio, which the official types do not know, and what is
// hard to write: it reads back.
func TestWriteRaw(t *testing.T) {
	flows := load(t, `service: Shop_1
flows:
  upstream:
    description: "tab\tand: colon # and hash"
    slos: [{promql: {ratio: "1 - avg_over_time(\n  up{a=\"\\t\"}[$window])"}, target: 99%, window: 1d10s}]
    alerts: off
`)
	data, lost, err := openslo.Write(flows)
	if err != nil {
		t.Fatal(err)
	}
	got := load(t, string(data))
	if got[0].Description != flows[0].Description || got[0].Objectives[0].Query != flows[0].Objectives[0].Query ||
		got[0].Objectives[0].Window != flows[0].Objectives[0].Window {
		t.Errorf("%+v, want %+v\n%s", got, flows, data)
	}
	wantLost := []string{
		`Shop_1-upstream-promql: not every tool takes the name "Shop_1": OpenSLO promises up to 63 lower-case letters, digits and -`,
		`Shop_1-upstream-promql: its window of 1d10s needs seconds, which the specification lacks`,
		`Shop_1-upstream-promql: $window in its queries is slowburn's: other tools want their own range there`,
		`Shop_1-upstream-promql: its ratio is written as raw:, which the specification has and the official Go types lack`,
		`Shop_1-upstream-promql: that it never alerts is left out`,
	}
	if !slices.Equal(lost, wantLost) {
		t.Errorf("lost\n%s\nwant\n%s", strings.Join(lost, "\n"), strings.Join(wantLost, "\n"))
	}
}
