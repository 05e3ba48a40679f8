//go:build e2e

package web

import (
	"net/http"
	"testing"
)

// TestE2EChromiumPages looks at all pages in all sizes and both colour schemes,
// and has axe look at each of them.
func TestE2EChromiumPages(t *testing.T) {
	b := newBrowser(t)
	nightSite, site := newSite(t, night(t)), newSite(t, busyNight(t))
	for _, tc := range []struct {
		name, path string
		h          http.Handler
	}{
		{"flows", "/", nightSite},
		{"flow", "/flows/shop/checkout?range=6h", nightSite},
		{"alerts", "/alerts", site},
		{"setup", "/setup", site},
		{"config", "/config", site},
		{"silence", "/alerts/silence?service=shop&flow=checkout&slo=shop-checkout-availability", site},
		{"make a flow", "/setup/flow?service=shop&kind=server&method=POST&route=%2Fapi%2Frefund", site},
	} {
		everySize(t, b, tc.h, tc.name, tc.path, true)
	}
}
