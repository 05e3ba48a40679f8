package foreign

import (
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/slowburn-slo/slowburn/slo/source"
)

// Decode reads v into the struct that into points to, and reports what does
// not belong there, each at its place: keys that the struct does not have, keys
// that are there twice, and values of the wrong kind. tag is the struct tag that
// names the keys, json or yaml. A value that is null leaves its field alone.
// Fields of type any and those that unmarshal their own JSON are not looked into.
//
// It returns whether all values are of the kind they should be.
func Decode(v source.Value, into any, tag string) bool {
	d := decoder{tag: tag}
	d.value(v, reflect.ValueOf(into).Elem())
	return !d.wrong
}

type decoder struct {
	tag   string
	wrong bool // a value was of the wrong kind
}

func (d *decoder) refuse(v source.Value, want string) {
	d.wrong = true
	v.Refuse(want)
}

var (
	rawType  = reflect.TypeFor[json.Unmarshaler]()
	textType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (d *decoder) value(v source.Value, to reflect.Value) {
	switch {
	case v.Kind == source.Null:
		if v.Meant != "" {
			d.refuse(v, v.Meant)
		}
		return
	case to.Kind() == reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.value(v, to.Elem())
		return
	case to.Kind() == reflect.Interface:
		return
	case to.Addr().Type().Implements(textType):
		if err := to.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(v.Text)); err != nil {
			d.refuse(v, "want a "+strings.ToLower(to.Type().Name())+" such as 30d")
		}
		return
	case to.Addr().Type().Implements(rawType):
		return
	}
	switch to.Kind() {
	case reflect.Struct:
		d.table(v, to)
	case reflect.Map:
		d.entries(v, to)
	case reflect.Slice:
		d.list(v, to)
	default:
		d.scalar(v, to)
	}
}

// scalar reads a text, number or boolean. A number or boolean is a text where
// one is wanted, as it is in Kubernetes' YAML.
func (d *decoder) scalar(v source.Value, to reflect.Value) {
	switch to.Kind() {
	case reflect.String:
		if v.Kind == source.List || v.Kind == source.Table {
			d.refuse(v, "want a text")
			return
		}
		to.SetString(v.Text)
	case reflect.Bool:
		if v.Kind != source.Boolean {
			d.refuse(v, "want true or false")
			return
		}
		to.SetBool(v.Text == "true")
	case reflect.Float64:
		x, err := strconv.ParseFloat(v.Text, 64)
		if v.Kind != source.Number || err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			d.refuse(v, "want a number")
			return
		}
		to.SetFloat(x)
	default: // the integers; no format has others
		n, err := strconv.ParseInt(v.Text, 10, to.Type().Bits())
		if v.Kind != source.Number || err != nil {
			d.refuse(v, "want a whole number")
			return
		}
		to.SetInt(n)
	}
}

func (d *decoder) table(v source.Value, to reflect.Value) {
	if v.Kind == source.Table && len(v.Fields) == 0 {
		return
	}
	names, fields := d.fields(to)
	known, ok := v.Keys("want a map", names)
	d.wrong = d.wrong || !ok
	for _, name := range names {
		if v, ok := known[name]; ok {
			d.value(v, fields[name])
		}
	}
}

// fields returns the keys of a struct in its order, and where they go. A field
// hides one of the same name in an embedded struct.
func (d *decoder) fields(s reflect.Value) (names []string, fields map[string]reflect.Value) {
	fields = map[string]reflect.Value{}
	var inline []reflect.Value
	for i := range s.NumField() {
		field := s.Type().Field(i)
		name, option, _ := strings.Cut(field.Tag.Get(d.tag), ",")
		switch {
		case name == "-" || !field.IsExported() && !field.Anonymous:
			continue
		case option == "inline" || field.Anonymous && name == "":
			inline = append(inline, s.Field(i))
			continue
		case name == "" && d.tag == "yaml":
			name = strings.ToLower(field.Name) // as the YAML libraries do
		case name == "":
			name = field.Name
		}
		names = append(names, name)
		fields[name] = s.Field(i)
	}
	for _, s := range inline {
		more, at := d.fields(s)
		for _, name := range more {
			if _, hidden := fields[name]; !hidden {
				names = append(names, name)
				fields[name] = at[name]
			}
		}
	}
	return names, fields
}

func (d *decoder) entries(v source.Value, to reflect.Value) {
	if v.Kind == source.Table && len(v.Fields) == 0 {
		return
	}
	entries, ok := v.Entries("want a map")
	d.wrong = d.wrong || !ok
	to.Set(reflect.MakeMapWithSize(to.Type(), len(entries)))
	for _, e := range entries {
		item := reflect.New(to.Type().Elem()).Elem()
		d.value(e.Value, item)
		to.SetMapIndex(reflect.ValueOf(e.Key), item)
	}
}

// list reads a list; a list of texts with a type of its own may be one text.
func (d *decoder) list(v source.Value, to reflect.Value) {
	if v.Kind == source.List && len(v.Items) == 0 {
		return
	}
	var items []source.Value
	if v.Kind != source.List && to.Type().Name() != "" {
		items = []source.Value{v}
	} else {
		var ok bool
		items, ok = v.Elements("want a list")
		d.wrong = d.wrong || !ok
	}
	to.Set(reflect.MakeSlice(to.Type(), len(items), len(items)))
	for i, item := range items {
		d.value(item, to.Index(i))
	}
}

// At returns the value below v that keys and indices lead to. Of a key that is
// not there it returns the place where it is missed; see Lacks. Where there is a
// misspelling of it, which Decode has reported, nothing more is reported.
func At(v source.Value, steps ...any) source.Value {
	for _, step := range steps {
		switch step := step.(type) {
		case string:
			v = field(v, step)
		case int:
			v = source.Value{Node: v.Items[step], Path: v.Path + "[" + strconv.Itoa(step) + "]", Faults: v.Faults}
		}
	}
	return v
}

func field(v source.Value, key string) source.Value {
	out := source.Value{Path: source.Join(v.Path, key), Faults: v.Faults}
	for _, f := range v.Fields {
		if f.Key == key {
			out.Node = f.Value
			return out
		}
	}
	out.Node = &source.Node{Pos: v.Pos}
	if !v.Lacks(key, []string{key}) {
		out.Faults = &source.Collector{}
	}
	return out
}

// Lacks reports a value that is not there, is null or is blank, and whether it
// did.
func Lacks(v source.Value, want string) bool {
	switch {
	case v.Kind == source.Null && v.Meant == "":
		v.Fault("is missing", want)
	case v.Kind == source.Null, v.Kind == source.Text && strings.TrimSpace(v.Text) == "":
		v.Refuse(want)
	default:
		return false
	}
	return true
}

// Unknown reports that the key of a document that says what it is says nothing
// that is known.
func Unknown(doc source.Value, key, want string) {
	v := At(doc, key)
	v.Faults = doc.Faults // no Decode has reported a misspelling of the key
	if !Lacks(v, want) {
		v.Refuse(want)
	}
}

// Holds reports whether a table has a key with a value. One that only has keys
// unknown to Decode, which has reported them, holds something too.
func Holds(v source.Value) bool {
	return slices.ContainsFunc(v.Fields, func(f source.Field) bool { return f.Value.Kind != source.Null })
}
