//go:build e2e

package web

import "testing"

// TestE2EChromiumPages looks at all pages besides those of flows in all sizes
// and both colour schemes.
func TestE2EChromiumPages(t *testing.T) {
	b := newBrowser(t)
	site := newSite(t, busyNight(t))
	everySize(t, b, site, "setup", "/setup")
	everySize(t, b, site, "config", "/config")
	everySize(t, b, site, "silence", "/alerts/silence?service=shop&flow=checkout&slo=shop-checkout-availability")
	everySize(t, b, site, "make a flow", "/setup/flow?service=shop&kind=server&method=POST&route=%2Fapi%2Frefund")
}
