package alertmanager

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// TestFlowIsOneGroup: objectives of one flow that burn together are told
// together; another flow, even of that name in another service, is not.
func TestFlowIsOneGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		_, i, _ := run(t, t.TempDir(), p, checkout)
		i.burn("latency", slo.Page, "shop", "checkout", true)
		time.Sleep(3 * time.Second)
		i.burn("availability", slo.Page, "shop", "checkout", true)
		i.burn("availability", slo.Page, "bank", "checkout", true)
		time.Sleep(time.Minute)
		i.burn("latency", slo.Page, "shop", "checkout", false)
		time.Sleep(time.Minute)
		i.burn("availability", slo.Page, "shop", "checkout", false)
		time.Sleep(time.Minute)
		p.expect(t,
			"0s #oncall: checkout page firing",
			"3s : checkout page firing",
			"10s #oncall: checkout page firing, checkout page firing",
			"1m10s #oncall: checkout page firing, checkout page resolved",
			"2m10s #oncall: checkout page resolved",
		)
	})
}

// TestFlowInhibits: the page of one objective says what tickets of the flow
// would: those of its other objectives and of its traffic. Alerts that are not
// slowburn's hold nothing back.
func TestFlowInhibits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		_, i, _ := run(t, t.TempDir(), p, checkout)
		i.burn("availability", slo.Page, "shop", "checkout", true)
		i.burn("latency", slo.Ticket, "shop", "checkout", true)
		i.burn("", slo.Ticket, "shop", "checkout", true) // traffic is missing
		i.burn("disk", slo.Page, "", "", true)
		i.burn("memory", slo.Ticket, "", "", true)
		time.Sleep(5 * time.Minute)
		heard := p.soFar()
		for n, line := range heard { // two pages at once come in any order
			heard[n] = strings.ReplaceAll(line, ":  ", ": other ")
		}
		joined := strings.Join(heard, "\n")
		if len(heard) != 3 || strings.Contains(joined, "checkout ticket") || !strings.Contains(joined, "30s : other ticket firing") {
			t.Errorf("heard\n%s\nwant two pages and the other's ticket", joined)
		}
		i.burn("availability", slo.Page, "shop", "checkout", false)
		time.Sleep(2 * time.Minute)
		heard = p.soFar()
		if last := heard[len(heard)-1]; !strings.HasSuffix(last, "#shop: checkout ticket firing, checkout ticket firing") {
			t.Errorf("heard %q last, want both tickets after the page", last)
		}
	})
}

// burn reports an alert of one objective.
func (i *incident) burn(objective string, severity slo.Severity, service, flow string, firing bool) {
	i.text = nil
	for _, pair := range [][2]string{{series.ID, ""}, {series.SLOServ, service}, {series.SLOFlow, flow}, {labels.AlertName, objective}} {
		i.text = append(i.text, pair[0], pair[1])
	}
	if flow != "" && objective != "" {
		i.text[1] = service + "-" + flow + "-" + objective
	}
	i.set(service+flow+objective, severity, firing)
}
