package match

import (
	"fmt"
	"testing"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/slo"
	"google.golang.org/protobuf/proto"
)

func TestOrigin(t *testing.T) {
	for _, tc := range []struct {
		name     string
		resource []string
		want     string
	}{
		{
			name:     "all of it",
			resource: []string{"service.name=shop", "service.version=1.42.0", "telemetry.sdk.language=nodejs", "telemetry.sdk.name=opentelemetry", "telemetry.sdk.version=2.1.0"},
			want:     "shop 1.42.0 nodejs opentelemetry 2.1.0 by POST",
		},
		{name: "a version that is no text", resource: []string{"service.name=shop", "service.version#=7"}, want: "shop     by POST"},
		{name: "nothing", want: "     by POST"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := Compile(nil)
			if err != nil {
				t.Fatal(err)
			}
			// The span's own attribute is not its resource's.
			b, err := proto.Marshal(of(attrs(tc.resource...), entry("x", "service.version=9", "http.method=POST")))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			m := p.Matcher()
			_, err = span.New(p.Keys(), span.Limits{}).Decode(b, func(sp *span.Span) {
				o := m.Origin(sp)
				got = fmt.Sprintf("%s %s %s %s %s by %s", o.Service, o.Version, o.Language, o.SDK, o.SDKVersion, m.Method(sp))
			})
			if err != nil || got != tc.want {
				t.Errorf("origin is %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	p, err := Compile([]slo.Flow{{Name: "a", Service: "shop"}, {Name: "b", Service: "till-*"}})
	if err != nil {
		t.Fatal(err)
	}
	for service, want := range map[string]bool{"shop": true, "till-7": true, "till": false, "shopping": false, "": false} {
		if got := p.Names(service); got != want {
			t.Errorf("Names(%q) = %t, want %t", service, got, want)
		}
	}
}
