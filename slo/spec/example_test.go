package spec_test

import (
	"fmt"
	"os"
	"testing/fstest"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

func ExampleParse() {
	config, err := spec.Parse("slos.yaml", []byte(`
service: shop
slack: "#shop"
flows:
  checkout:
    match: POST /api/checkout
    slos:
      - 99.9% succeed
      - 95% under 300ms
`))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for _, s := range slo.All(config.Flows) {
		fmt.Printf("%s: %s\n", s.ID(), s.Objective.Words())
	}
	// Output:
	// shop-checkout-availability: 99.9% succeed over 30d
	// shop-checkout-latency-300ms: 95% under 300ms over 30d
}

// Everything that is wrong in all files is told at once.
func ExampleLoad() {
	files := fstest.MapFS{
		"slos/pay.yaml": {Data: []byte(`
service: pay
flows:
  refund: {match: post /refund, slos: [0.999 succeed]}
`)},
		"slos/shop.yaml": {Data: []byte(`
service: shop
slack: #shop
flows:
  checkout:
    mtach: /checkout
    slos: [95% under 300]
`)},
	}
	_, err := spec.Load(files, "slos")
	fmt.Println(err)
	// Output:
	// slos/pay.yaml:4:19: flows.refund.match: "post" is not in upper case, as methods are; want POST
	// slos/pay.yaml:4:40: flows.refund.slos[0]: 0.999 has no unit; want a percentage such as 99.9%
	// slos/shop.yaml:3:1: slack: is empty; "#" starts a comment in YAML, so quote it: slack: "#shop"
	// slos/shop.yaml:6:5: flows.checkout.mtach: unknown key; want match
	// slos/shop.yaml:7:12: flows.checkout.slos[0]: "300" has no unit; want a duration such as 300ms or 30d
}
