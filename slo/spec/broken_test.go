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

// excluding wraps excludes into a file of two flows; they begin on line 4.
func excluding(excludes ...string) string {
	return "service: shop\nflows: {checkout: {match: /x, slos: [9% succeed]}, search: {match: /y, slos: [9% succeed]}}\nexclude:\n" +
		strings.Join(excludes, "\n") + "\n"
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
		{"two documents", "service: shop\n---\nservice: shop\n", []string{`3:1: a second document; want one document in each file`}},
		{"a document after the end", "service: shop\n...\nflows: {}\n", []string{`3:1: a second document; want one document in each file`}},

		// What YAML has and the language has not.
		{"anchor", "service: &s shop\nflows: {}\n", []string{`1:10: an anchor (&), which is not supported; want the value itself, or quotes around a text that begins with &`}},
		{"alias for a glob", checkout("match: {http.route: */x}", "slos: [99% succeed]"), []string{`4:25: an alias (*), which is not supported; want the value itself, or quotes around a text that begins with *`}},
		{"tag", "service: !!str shop\nflows: {}\n", []string{`1:10: a tag (!), which is not supported; want the value without it, or quotes around a text that begins with !`}},
		{"directive", "%YAML 1.2\n---\nservice: shop\n", []string{
			`1:1: a directive (%), which is not supported; want the file without it, or quotes around a text that begins with %`,
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
		{"unknown key", "service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\nteam: x\n", []string{`3:1: team: unknown key; want one of service, slack, defaults, flows, exclude`}},
		{"misspelled key", checkout("mtach: /x", "slos: [99% succeed]"), []string{`4:5: flows.checkout.mtach: unknown key; want match`}},
		{"misspelled service", "Service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\n", []string{`1:1: Service: unknown key; want service`}},
		{"misspelled target", promise("{faster_than: 1s, fro: 95%}"), []string{
			`5:16: flows.checkout.slos[0].for: is missing; want the share of requests, such as 95%`,
			`5:34: flows.checkout.slos[0].fro: unknown key; want one of succeed, faster_than, for, fresh, promql, target, time_slice, window, timezone, min_events, name, id, alerts`,
		}},
		{"duplicate key", checkout("match: /x", "match: /y", "slos: [99% succeed]"), []string{`5:5: flows.checkout.match: is here and on line 4; want it once`}},
		{"duplicate flow", "service: shop\nflows:\n  a: {match: /x, slos: [9% succeed]}\n  a: {match: /y, slos: [9% succeed]}\n", []string{`4:3: flows.a: is here and on line 3; want it once`}},
		{"key with a line break", "service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\n\"a\\nb\": x\n", []string{`3:1: "a\nb": unknown key; want one of service, slack, defaults, flows, exclude`}},

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
		{"label of ours", checkout("match: /x", "slos: [9% succeed]", "labels: {sloth_severity: page}"), []string{`6:14: flows.checkout.labels.sloth_severity: this label is set by slowburn; want another name`}},
		{"label without a value", checkout("match: /x", "slos: [9% succeed]", "labels: {team: }"), []string{`6:14: flows.checkout.labels.team: is empty; want a text`}},
		{"by a list", checkout("match: /x", "slos: [9% succeed]", "by: [tenant.id]"), []string{`6:9: flows.checkout.by: is a list; want an attribute such as tenant.id, or {attribute: tenant.id, limit: 50}`}},
		{"by without a bound", checkout("match: /x", "slos: [9% succeed]", "by: {attribute: tenant.id, limit: 0}"), []string{`6:39: flows.checkout.by.limit: is 0; want a whole number from 1 to 10000`}},

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
		{"slo null", checkout("match: /x", "slos:", "  -", "  - 99% succeed"), []string{`6:8: flows.checkout.slos[0]: is empty; want 99.9% succeed, 95% under 300ms, p95 < 300ms, fresh every 26h or 99.5% of minutes with 95% under 300ms`}},
		{"no sentence", promise("99.9% available"), []string{`5:16: flows.checkout.slos[0]: "99.9% available" is not a sentence; want 99.9% succeed, 95% under 300ms, p95 < 300ms, fresh every 26h or 99.5% of minutes with 95% under 300ms`}},
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
		{"threshold unit", promise("95% under 2 sec"), []string{`5:16: flows.checkout.slos[0]: "2 sec" has the unknown unit "sec"; want ms, s, m, h, d or w`}},
		{"threshold zero", promise("95% under 0ms"), []string{`5:16: flows.checkout.slos[0]: "0ms" is no time at all; want more than 0`}},
		{"threshold of two numbers", promise("95% under 1 30ms"), []string{`5:16: flows.checkout.slos[0]: "1 30ms" is not a duration; want one such as 300ms or 30d`}},
		{"threshold no number", promise("95% under a second"), []string{`5:16: flows.checkout.slos[0]: "a second" is not a duration; want one such as 300ms or 30d`}},
		{"threshold of centuries", promise("95% under 300000d"), []string{`5:16: flows.checkout.slos[0]: "300000d" is longer than 292 years; want less`}},
		{"faster_than alone", promise("{faster_than: 300ms}"), []string{`5:16: flows.checkout.slos[0].for: is missing; want the share of requests, such as 95%`}},
		{"for alone", promise("{for: 95%}"), []string{`5:16: flows.checkout.slos[0]: promises nothing; want succeed: 99.9%, faster_than: 300ms with for: 95%, fresh: 26h, or promql: with target: 99%`}},
		{"succeed with for", promise("{succeed: 99%, for: 95%}"), []string{`5:36: flows.checkout.slos[0].for: goes with faster_than: and fresh:; want it left out`}},
		{"two in one", promise("{succeed: 99%, faster_than: 1s, for: 95%}"), []string{`5:16: flows.checkout.slos[0]: has both succeed: and faster_than:; want an objective for each`}},
		{"name no slug", promise("{succeed: 99%, name: Main One}"), []string{`5:37: flows.checkout.slos[0].name: "Main One" is not a slug; want 1 to 64 of a-z, 0-9, - and _, such as checkout`}},
		{"twice the same", checkout("match: /x", "slos:", "- 95% under 300ms", "- p95 < 300ms"), []string{`7:7: flows.checkout.slos[1]: promises the same as line 6; want it once`}},
		{"two of a name", checkout("match: /x", "slos:", "- 99% succeed", "- {succeed: 99%, window: 7d}"), []string{`7:7: flows.checkout.slos[1]: has the name "availability", as has the objective on line 6; want a name: of its own, such as {succeed: 99%, window: 7d, name: availability-7d}`}},
		{"min_events", promise("{succeed: 99%, min_events: many}"), []string{`5:43: flows.checkout.slos[0].min_events: is the text "many"; want a whole number from 1 to 1000000`}},

		// Windows.
		{"window too short", promise("{succeed: 99%, window: 30m}"), []string{`5:39: flows.checkout.slos[0].window: 30m is shorter than the window of the fastest alert; want at least 1h`}},
		{"window too long", promise("{succeed: 99%, window: 500d}"), []string{`5:39: flows.checkout.slos[0].window: 500d is more than a year and a month; want at most 400d`}},
		{"window not in minutes", promise("{succeed: 99%, window: 3601s}"), []string{`5:39: flows.checkout.slos[0].window: 1h1s is not a multiple of 10s; want one such as 30s, 5m or 30d`}},
		// Sentences about time.
		{"freshness finer than a minute", promise("99% fresh every 20s"), []string{`5:16: flows.checkout.slos[0]: 20s is less than the minute by which freshness is judged; want at least 1m`}},
		{"freshness without a length", promise("fresh every day"), []string{`5:16: flows.checkout.slos[0]: "day" is not a duration; want one such as 300ms or 30d`}},
		{"freshness without %", promise("99 fresh every 26h"), []string{`5:16: flows.checkout.slos[0]: 99 has no unit; want a percentage such as 99%`}},
		{"no freshness", promise("fresh at 26h"), []string{`5:16: flows.checkout.slos[0]: "fresh at 26h" is not a sentence; want 99.9% succeed, 95% under 300ms, p95 < 300ms, fresh every 26h or 99.5% of minutes with 95% under 300ms`}},
		{"target of freshness", promise("{fresh: 26h, target: 99%}"), []string{`5:37: flows.checkout.slos[0].target: goes with promql:; want it as for: 95%`}},
		{"freshness in slices", promise("{fresh: 26h, time_slice: 99%}"), []string{`5:41: flows.checkout.slos[0].time_slice: is not for fresh:, which judges each minute already; want it left out`}},
		{"freshness of a year and more", promise("{fresh: 500d}"), []string{`5:24: flows.checkout.slos[0].fresh: 500d is more than a year and a month; want at most 400d`}},
		{"every minute", promise("100% of minutes with 95% succeed"), []string{`5:16: flows.checkout.slos[0]: 100% leaves no error budget; want less than 100%`}},
		{"a ratio of a minute", promise("99% of minutes with 0.95 succeed"), []string{`5:16: flows.checkout.slos[0]: 0.95 has no unit; want a percentage such as 95%`}},
		{"slices of 7m", promise("99% of 7m with 95% succeed"), []string{`5:16: flows.checkout.slos[0]: 7m is not a multiple of 10s that divides an hour; want one such as 1m, 5m or 1h`}},
		{"slices of 2h", promise("99% of 2h with 95% succeed"), []string{`5:16: flows.checkout.slos[0]: 2h is not a multiple of 10s that divides an hour; want one such as 1m, 5m or 1h`}},
		{"slices of 15s", promise("99% of 15s with 95% succeed"), []string{`5:16: flows.checkout.slos[0]: 15s is not a multiple of 10s that divides an hour; want one such as 1m, 5m or 1h`}},
		{"slices of hours", promise("99% of hours with 95% succeed"), []string{`5:16: flows.checkout.slos[0]: "hours" is not a duration; want one such as 300ms or 30d`}},
		{"slices of freshness", promise("99% of minutes with fresh every 26h"), []string{`5:16: flows.checkout.slos[0]: "fresh every 26h" is not what a slice of time can promise; want 95% succeed or 95% under 300ms after with`}},
		{"slices without a target", promise("{succeed: 95%, time_slice: {length: 1m}}"), []string{`5:43: flows.checkout.slos[0].time_slice.target: is missing; want the share of good slices, such as 99.5%`}},
		{"slices too long", promise("{succeed: 95%, time_slice: {target: 99%, length: 90m}}"), []string{`5:65: flows.checkout.slos[0].time_slice.length: 1h30m is not a multiple of 10s that divides an hour; want one such as 1m, 5m or 1h`}},
		{"slices null", promise("{succeed: 95%, time_slice: }"), []string{`5:31: flows.checkout.slos[0].time_slice: is empty; want a percentage such as 99.9%`}},
		{"slices misspelled", promise("{succeed: 95%, time_slice: {target: 99%, lenght: 5m}}"), []string{`5:57: flows.checkout.slos[0].time_slice.lenght: unknown key; want length`}},
		{"target with succeed", promise("{succeed: 95%, target: 99%}"), []string{`5:39: flows.checkout.slos[0].target: goes with promql:; want it as succeed: 99.9%`}},
		{"target with faster_than", promise("{faster_than: 1s, for: 95%, target: 99%}"), []string{`5:52: flows.checkout.slos[0].target: goes with promql:; want it as for: 95%`}},
		{"id with a space", promise(`{succeed: 99%, id: 'a b'}`), []string{`5:35: flows.checkout.slos[0].id: "a b" is not an id; want letters, digits, _, - and ., at most 128, such as checkout-availability`}},

		// PromQL.
		{"promql a text", promise(`{promql: 'sum(rate(a[$window]))', target: 99%}`), []string{`5:25: flows.checkout.slos[0].promql: is the text "sum(rate(a[$window]))"; want {bad: …, total: …}, {good: …, total: …} or {ratio: …}`}},
		{"promql empty", promise("{promql: {}, target: 99%}"), []string{`5:25: flows.checkout.slos[0].promql: is an empty map; want {bad: …, total: …}, {good: …, total: …} or {ratio: …}`}},
		{"neither counts nor a ratio", promise(`{promql: {total: 'rate(a[$window])'}, target: 99%}`), []string{`5:25: flows.checkout.slos[0].promql: has total: alone; want bad: or good: with it`}},
		{"no total", promise(`{promql: {bad: 'rate(a[$window])'}, target: 99%}`), []string{`5:25: flows.checkout.slos[0].promql.total: is missing; want the count of all events`}},
		{"bad and good", promise(`{promql: {bad: 'rate(a[$window])', good: 'rate(a[$window])', total: 'rate(a[$window])'}, target: 99%}`), []string{`5:25: flows.checkout.slos[0].promql: has both bad: and good:; want one of them, with total:`}},
		{"a ratio and counts", promise(`{promql: {ratio: 'rate(a[$window])', total: 'rate(a[$window])'}, target: 99%}`), []string{`5:25: flows.checkout.slos[0].promql: has ratio: and counts; want ratio: alone, or total: with one of bad: and good:`}},
		{"promql without a target", promise(`{promql: {ratio: 'rate(a[$window])'}}`), []string{`5:16: flows.checkout.slos[0].target: is missing; want the share of good events, such as 99%`}},
		{"promql with a ratio for a target", promise(`{promql: {ratio: 'rate(a[$window])'}, target: 0.99}`), []string{`5:62: flows.checkout.slos[0].target: 0.99 has no unit; want a percentage such as 99%`}},
		{"min_events of a ratio", promise(`{promql: {ratio: 'rate(a[$window])'}, target: 99%, min_events: 3}`), []string{`5:79: flows.checkout.slos[0].min_events: a ratio holds no events to count; want it left out, or total: with bad:`}},
		{"not PromQL", promise(`{promql: {ratio: 'rate(a[$window]) /'}, target: 99%}`), []string{`5:33: flows.checkout.slos[0].promql.ratio: is not PromQL: at its column 19, unexpected end of input; want PromQL such as sum(rate(http_requests_total[$window]))`}},
		{"not PromQL over lines", checkout("slos:", "- promql:", "    ratio: |", "      sum(rate(a[$window]))", "        / sum rate(b[$window]))", "  target: 99%"), []string{`6:16: flows.checkout.slos[0].promql.ratio: is not PromQL: at its line 2, column 9, unexpected identifier "rate"; want PromQL such as sum(rate(http_requests_total[$window]))`}},
		{"not PromQL after Sloth's window", promise(`{promql: {ratio: 'rate(a[{{ .window }}]) > {{.x}}'}, target: 99%}`), []string{`5:33: flows.checkout.slos[0].promql.ratio: is not PromQL: at its column 27, unexpected left brace '{'; want PromQL such as sum(rate(http_requests_total[$window]))`}},
		{"no such function", promise(`{promql: {ratio: 'rat(a[$window])'}, target: 99%}`), []string{`5:33: flows.checkout.slos[0].promql.ratio: is not PromQL: at its column 1, unknown function with name "rat"; want PromQL such as sum(rate(http_requests_total[$window]))`}},
		{"a range vector", promise(`{promql: {ratio: 'a[$window]'}, target: 99%}`), []string{`5:33: flows.checkout.slos[0].promql.ratio: is a range vector; want PromQL such as sum(rate(http_requests_total[$window]))`}},
		{"no $window", promise(`{promql: {bad: 'rate(a[5m])', total: 'rate(b[$window])'}, target: 99%}`), []string{`5:31: flows.checkout.slos[0].promql.bad: has no range $window, so it counts the same over every window; want PromQL such as sum(rate(http_requests_total[$window]))`}},
		{"units that differ", promise(`{promql: {bad: 'rate(a[$window]) + increase(b[$window])', total: 'rate(b[$window])'}, target: 99%}`), []string{`5:31: flows.checkout.slos[0].promql.bad: reads $window by rate and by increase, whose units differ; want one of them`}},
		{"an average is no count", promise(`{promql: {bad: 'avg_over_time(a[$window])', total: 'rate(b[$window])'}, target: 99%}`), []string{`5:31: flows.checkout.slos[0].promql.bad: reads $window by avg_over_time, which counts nothing; want rate, increase, sum_over_time or count_over_time`}},
		{"$window no range", promise(`{promql: {ratio: 'rate(a[5m] offset $window)'}, target: 99%}`), []string{`5:33: flows.checkout.slos[0].promql.ratio: $window stands at its column 19, where it is no range; want it as a range only: rate(http_requests_total[$window])`}},
		{"a query without end", promise(`{promql: {ratio: "rate(a{b='` + strings.Repeat("x", maxQuery) + `'}[$window])"}, target: 99%}`), []string{`5:33: flows.checkout.slos[0].promql.ratio: is longer than 16384 bytes; want PromQL such as sum(rate(http_requests_total[$window]))`}},
		{"two queries without a name", checkout("slos:", "- {promql: {ratio: 'rate(a[$window])'}, target: 99%}", "- {promql: {ratio: 'rate(b[$window])'}, target: 99%}"), []string{`6:7: flows.checkout.slos[1]: has the name "promql", as has the objective on line 5; want a name: of its own, such as name: queue-age`}},
		{"match missing beside PromQL", checkout("slos:", "- {promql: {ratio: 'rate(a[$window])'}, target: 99%}", "- 99% succeed"), []string{`3:3: flows.checkout.match: is missing; want one such as POST /api/checkout`}},

		// Calendar windows and time zones.
		{"no window", promise("{succeed: 99%, window: fortnight}"), []string{`5:39: flows.checkout.slos[0].window: "fortnight" is not a window; want a rolling window such as 30d, or week, month or quarter`}},
		{"nearly a window", promise("{succeed: 99%, window: months}"), []string{`5:39: flows.checkout.slos[0].window: "months" is not a window; want month`}},
		{"window without a unit", promise("{succeed: 99%, window: 30}"), []string{`5:39: flows.checkout.slos[0].window: "30" has no unit; want a duration such as 300ms or 30d`}},
		{"window null", promise("{succeed: 99%, window: }"), []string{`5:31: flows.checkout.slos[0].window: is empty; want a rolling window such as 30d, or week, month or quarter`}},
		{"zone of a rolling window", promise("{succeed: 99%, timezone: Europe/Zurich}"), []string{`5:41: flows.checkout.slos[0].timezone: no calendar window is read in it; want window: week, month or quarter, or no timezone:`}},
		{"zone of a flow's rolling windows", checkout("match: /x", "timezone: Europe/Zurich", "slos: [9% succeed]"), []string{`5:15: flows.checkout.timezone: no calendar window is read in it; want window: week, month or quarter, or no timezone:`}},
		{"zone of a file's rolling windows", "service: shop\ndefaults: {timezone: Europe/Zurich}\nflows: {a: {match: /x, slos: [9% succeed]}}\n", []string{`2:22: defaults.timezone: no calendar window is read in it; want window: week, month or quarter, or no timezone:`}},
		{"zone misspelled", promise("{succeed: 99%, window: month, timezone: Europe/Zurch}"), []string{`5:56: flows.checkout.slos[0].timezone: "Europe/Zurch" is not a time zone; want Europe/Zurich`}},
		{"zone a city", promise("{succeed: 99%, window: month, timezone: New York}"), []string{`5:56: flows.checkout.slos[0].timezone: "New York" is not a time zone; want America/New_York`}},
		{"zone Local", promise("{succeed: 99%, window: month, timezone: Local}"), []string{`5:56: flows.checkout.slos[0].timezone: Local is another zone on each machine; want a name such as Europe/Zurich`}},
		{"zone a file", promise("{succeed: 99%, window: month, timezone: ../../etc/passwd}"), []string{`5:56: flows.checkout.slos[0].timezone: "../../etc/passwd" is not a time zone; want a name such as Europe/Zurich`}},
		{"zone with leap seconds", promise("{succeed: 99%, window: month, timezone: right/Europe/Zurich}"), []string{`5:56: flows.checkout.slos[0].timezone: "right/Europe/Zurich" is not a time zone; want Europe/Zurich`}},
		{"zone an offset", promise("{succeed: 99%, window: month, timezone: +01:00}"), []string{`5:56: flows.checkout.slos[0].timezone: "+01:00" is not a time zone; want a name such as Europe/Zurich`}},

		// Alerts.
		{"alerts none", promise("{succeed: 99%, alerts: none}"), []string{`5:39: flows.checkout.slos[0].alerts: is the text "none"; want off, or a map such as {page: off}`}},
		{"page of", checkout("match: /x", "slos: [9% succeed]", "alerts: {page: of}"), []string{`6:20: flows.checkout.alerts.page: "of" is not a Slack channel; want "#channel", "@person" or an ID such as C024BE91L`}},
		{"channel of an objective", promise(`{succeed: 99%, alerts: {page: '#x'}}`), []string{`5:46: flows.checkout.slos[0].alerts.page: the channel is the whole flow's; want it in alerts: of the flow`}},
		{"channel of an objective, long", promise(`{succeed: 99%, alerts: {page: {slack: '#x'}}}`), []string{`5:54: flows.checkout.slos[0].alerts.page.slack: the channel is the whole flow's; want it in alerts: of the flow`}},
		{"unknown key of a page", promise("{succeed: 99%, alerts: {page: {color: red}}}"), []string{`5:47: flows.checkout.slos[0].alerts.page.color: unknown key; want one of slack, labels, annotations`}},
		{"alert label of ours", promise("{succeed: 99%, alerts: {labels: {severity: x, sloth_id: x}}}"), []string{`5:62: flows.checkout.slos[0].alerts.labels.sloth_id: this label is set by slowburn; want another name`}},
		{"annotation name", promise("{succeed: 99%, alerts: {annotations: {a-b: x}}}"), []string{`5:54: flows.checkout.slos[0].alerts.annotations.a-b: is not the name of an annotation; want letters, digits and _, such as dashboard`}},
		{"annotation no template", promise(`{succeed: 99%, alerts: {annotations: {a: '{{ $value | nope }}'}}}`), []string{`5:57: flows.checkout.slos[0].alerts.annotations.a: is not a template of Prometheus: function "nope" not defined; want one such as {{ $value }}, or {{ $labels.sloth_slo }}`}},
		{"label no template", promise(`{succeed: 99%, alerts: {page: {labels: {a: '{{ x'}}}}`), []string{`5:59: flows.checkout.slos[0].alerts.page.labels.a: is not a template of Prometheus: function "x" not defined; want one such as {{ $value }}, or {{ $labels.sloth_slo }}`}},
		{"alert name null", promise("{succeed: 99%, alerts: {name: }}"), []string{`5:40: flows.checkout.slos[0].alerts.name: is empty; want the name of the alert, such as CheckoutFails`}},

		// Excludes.
		{"exclude null", "service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\nexclude:\n", []string{`3:1: exclude: is empty; want a list such as [{from: "2026-12-01 02:00", for: 2h}]`}},
		{"exclude empty", "service: shop\nflows: {a: {match: /x, slos: [9% succeed]}}\nexclude: []\n", []string{`3:10: exclude: is an empty list; want a list such as [{from: "2026-12-01 02:00", for: 2h}]`}},
		{"exclude a text", excluding("- maintenance"), []string{`4:3: exclude[0]: is the text "maintenance"; want a map such as {from: "2026-12-01 02:00", for: 2h}`}},
		{"exclude without an end", excluding("- {from: 2026-12-01 02:00}"), []string{`4:3: exclude[0].for: is missing; want how long it lasts, such as 2h, or to: with its end`}},
		{"exclude without a beginning", excluding("- {for: 2h}"), []string{`4:3: exclude[0].from: is missing; want when it begins, such as "2026-12-01 02:00", or every: for one that comes again`}},
		{"exclude misspelled", excluding("- {evry: sunday, at: 02:00, for: 2h}"), []string{`4:4: exclude[0].evry: unknown key; want every`}},
		{"for and to", excluding("- {from: 2026-12-01 02:00, for: 2h, to: 2026-12-01 04:00}"), []string{`4:41: exclude[0].to: has for: beside it; want one of them`}},
		{"to before from", excluding("- {from: 2026-12-01 02:00, to: 2026-12-01 01:00}"), []string{`4:32: exclude[0].to: 2026-12-01 01:00 is not after from: 2026-12-01 02:00; want a later time`}},
		{"from not a multiple", excluding("- {from: 2026-12-01 02:03, for: 2h}"), []string{`4:10: exclude[0].from: "2026-12-01 02:03" is not a multiple of 5m; want one such as "2026-12-01 02:05"`}},
		{"for not a multiple", excluding("- {from: 2026-12-01 02:00, for: 7m}"), []string{`4:33: exclude[0].for: 7m is not a multiple of 5m; want one such as 5m or 2h`}},
		{"exclude of a year and more", excluding("- {from: 2026-12-01 02:00, for: 500d}"), []string{`4:3: exclude[0]: 500d is longer than any window; want at most 400d`}},
		{"no date", excluding("- {from: 1.12.2026, for: 2h}"), []string{`4:10: exclude[0].from: "1.12.2026" is not a date and time; want a date and time such as "2026-12-01 02:00"`}},
		{"no such day", excluding("- {from: 2026-02-29, for: 2h}"), []string{`4:10: exclude[0].from: "2026-02-29" is not a date and time; want a date and time such as "2026-12-01 02:00"`}},
		{"from of another century", excluding("- {from: 1926-12-01 02:00, for: 2h}"), []string{`4:10: exclude[0].from: "1926-12-01 02:00" is in the year 1926; want 2000 to 2199`}},
		{"from of a flow that is nearly one", excluding("- {from: 2026-12-01 02:00, for: 2h, flows: [chekcout]}"), []string{`4:45: exclude[0].flows[0]: "chekcout" is not a flow of this file; want checkout`}},
		{"unknown flow, and one twice", excluding("- {from: 2026-12-01 02:00, for: 2h, flows: [pay, checkout, checkout]}"), []string{
			`4:45: exclude[0].flows[0]: "pay" is not a flow of this file; want one that is`,
			`4:60: exclude[0].flows[2]: "checkout" is in the list twice; want it once`,
		}},
		{"flows a text", excluding("- {from: 2026-12-01 02:00, for: 2h, flows: checkout}"), []string{`4:44: exclude[0].flows: is the text "checkout"; want a list of flows such as [checkout]`}},
		{"clocks skip it in Zurich", excluding("- {from: 2026-03-29 02:30, for: 2h, timezone: Europe/Zurich}"), []string{`4:10: exclude[0].from: "2026-03-29 02:30" does not exist in Europe/Zurich: clocks go forward over it; want 2026-03-29 01:30 or 2026-03-29 03:30`}},
		{"clocks skip it in New York", excluding("- {from: 2026-03-08 01:00, to: 2026-03-08 02:30, timezone: America/New_York}"), []string{`4:32: exclude[0].to: "2026-03-08 02:30" does not exist in America/New_York: clocks go forward over it; want 2026-03-08 01:30 or 2026-03-08 03:30`}},
		{"at without every", excluding("- {from: 2026-12-01 02:00, for: 2h, at: 02:00}"), []string{`4:41: exclude[0].at: goes with every:; want from: with for: or to:, or every: beside it`}},
		{"two overlap", excluding("- {from: 2026-12-01 02:00, for: 2h}", "- {from: 2026-12-01 03:30, for: 2h}"), []string{`5:3: exclude[1]: overlaps with the exclude at f.yaml:4:3: both leave out 2026-12-01 03:30 UTC; want one exclude, or times apart`}},
		{"two overlap for a flow, in other zones", excluding("- {from: 2026-12-01T02:00Z, for: 2h, flows: [search, checkout]}", "- {from: 2026-12-01 04:30, for: 2h, flows: [checkout], timezone: Europe/Zurich}"), []string{`5:3: exclude[1]: overlaps with the exclude at f.yaml:4:3: both leave out 2026-12-01 04:30 CET of checkout; want one exclude, or times apart`}},
		{"two that come again overlap", excluding("- {every: day, at: 02:00, for: 2h}", "- {every: [sunday, monday], at: 03:00, for: 2h, flows: [search]}"), []string{`5:3: exclude[1]: overlaps with the exclude at f.yaml:4:3: both leave out 2024-01-01 03:00 UTC of search; want one exclude, or times apart`}},
		{"two overlap on Friday the 13th", excluding("- {every: friday, at: 02:00, for: 2h}", "- {every: month, on: 13, at: 03:00, for: 2h}"), []string{`5:3: exclude[1]: overlaps with the exclude at f.yaml:4:3: both leave out 2024-09-13 03:00 UTC; want one exclude, or times apart`}},
		{"every day all day", excluding("- {every: day, at: 02:00, for: 24h}"), []string{`4:32: exclude[0].for: 1d reaches the next time it comes, when clocks change if not before; want at most 23h`}},
		{"every few days longer than between", excluding("- {every: [saturday, monday], at: 02:00, for: 48h}"), []string{`4:47: exclude[0].for: 2d reaches the next time it comes, when clocks change if not before; want at most 47h`}},
		{"every misspelled", excluding("- {every: sundays, at: 02:00, for: 2h}"), []string{`4:11: exclude[0].every: "sundays" is not a day or month; want sunday`}},
		{"every week", excluding("- {every: week, at: 02:00, for: 2h}"), []string{`4:11: exclude[0].every: "week" is not a day or month; want day, a weekday such as sunday, a list of weekdays, or month`}},
		{"every of days", excluding("- {every: [day], at: 02:00, for: 2h}"), []string{`4:12: exclude[0].every[0]: "day" is not a weekday; want weekdays such as [monday, thursday]`}},
		{"a weekday twice", excluding("- {every: [sunday, Sunday], at: 02:00, for: 2h}"), []string{`4:20: exclude[0].every[1]: Sunday is in the list twice; want it once`}},
		{"month without a day", excluding("- {every: month, at: 02:00, for: 2h}"), []string{`4:3: exclude[0].on: is missing; want a day of the month, such as 15`}},
		{"no day of a month", excluding("- {every: month, on: 32, at: 02:00, for: 2h}"), []string{`4:22: exclude[0].on: is 32; want a whole number from 1 to 31`}},
		{"on without month", excluding("- {every: sunday, on: 3, at: 02:00, for: 2h}"), []string{`4:23: exclude[0].on: goes with every: month; want it left out`}},
		{"every without at", excluding("- {every: sunday, for: 2h}"), []string{`4:3: exclude[0].at: is missing; want the time of day it begins, such as "02:00"`}},
		{"no time of day", excluding("- {every: sunday, at: 25:00, for: 2h}"), []string{`4:23: exclude[0].at: "25:00" is not a time of day; want a time of day such as "02:00"`}},
		{"at not a multiple", excluding("- {every: sunday, at: 02:01, for: 2h}"), []string{`4:23: exclude[0].at: "02:01" is not a multiple of 5m; want one such as "02:05"`}},
		{"every with to", excluding("- {every: sunday, at: 02:00, to: 03:00}"), []string{
			`4:3: exclude[0].for: is missing; want how long it lasts, such as 2h`,
			`4:34: exclude[0].to: goes with from:, not with every:; want for:`,
		}},
		{"until before from", excluding("- {every: sunday, at: 02:00, for: 2h, from: 2026-12-01, until: 2026-11-01}"), []string{`4:64: exclude[0].until: 2026-11-01 00:00 is not after from: 2026-12-01 00:00; want a later time`}},
		{"too many excludes", excluding(strings.Repeat("- {from: 2026-12-01, for: 2h}\n", maxExcludes+1)), []string{`4:1: exclude: has more than 200 excludes; want those left out that are over`}},
		{"too many excludes that come again", excluding(strings.Repeat("- {every: sunday, at: 02:00, for: 2h}\n", maxRecurring+1)), []string{`4:1: exclude: has more than 50 excludes that come again; want fewer, each for several flows or days`}},

		// Outages and budgets.
		{"outage a channel", promise("{succeed: 99%, alerts: {outage: '#x'}}"), []string{`5:48: flows.checkout.slos[0].alerts.outage: is the text "#x"; want true or false`}},
		{"runs_out a number", promise("{succeed: 99%, alerts: {runs_out: 3d}}"), []string{`5:50: flows.checkout.slos[0].alerts.runs_out: is the text "3d"; want true or false`}},
		{"outage of slices", promise("{succeed: 99%, time_slice: 99%, alerts: {outage: true}}"), []string{
			`5:65: flows.checkout.slos[0].alerts.outage: slices are judged when they end, too late to page within seconds; want it on an objective of requests, such as 99.9% succeed`,
		}},
		{"outage of freshness, beside another fault", promise("{fresh: 26h, names: x, alerts: {outage: true}}"), []string{
			`5:29: flows.checkout.slos[0].names: unknown key; want name`,
			`5:56: flows.checkout.slos[0].alerts.outage: freshness is judged once a minute, too late to page within seconds; want it on an objective of requests, such as 99.9% succeed`,
		}},
		{"outage of PromQL", checkout("slos: [{promql: {ratio: 'avg_over_time(a[$window])'}, target: 99%, alerts: {outage: on}}]"), []string{
			`4:89: flows.checkout.slos[0].alerts.outage: PromQL is counted once a minute, too late to page within seconds; want it on an objective of requests, such as 99.9% succeed`,
		}},
		{"outage of a flow that counts no requests", checkout("match: /x", "alerts: {outage: true}", "slos: [fresh every 26h]"), []string{
			`5:22: flows.checkout.alerts.outage: none of these objectives can tell of an outage within seconds; want it on an objective of requests, such as 99.9% succeed`,
		}},
		{"outage of a file that counts no requests", "service: shop\ndefaults: {alerts: {outage: true}}\nflows: {a: {match: /a, slos: [fresh every 26h]}}\n", []string{
			`2:29: defaults.alerts.outage: none of these objectives can tell of an outage within seconds; want it on an objective of requests, such as 99.9% succeed`,
		}},
		{"outage of a broken objective", checkout("match: /x", "alerts: {outage: true}", "slos: [99 succeed, fresh every 26h]"), []string{
			`6:12: flows.checkout.slos[0]: 99 has no unit; want a percentage such as 99%`,
		}},
		{"spent true", promise("{succeed: 99%, alerts: {spent: true}}"), []string{`5:47: flows.checkout.slos[0].alerts.spent: "true" is not a percentage; want one such as 75%`}},
		{"spent a map", promise("{succeed: 99%, alerts: {spent: {at: 50%}}}"), []string{`5:47: flows.checkout.slos[0].alerts.spent: is a map; want shares of the budget such as [50%, 75%, 100%], or off`}},
		{"spent nothing", promise("{succeed: 99%, alerts: {spent: []}}"), []string{`5:47: flows.checkout.slos[0].alerts.spent: is an empty list; want shares of the budget such as [50%, 75%, 100%], or off`}},
		{"spent of all kinds of wrong", promise("{succeed: 99%, alerts: {spent: [0.5, 60, 0%, 0.05%, 75%, 75.0%, 50%, 120%, half]}}"), []string{
			`5:48: flows.checkout.slos[0].alerts.spent[0]: 0.5 has no unit; want a percentage such as 50%`,
			`5:53: flows.checkout.slos[0].alerts.spent[1]: 60 has no unit; want a percentage such as 60%`,
			`5:57: flows.checkout.slos[0].alerts.spent[2]: 0% of a budget is nothing to tell of; want at least 0.1%`,
			`5:61: flows.checkout.slos[0].alerts.spent[3]: 0.05% of a budget is nothing to tell of; want at least 0.1%`,
			`5:73: flows.checkout.slos[0].alerts.spent[5]: 75.0% comes after 75%; want them ascending, each once`,
			`5:80: flows.checkout.slos[0].alerts.spent[6]: 50% comes after 75%; want them ascending, each once`,
			`5:85: flows.checkout.slos[0].alerts.spent[7]: 120% is more than the whole budget; want at most 100%`,
			`5:91: flows.checkout.slos[0].alerts.spent[8]: "half" is not a percentage; want one such as 75%`,
		}},
		{"spent too often", promise("{succeed: 99%, alerts: {spent: [1%, 2%, 3%, 4%, 5%, 6%, 7%, 8%, 9%, 10%, 11%]}}"), []string{
			`5:47: flows.checkout.slos[0].alerts.spent: has 11 shares; want at most 10`,
		}},
		{"two of severity and budget", promise("{succeed: 99%, alerts: {spend: 50%}}"), []string{
			`5:40: flows.checkout.slos[0].alerts.spend: unknown key; want spent`,
		}},

		// Where.
		{"where a map", checkout("match: /x", "slos: [9% succeed]", "where: {a: b}"), []string{
			`6:12: flows.checkout.where: is a map; want a list of attributes such as [service.version, tenant.id], or off`,
		}},
		{"where nothing", checkout("match: /x", "slos: [9% succeed]", "where: []"), []string{
			`6:12: flows.checkout.where: is an empty list; want a list of attributes such as [service.version, tenant.id], or off`,
		}},
		{"where of all kinds of wrong", checkout("match: /x", "slos: [9% succeed]", "where: [service.name, http.method, http.request.method, 'a b', [c]]"), []string{
			`6:13: flows.checkout.where[0]: is the same for all requests of a flow; want it left out`,
			`6:40: flows.checkout.where[2]: http.request.method is in the list already; want it once`,
			`6:61: flows.checkout.where[3]: "a b" is not the name of an attribute; want a list of attributes such as [service.version, tenant.id], or off`,
			`6:68: flows.checkout.where[4]: is a list; want a list of attributes such as [service.version, tenant.id], or off`,
		}},
		{"where everywhere", checkout("match: /x", "slos: [9% succeed]", "where: [a, b, c, d, e, f, g, h, i, j, k, l, m]"), []string{
			`6:12: flows.checkout.where: has 13 attributes; want at most 12`,
		}},

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
			config, err := Parse("f.yaml", []byte(tc.in))
			if err == nil {
				t.Fatalf("Parse accepts %d flows, want faults\n%s", len(config.Flows), tc.in)
			}
			var want strings.Builder
			for _, line := range tc.want {
				want.WriteString("f.yaml:" + line + "\n")
			}
			if got := err.Error() + "\n"; got != want.String() {
				t.Errorf("Parse reports\n%swant\n%s", got, want.String())
			}
			if config.Flows != nil {
				t.Errorf("Parse returns %d flows beside an error", len(config.Flows))
			}
		})
	}
}
