package spec

import (
	"strings"
	"testing"
)

// checkout wraps the lines of a flow into a file whose flow starts on line 3;
// the lines begin on line 4, column 5.
func checkout(lines ...string) string {
	return "service: shop\nflows:\n  checkout:\n    " + strings.Join(lines, "\n    ") + "\n"
}

// promise wraps an objective into a file; it stands on line 5, column 14.
func promise(objective string) string {
	return checkout("match: /x", "slos: [    "+objective+"]")
}

// TestBroken holds every message people may meet against its exact words.
func TestBroken(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		want []string // without the name of the file, which is f.yaml
	}{
		// The file.
		{"empty", "", []string{`1:1: no flows; want a map with service: and flows:`}},
		{"only a comment", "# later\n", []string{`1:1: no flows; want a map with service: and flows:`}},
		{"only defaults", "service: shop\n", []string{`1:1: flows: is missing; want a map of at least one flow`}},
		{"flows null", "service: shop\nflows:\n", []string{`2:1: flows: is empty; want a map of at least one flow`}},
		{"flows empty", "service: shop\nflows: {}\n", []string{`2:8: flows: is an empty map; want a map of at least one flow`}},
		{"flows a list", "service: shop\nflows: [checkout]\n", []string{`2:8: flows: is a list; want a map of at least one flow`}},
		{"a text", "flows\n", []string{`1:1: file: is the text "flows"; want a map with service: and flows:`}},
		{"a list", "- flows\n", []string{`1:1: file: is a list; want a map with service: and flows:`}},
		{"not UTF-8", "service: sh\xf6p\n", []string{`1:12: byte 0xf6 is not UTF-8; want text in UTF-8`}},
		{"control character", "service: sh\x00p\n", []string{`1:12: control character 0x00; want text`}},
		{"tabs", "service: shop\nflows:\n\tcheckout:\n\t\tmatch: /x\n", []string{`3:1: a tab; want spaces`, `4:1: a tab; want spaces`}},
		{"two documents", "service: shop\n---\nservice: shop\n", []string{`2:1: a second document; want one document in each file`}},
		{"a document after the end", "service: shop\n...\nflows: {}\n", []string{`3:1: a second document; want one document in each file`}},

		// What YAML has and the language has not.
		{"anchor", "service: &s shop\nflows: {}\n", []string{`1:10: an anchor (&), which is not supported; want the value itself, or quotes around a text that begins with &`}},
		{"alias for a glob", checkout("match: {http.route: */x}", "slos: [99% succeed]"), []string{`4:25: an alias (*), which is not supported; want the value itself, or quotes around a text that begins with *`}},
		{"tag", "service: !!str shop\nflows: {}\n", []string{`1:10: a tag (!), which is not supported; want the value without it, or quotes around a text that begins with !`}},
		{"directive", "%YAML 1.2\n---\nservice: shop\n", []string{
			`1:1: a directive (%), which is not supported; want the file without it, or quotes around a text that begins with %`,
			`2:1: a second document; want one document in each file`,
		}},
		{"merge key", "service: shop\n<<: {}\n", []string{`2:1: a merge key (<<), which is not supported; want the keys themselves`}},
		{"complex key", "? service\n: shop\n", []string{`1:1: a complex key (?), which is not supported; want key: value, or quotes around a text that begins with ?`}},

		// Mistakes in YAML.
		{"unclosed quote", "service: \"shop\nflows: {}\n", []string{`1:10: a quote that is not closed; want the closing quote`}},
		{"unclosed map", "service: shop\nflows: {checkout: {match: /x\n", []string{`2:19: a "{" that is not closed; want the closing "}"`}},
		{"unclosed list", checkout("match: /x", "slos: [99% succeed"), []string{`5:11: a "[" that is not closed; want the closing "]"`}},
		{"list closed as a map", checkout("match: /x", "slos: [99% succeed}"), []string{`5:11: a "[" that is not closed; want the closing "]"`}},
		{"second colon", checkout("match: /x", "description: note: later"), []string{`5:18: a second ":" in one line; want quotes around a text that holds one`}},
		{"unquoted @", "slack: @anna\n", []string{`1:8: a text cannot begin with @ or ` + "`" + ` in YAML; want quotes around it`}},
		{"unquoted >=", checkout("match: {code: x}", "bad_when:", "  http.response.status_code: >=500"), []string{`6:34: a text cannot begin with > or | in YAML; want quotes around it, as in ">=500"`}},
		{"wrong indentation", "service: shop\nflows:\n    a: {}\n  b: {}\n", []string{`4:3: a value where none can be; want key: value, indented like its neighbours`}},
		{"no colon", checkout("match: /x", "slos [99% succeed]"), []string{`5:5: a text where a key should be; want key: value`}},
		{"unquoted braces", "defaults: {runbook: https://wiki.example/{flow}}\n", []string{`1:42: brackets that do not go on here; want "," or the closing bracket, or quotes around a text that holds brackets`}},
		{"closing bracket alone", "service: ]\n", []string{`1:10: is not YAML: could not find '[' character corresponding to ']'; want valid YAML`}},

		// Unquoted channels.
		{"unquoted # of slack", "service: shop\nslack: #shop  our channel\nflows: {}\n", []string{
			`2:1: slack: is empty; "#" starts a comment in YAML, so quote it: slack: "#shop"`,
			`3:8: flows: is an empty map; want a map of at least one flow`,
		}},
		{"unquoted # in alerts", checkout("match: /x", "slos: [99% succeed]", "alerts:", "  page: #oncall"), []string{
			`7:7: flows.checkout.alerts.page: is empty; "#" starts a comment in YAML, so quote it: page: "#oncall"`,
		}},
		{"unquoted # in braces", checkout("match: /x", "slos: [99% succeed]", `alerts: {page: #oncall, ticket: "#shop"}`), []string{
			`6:18: an empty value; "#" starts a comment in YAML, so quote it: "#oncall"`,
		}},
		{"slack null", "service: shop\nslack: # none\nflows: {}\n", []string{
			`2:1: slack: is empty; want "#channel", "@person" or an ID such as C024BE91L`,
			`3:8: flows: is an empty map; want a map of at least one flow`,
		}},
		{"slack without #", checkout("match: /x", "slos: [99% succeed]", "slack: shop"), []string{
			`6:12: flows.checkout.slack: "shop" is not a Slack channel; want "#channel", "@person" or an ID such as C024BE91L`,
		}},
		{"slack twice", "slack: \"#a\"\ndefaults: {slack: \"#b\"}\nservice: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\n", []string{
			`2:19: defaults.slack: the file has slack: as well; want it once`,
		}},

		// Keys.
		{"unknown key", "service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\nteam: x\n", []string{`3:1: team: unknown key; want one of service, slack, defaults, flows`}},
		{"misspelled key", checkout("mtach: /x", "slos: [99% succeed]"), []string{`4:5: flows.checkout.mtach: unknown key; want match`}},
		{"misspelled service", "Service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\n", []string{`1:1: Service: unknown key; want service`}},
		{"misspelled target", promise("{faster_than: 1s, fro: 95%}"), []string{
			`5:16: flows.checkout.slos[0].for: is missing; want the share of requests, such as 95%`,
			`5:34: flows.checkout.slos[0].fro: unknown key; want one of succeed, faster_than, for, window, min_events, name, alerts`,
		}},
		{"duplicate key", checkout("match: /x", "match: /y", "slos: [99% succeed]"), []string{`5:5: flows.checkout.match: is here and on line 4; want it once`}},
		{"duplicate flow", "service: shop\nflows:\n  a: {match: /x, slos: [9% succeed]}\n  a: {match: /y, slos: [9% succeed]}\n", []string{`4:3: flows.a: is here and on line 3; want it once`}},
		{"key with a line break", "service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\n\"a\\nb\": x\n", []string{`3:1: "a\nb": unknown key; want one of service, slack, defaults, flows`}},

		// Flows.
		{"flow null", "service: shop\nflows:\n  checkout:\n", []string{`3:3: flows.checkout: is empty; want a map with match: and slos:`}},
		{"nothing in it", "flows:\n  checkout: {owner: me}\n", []string{
			`2:3: flows.checkout.service: is missing; want it in the flow or at the top of the file`,
			`2:3: flows.checkout.match: is missing; want one such as POST /api/checkout`,
			`2:3: flows.checkout.slos: is missing; want a list of at least one, such as [99.9% succeed]`,
		}},
		{"name in capitals", "service: shop\nflows:\n  Checkout: {match: /x, slos: [9% succeed]}\n", []string{`3:3: flows.Checkout: the flow's name is not a slug; want 1 to 64 of a-z, 0-9, - and _, such as checkout`}},
		{"service a glob", "service: shop-*\nflows: {a: {match: /x, slos: [9% succeed]}}\n", []string{`1:10: service: "shop-*" is a pattern; want the service.name of its spans, such as shop`}},
		{"service over two lines", "service: \"shop\\nb\"\nflows: {a: {match: /x, slos: [9% succeed]}}\n", []string{`1:10: service: "shop\nb" holds a line break or another control character; want the service.name of its spans, such as shop`}},
		{"runbook no URL", checkout("match: /x", "slos: [9% succeed]", "runbook: wiki/checkout"), []string{`6:14: flows.checkout.runbook: "wiki/checkout" is not an http or https URL; want one such as https://wiki.example/{flow}`}},
		{"runbook placeholder", checkout("match: /x", "slos: [9% succeed]", "runbook: https://wiki/{team}"), []string{`6:14: flows.checkout.runbook: unknown placeholder "{team}"; want {flow} or {service}`}},
		{"label name", checkout("match: /x", "slos: [9% succeed]", "labels: {cost-center: 5}"), []string{`6:14: flows.checkout.labels.cost-center: is not a label name; want letters, digits and _, such as team`}},
		{"label of ours", checkout("match: /x", "slos: [9% succeed]", "labels: {severity: page}"), []string{`6:14: flows.checkout.labels.severity: this label is set by slowburn; want another name`}},
		{"label without a value", checkout("match: /x", "slos: [9% succeed]", "labels: {team: }"), []string{`6:14: flows.checkout.labels.team: is empty; want a text`}},
		{"by a list", checkout("match: /x", "slos: [9% succeed]", "by: [tenant.id]"), []string{`6:9: flows.checkout.by: is a list; want an attribute such as tenant.id, or {attribute: tenant.id, limit: 50}`}},
		{"by without a bound", checkout("match: /x", "slos: [9% succeed]", "by: {attribute: tenant.id, limit: 0}"), []string{`6:39: flows.checkout.by.limit: is 0; want a whole number from 1 to 10000`}},
		{"exclude", "service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\nexclude: []\n", []string{`3:1: exclude: is not supported yet; want a silence for the maintenance; its errors count until excludes are supported`}},

		// Match.
		{"match null", checkout("match:", "slos: [99% succeed]"), []string{`4:5: flows.checkout.match: is empty; want one such as POST /api/checkout, or a map of attributes`}},
		{"match without a route", checkout("match: checkout", "slos: [99% succeed]"), []string{`4:12: flows.checkout.match: "checkout" is not a method and a route; want one such as POST /api/checkout, or a map of attributes`}},
		{"method in lower case", checkout("match: post /x", "slos: [99% succeed]"), []string{`4:12: flows.checkout.match: "post" is not in upper case, as methods are; want POST`}},
		{"method in lower case, long", checkout("match: {http.method: [GET, post]}", "slos: [99% succeed]"), []string{`4:32: flows.checkout.match.http.method[1]: "post" is not in upper case, as methods are; want POST`}},
		{"no such method", checkout("match: PSOT /x", "slos: [99% succeed]"), []string{`4:12: flows.checkout.match: "PSOT" is not an HTTP method; want one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH, QUERY, _OTHER`}},
		{"service in match", checkout("match: {service.name: shop}", "slos: [99% succeed]"), []string{`4:13: flows.checkout.match.service.name: the service is not part of a match; want service: in the flow or at the top of the file`}},
		{"old and new name", checkout("match: {http.method: GET, http.request.method: GET}", "slos: [99% succeed]"), []string{`4:31: flows.checkout.match.http.request.method: is http.request.method, which is on line 4 already; want it once`}},
		{"no such kind", checkout("match: {kind: SERVER}", "slos: [99% succeed]"), []string{`4:19: flows.checkout.match.kind: "SERVER" fits no kind; want one of server, consumer, client, producer, internal`}},
		{"5xx", checkout("match: /x", "bad_when: {http.status_code: 5xx}", "slos: [99% succeed]"), []string{`5:34: flows.checkout.bad_when.http.status_code: "5xx" fits no http.response.status_code; want a status code such as 503, "5*" or ">=500"`}},
		{"comparison with a word", checkout("match: {queue: \">many\"}", "slos: [99% succeed]"), []string{`4:20: flows.checkout.match.queue: ">many" compares with "many"; want a number after >`}},
		{"hexadecimal", checkout("match: {queue: 0x10}", "slos: [99% succeed]"), []string{`4:20: flows.checkout.match.queue: 0x10 is not a plain decimal number; want one, or quotes to compare it as text`}},
		{"list in a list", checkout("match: {queue: [[a]]}", "slos: [99% succeed]"), []string{`4:21: flows.checkout.match.queue[0]: is a list; want a value, a list of values, or {not: value}`}},
		{"not misspelled", checkout("match: {queue: {nor: a}}", "slos: [99% succeed]"), []string{`4:21: flows.checkout.match.queue.nor: unknown key; want not`}},
		{"bad_when a text", checkout("match: /x", "bad_when: status error", "slos: [99% succeed]"), []string{`5:15: flows.checkout.bad_when: is the text "status error"; want a map such as {http.response.status_code: ">=500"}`}},

		// Objectives.
		{"slos a text", checkout("match: /x", "slos: 99.9% succeed"), []string{`5:11: flows.checkout.slos: is the text "99.9% succeed"; want a list of at least one, such as [99.9% succeed]`}},
		{"slos empty", checkout("match: /x", "slos: []"), []string{`5:11: flows.checkout.slos: is an empty list; want a list of at least one, such as [99.9% succeed]`}},
		{"slo null", checkout("match: /x", "slos:", "  -", "  - 99% succeed"), []string{`6:8: flows.checkout.slos[0]: is empty; want 99.9% succeed, 95% under 300ms or p95 < 300ms`}},
		{"no sentence", promise("99.9% available"), []string{`5:16: flows.checkout.slos[0]: "99.9% available" is not a sentence; want 99.9% succeed, 95% under 300ms or p95 < 300ms`}},
		{"a ratio", promise("0.999 succeed"), []string{`5:16: flows.checkout.slos[0]: 0.999 has no unit; want a percentage such as 99.9%`}},
		{"a ratio, long", promise("{succeed: 0.9995}"), []string{`5:26: flows.checkout.slos[0].succeed: 0.9995 has no unit; want a percentage such as 99.95%`}},
		{"without %", promise("99.5 succeed"), []string{`5:16: flows.checkout.slos[0]: 99.5 has no unit; want a percentage such as 99.5%`}},
		{"decimal comma", promise("'99,9% succeed'"), []string{`5:16: flows.checkout.slos[0]: "99,9%" is not a percentage; want one such as 99.9%`}},
		{"100%", promise("100% succeed"), []string{`5:16: flows.checkout.slos[0]: 100% leaves no error budget; want less than 100%`}},
		{"p100", promise("p100 < 1s"), []string{`5:16: flows.checkout.slos[0]: 100% leaves no error budget; want less than 100%`}},
		{"110%", promise("110% succeed"), []string{`5:16: flows.checkout.slos[0]: 110% is more than all events; want less than 100%`}},
		{"0%", promise("{succeed: 0%}"), []string{`5:26: flows.checkout.slos[0].succeed: 0% promises nothing; want more than 0%`}},
		{"too many nines", promise("99.99999999999% succeed"), []string{`5:16: flows.checkout.slos[0]: 99.99999999999% is finer than one event in a billion; want 0.0000001% to 99.9999999%`}},
		{"threshold without unit", promise("95% under 300"), []string{`5:16: flows.checkout.slos[0]: "300" has no unit; want a duration such as 300ms or 30d`}},
		{"threshold unit", promise("95% under 2 sec"), []string{`5:16: flows.checkout.slos[0]: "2sec" has the unknown unit "sec"; want ms, s, m, h, d or w`}},
		{"threshold zero", promise("95% under 0ms"), []string{`5:16: flows.checkout.slos[0]: "0ms" is no time at all; want more than 0`}},
		{"threshold no number", promise("95% under a second"), []string{`5:16: flows.checkout.slos[0]: "asecond" is not a duration; want one such as 300ms or 30d`}},
		{"threshold of centuries", promise("95% under 300000d"), []string{`5:16: flows.checkout.slos[0]: "300000d" is longer than 292 years; want less`}},
		{"faster_than alone", promise("{faster_than: 300ms}"), []string{`5:16: flows.checkout.slos[0].for: is missing; want the share of requests, such as 95%`}},
		{"for alone", promise("{for: 95%}"), []string{`5:16: flows.checkout.slos[0]: promises nothing; want succeed: 99.9%, or faster_than: 300ms with for: 95%`}},
		{"succeed with for", promise("{succeed: 99%, for: 95%}"), []string{`5:36: flows.checkout.slos[0].for: goes with faster_than:, not with succeed:; want succeed: alone`}},
		{"two in one", promise("{succeed: 99%, faster_than: 1s, for: 95%}"), []string{`5:16: flows.checkout.slos[0]: has both succeed: and faster_than:; want an objective for each`}},
		{"name no slug", promise("{succeed: 99%, name: Main One}"), []string{`5:37: flows.checkout.slos[0].name: "Main One" is not a slug; want 1 to 64 of a-z, 0-9, - and _, such as checkout`}},
		{"twice the same", checkout("match: /x", "slos:", "- 95% under 300ms", "- p95 < 300ms"), []string{`7:7: flows.checkout.slos[1]: promises the same as line 6; want it once`}},
		{"two of a name", checkout("match: /x", "slos:", "- 99% succeed", "- {succeed: 99%, window: 7d}"), []string{`7:7: flows.checkout.slos[1]: has the name "availability", as has the objective on line 6; want a name: of its own, such as {succeed: 99%, window: 7d, name: availability-7d}`}},
		{"min_events", promise("{succeed: 99%, min_events: many}"), []string{`5:43: flows.checkout.slos[0].min_events: is the text "many"; want a whole number from 1 to 1000000`}},

		// Windows.
		{"window too short", promise("{succeed: 99%, window: 30m}"), []string{`5:39: flows.checkout.slos[0].window: 30m is shorter than the window of the fastest alert; want at least 1h`}},
		{"window too long", promise("{succeed: 99%, window: 500d}"), []string{`5:39: flows.checkout.slos[0].window: 500d is more than a year and a month; want at most 400d`}},
		{"window not in minutes", promise("{succeed: 99%, window: 3601s}"), []string{`5:39: flows.checkout.slos[0].window: 1h1s is not a multiple of 10s; want one such as 30s, 5m or 30d`}},
		{"calendar window", promise("{succeed: 99%, window: month, timezone: Europe/Zurich}"), []string{
			`5:39: flows.checkout.slos[0].window: calendar windows such as month are not supported yet; want a rolling window such as 30d`,
			`5:46: flows.checkout.slos[0].timezone: is not supported yet; want a rolling window such as window: 30d`,
		}},

		// What is still to come.
		{"promql", promise("{promql: {bad: a, total: b}, target: 99%}"), []string{
			`5:17: flows.checkout.slos[0].promql: is not supported yet; want succeed: or faster_than:, counted from traces`,
			`5:45: flows.checkout.slos[0].target: is not supported yet; want it as succeed: 99.9%, or as for: 95% with faster_than:`,
		}},
		{"fresh", promise("fresh every 26h"), []string{`5:16: flows.checkout.slos[0]: "fresh every 26h" is not supported yet; want succeed: on the flow of the job's own spans`}},
		{"channel of an objective", promise("{succeed: 99%, alerts: {page: '#x'}}"), []string{`5:40: flows.checkout.slos[0].alerts.page: is not supported yet; want it in alerts: of the flow`}},

		// Tiers.
		{"no tiers", promise("{succeed: 99%, alerts: {tiers: []}}"), []string{`5:47: flows.checkout.slos[0].alerts.tiers: is an empty list; want a list of tiers such as {severity: page, burn_rate: 14.4, long: 1h, short: 5m}`}},
		{"severity", promise("{succeed: 99%, alerts: {tiers: [{severity: warn, burn_rate: 2, long: 1h, short: 5m}]}}"), []string{`5:59: flows.checkout.slos[0].alerts.tiers[0].severity: "warn" is not a severity; want page or ticket`}},
		{"burn rate zero", promise("{succeed: 99%, alerts: {tiers: [{severity: page, burn_rate: 0, long: 1h, short: 5m}]}}"), []string{`5:76: flows.checkout.slos[0].alerts.tiers[0].burn_rate: is 0; want a number above 0 such as 14.4`}},
		{"burn rate out of reach", promise("{succeed: 93%, alerts: {tiers: [{severity: page, burn_rate: 14.4, long: 1h, short: 5m}]}}"), []string{`5:76: flows.checkout.slos[0].alerts.tiers[0].burn_rate: 14.4 can never be reached: with every event bad, 93% burns at 14.2857; want less than 14.2857`}},
		{"short not shorter", promise("{succeed: 99%, alerts: {tiers: [{severity: page, burn_rate: 2, long: 1h, short: 1h}]}}"), []string{`5:96: flows.checkout.slos[0].alerts.tiers[0].short: 1h is not shorter than long: 1h; want less than 1h`}},
		{"long beyond the window", promise("{succeed: 99%, window: 1d, alerts: {tiers: [{severity: page, burn_rate: 2, long: 3d, short: 5m}]}}"), []string{`5:97: flows.checkout.slos[0].alerts.tiers[0].long: 3d is longer than the window of 1d; want at most 1d`}},
		{"tier without windows", promise("{succeed: 99%, alerts: {tiers: [{severity: page, burn_rate: 2}]}}"), []string{
			`5:48: flows.checkout.slos[0].alerts.tiers[0].long: is missing; want a list of tiers such as {severity: page, burn_rate: 14.4, long: 1h, short: 5m}`,
			`5:48: flows.checkout.slos[0].alerts.tiers[0].short: is missing; want a list of tiers such as {severity: page, burn_rate: 14.4, long: 1h, short: 5m}`,
		}},
		{
			"a default that suits nobody is told once",
			"service: shop\ndefaults: {alerts: {tiers: [{severity: page, burn_rate: 99, long: 1h, short: 5m}]}}\n" +
				"flows:\n  a: {match: /a, slos: [95% succeed]}\n  b: {match: /b, slos: [95% succeed]}\n",
			[]string{`2:57: defaults.alerts.tiers[0].burn_rate: 99 can never be reached: with every event bad, 95% burns at 20; want less than 20`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			flows, err := Parse("f.yaml", []byte(tc.in))
			if err == nil {
				t.Fatalf("Parse accepts %d flows, want faults\n%s", len(flows), tc.in)
			}
			var want strings.Builder
			for _, line := range tc.want {
				want.WriteString("f.yaml:" + line + "\n")
			}
			if got := err.Error() + "\n"; got != want.String() {
				t.Errorf("Parse reports\n%swant\n%s", got, want.String())
			}
			if flows != nil {
				t.Errorf("Parse returns %d flows beside an error", len(flows))
			}
		})
	}
}
