package otlp

import (
	"bytes"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// inSpan wraps the fields of a span into a request.
func inSpan(fields string) string {
	return `{"resourceSpans":[{"scopeSpans":[{"spans":[{` + fields + `}]}]}]}`
}

// deepJSON is a span with an attribute of AnyValues nested n deep.
func deepJSON(n int) []byte {
	return []byte(inSpan(`"attributes":[{"key":"k","value":` +
		strings.Repeat(`{"arrayValue":{"values":[`, n-1) + `{"stringValue":"x"}` + strings.Repeat(`]}}`, n-1) + `}]`))
}

func TestJSON(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string // want in protobuf's own JSON mapping
	}{
		{name: "nothing", in: `{}`, want: `{}`},
		{name: "space", in: " {\n\t\"resourceSpans\" : [ { } , {\r} ] } ", want: `{"resourceSpans":[{},{}]}`},
		{
			name: "everything",
			in: `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}],"droppedAttributesCount":1,
				"entityRefs":[{"schemaUrl":"u","type":"service","idKeys":["a","b"],"descriptionKeys":["c"]}]},"schemaUrl":"s1",
				"scopeSpans":[{"scope":{"name":"n","version":"v","attributes":[{"key":"a","value":{}}],"droppedAttributesCount":2},"schemaUrl":"s2",
				"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","traceState":"a=b","parentSpanId":"EEE19B7EC3C1B173",
				"flags":257,"name":"I'm a server span","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
				"attributes":[{"key":"b","value":{"boolValue":true}},{"key":"i","value":{"intValue":"-5"}},{"key":"d","value":{"doubleValue":0.5}},
				{"key":"y","value":{"bytesValue":"AQI="}},{"key":"l","value":{"arrayValue":{"values":[{"intValue":1},{"stringValue":"x"}]}}},
				{"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}],"droppedAttributesCount":3,
				"events":[{"timeUnixNano":"7","name":"e","attributes":[],"droppedAttributesCount":4}],"droppedEventsCount":5,
				"links":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","traceState":"t","attributes":[],"droppedAttributesCount":6,"flags":1}],
				"droppedLinksCount":7,"status":{"message":"m","code":2}}]}]}]}`,
			want: `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}],"droppedAttributesCount":1,
				"entityRefs":[{"schemaUrl":"u","type":"service","idKeys":["a","b"],"descriptionKeys":["c"]}]},"schemaUrl":"s1",
				"scopeSpans":[{"scope":{"name":"n","version":"v","attributes":[{"key":"a","value":{}}],"droppedAttributesCount":2},"schemaUrl":"s2",
				"spans":[{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"7uGbfsPBsXQ=","traceState":"a=b","parentSpanId":"7uGbfsPBsXM=",
				"flags":257,"name":"I'm a server span","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000",
				"attributes":[{"key":"b","value":{"boolValue":true}},{"key":"i","value":{"intValue":"-5"}},{"key":"d","value":{"doubleValue":0.5}},
				{"key":"y","value":{"bytesValue":"AQI="}},{"key":"l","value":{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"x"}]}}},
				{"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}],"droppedAttributesCount":3,
				"events":[{"timeUnixNano":"7","name":"e","droppedAttributesCount":4}],"droppedEventsCount":5,
				"links":[{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"7uGbfsPBsXQ=","traceState":"t","droppedAttributesCount":6,"flags":1}],
				"droppedLinksCount":7,"status":{"message":"m","code":"STATUS_CODE_ERROR"}}]}]}]}`,
		},
		{name: "unknown fields", in: inSpan(`"new":{"a":[1,{"b":"}]"}]},"name":"x","newer":[[]],"x":-1.5e3,"y":null`), want: inSpan(`"name":"x"`)},
		{name: "proto names are unknown", in: inSpan(`"trace_id":"zz","name":"x"`), want: inSpan(`"name":"x"`)},
		{name: "null is absent", in: inSpan(`"name":null,"attributes":null,"status":null,"kind":null`), want: inSpan(``)},
		{name: "escapes", in: inSpan(`"na\u006de":"a\"b\\\/\n\u00e9\ud83d\ude00"`), want: inSpan(`"name":"a\"b\\/\né😀"`)},
		{name: "empty ids", in: inSpan(`"traceId":"","parentSpanId":""`), want: inSpan(``)},
		{name: "unknown enum number", in: inSpan(`"kind":99`), want: inSpan(`"kind":99`)},
		{name: "numbers as text", in: inSpan(`"flags":"1","droppedLinksCount":"2"`), want: inSpan(`"flags":1,"droppedLinksCount":2`)},
		{name: "odd doubles", in: inSpan(`"attributes":[{"value":{"doubleValue":"-Infinity"}},{"value":{"doubleValue":1e3}}]`), want: inSpan(`"attributes":[{"value":{"doubleValue":"-Infinity"}},{"value":{"doubleValue":1000}}]`)},
		{name: "url base64", in: inSpan(`"attributes":[{"value":{"bytesValue":"-_8"}}]`), want: inSpan(`"attributes":[{"value":{"bytesValue":"+/8="}}]`)},
		{name: "a long name", in: inSpan(`"name":"` + strings.Repeat("x", 20_000) + `","kind":1`), want: inSpan(`"name":"` + strings.Repeat("x", 20_000) + `","kind":1`)},
		{name: "64 deep", in: string(deepJSON(64)), want: string(deepJSON(64))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := appendRequest(nil, []byte(tc.in))
			if err != nil {
				t.Fatalf("appendRequest: %v", err)
			}
			var got, want collectortrace.ExportTraceServiceRequest
			if err := proto.Unmarshal(out, &got); err != nil {
				t.Fatalf("the official decoder: %v", err)
			}
			if err := protojson.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(&got, &want) {
				t.Errorf("appendRequest gave\n%v, want\n%v", &got, &want)
			}
		})
	}
}

func TestJSONRefused(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
	}{
		{name: "nothing", in: ``, want: "JSON"},
		{name: "space", in: ` `, want: "JSON"},
		{name: "null", in: `null`, want: "object"},
		{name: "an array", in: `[]`, want: "object"},
		{name: "a text", in: `"x"`, want: "object"},
		{name: "cut off", in: `{"resourceSpans":[{`, want: "JSON"},
		{name: "garbage after", in: `{} x`, want: "JSON"},
		{name: "a byte order mark", in: "\ufeff{}", want: "JSON"},
		{name: "invalid utf-8", in: "{\"\xc3\x28\":1}", want: "UTF-8"},
		{name: "enum as name", in: inSpan(`"kind":"SPAN_KIND_SERVER"`), want: "kind: want an integer"},
		{name: "enum as digits in quotes", in: inSpan(`"kind":"2"`), want: "kind: want an integer"},
		{name: "status code as name", in: inSpan(`"status":{"code":"STATUS_CODE_ERROR"}`), want: "code: want an integer"},
		{name: "enum too large", in: inSpan(`"kind":4294967296`), want: "kind: want an integer"},
		{name: "short trace id", in: inSpan(`"traceId":"5B8E"`), want: "traceId: want 32 hex digits"},
		{name: "long span id", in: inSpan(`"spanId":"5B8EFFF798038103D269B633813FC60C"`), want: "spanId: want 16 hex digits"},
		{name: "base64 trace id", in: inSpan(`"traceId":"W47/95gDgQPSabYzgT/GDA=="`), want: "traceId: want 32 hex digits"},
		{name: "32 letters", in: inSpan(`"traceId":"zB8EFFF798038103D269B633813FC60C"`), want: "traceId: want 32 hex digits"},
		{name: "negative time", in: inSpan(`"endTimeUnixNano":-1`), want: "endTimeUnixNano: want an integer"},
		{name: "fraction", in: inSpan(`"endTimeUnixNano":1.5`), want: "endTimeUnixNano: want an integer"},
		{name: "number as name", in: inSpan(`"name":1`), want: "name: want a string"},
		{name: "object as name", in: inSpan(`"name":{}`), want: "name: want a plain value"},
		{name: "array as message", in: inSpan(`"status":[]`), want: "status: want an object"},
		{name: "object as array", in: inSpan(`"attributes":{}`), want: "attributes: want an array"},
		{name: "null in an array", in: inSpan(`"attributes":[null]`), want: "attributes: want an object"},
		{name: "text as bool", in: inSpan(`"attributes":[{"value":{"boolValue":"true"}}]`), want: "boolValue: want true or false"},
		{name: "text as double", in: inSpan(`"attributes":[{"value":{"doubleValue":"much"}}]`), want: "doubleValue: want a number"},
		{name: "text as bytes", in: inSpan(`"attributes":[{"value":{"bytesValue":"*"}}]`), want: "bytesValue: want base64"},
		{name: "text as int", in: inSpan(`"attributes":[{"value":{"intValue":"1e3"}}]`), want: "intValue: want an integer"},
		{name: "text as count", in: inSpan(`"droppedLinksCount":"-1"`), want: "droppedLinksCount: want an integer"},
		{name: "flags too large", in: inSpan(`"flags":4294967296`), want: "flags: want an integer"},
		{name: "65 deep", in: string(deepJSON(65)), want: "nested at most 64 deep"},
		{name: "1,000 deep", in: string(deepJSON(1000)), want: "nested at most 64 deep"},
		{name: "100,000 deep", in: string(deepJSON(100_000)), want: "deep"},
		{name: "1,500,000 deep where nobody looks", in: `{"x":` + strings.Repeat("[", 1_500_000) + strings.Repeat("]", 1_500_000) + `}`, want: "deep"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := appendRequest(nil, []byte(tc.in))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("appendRequest: %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// FuzzJSON holds any body to three laws: no panic, what is accepted is read by
// the official decoder, and its protobuf is hardly larger than its JSON.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add(deepJSON(3))
	f.Add([]byte(inSpan(`"traceId":"5B8EFFF798038103D269B633813FC60C","kind":-1,"name":"\ud800","x":[{"y":"\\"}],"status":{"code":2}`)))
	f.Add([]byte(inSpan(`"attributes":[{"key":"k","value":{"doubleValue":"NaN","bytesValue":"AQI="}}],"endTimeUnixNano":"1"`)))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := appendRequest(nil, in)
		if err != nil {
			return
		}
		var r collectortrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(out, &r); err != nil {
			t.Errorf("%q was accepted, but the official decoder says of %x: %v", in, out, err)
		}
		if len(out) > len(in)+len(in)/4 {
			t.Errorf("%q became %d bytes from %d", in, len(out), len(in))
		}
	})
}

// FuzzJSONAgainstCollector writes requests as the OpenTelemetry Collector's
// library does, and wants the same spans back.
func FuzzJSONAgainstCollector(f *testing.F) {
	f.Add(marshal(f, sample(3)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		request := ptraceotlp.NewExportRequest()
		if request.UnmarshalProto(in) != nil {
			return
		}
		js, err := request.MarshalJSON()
		if err != nil {
			return
		}
		pb, err := request.MarshalProto()
		if err != nil {
			return
		}
		var got, want collectortrace.ExportTraceServiceRequest
		if proto.Unmarshal(pb, &want) != nil { // invalid UTF-8, which that library lets pass
			return
		}
		if bytes.Contains(js, []byte("Strindex")) { // fields for profiles, which we leave out
			return
		}
		out, err := appendRequest(nil, js)
		if err != nil {
			if strings.Contains(err.Error(), "deep") {
				return
			}
			t.Fatalf("%s: %v", js, err)
		}
		if err := proto.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: the official decoder: %v", js, err)
		}
		// Empty ids are written as none at all; see to it that both are alike.
		if g, w := marshalled(t, &got), marshalled(t, &want); !bytes.Equal(g, w) {
			t.Errorf("%s:\ngot  %x\nwant %x", js, g, w)
		}
	})
}

func marshalled(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
