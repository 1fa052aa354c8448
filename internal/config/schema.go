package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	bytesType    = reflect.TypeFor[Bytes]()
)

// enums lists what each string type with a fixed set of values allows.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[AuthMode]():    {string(AuthAcceptAll), string(AuthStatic), string(AuthRules), string(AuthDenyAll)},
	reflect.TypeFor[RuleAction]():  actionNames(),
	reflect.TypeFor[Bait]():        {string(BaitOff), string(BaitPlant)},
	reflect.TypeFor[Forward]():     {string(ForwardDeny), string(ForwardSink)},
	reflect.TypeFor[Sticky]():      {string(StickyOff), string(StickySource), string(StickySourceAndCredential)},
	reflect.TypeFor[LoginAs]():     {string(LoginExisting), string(LoginCreate), string(LoginFallback)},
	reflect.TypeFor[Enforcement](): {string(EnforcementRequired), string(EnforcementBestEffort)},
	reflect.TypeFor[LogLevel]():    {string(LogTrace), string(LogDebug), string(LogInfo), string(LogWarn), string(LogError)},
	reflect.TypeFor[LogFormat]():   {string(FormatAuto), string(FormatText), string(FormatJSON), string(FormatJournal)},
}

// key is one configuration key as reflection finds it in Config.
type key struct {
	path  string // "pool.min"
	typ   reflect.Type
	index []int // for reflect.Value.FieldByIndex
}

// section reports whether the key holds further keys instead of a value.
func (k key) section() bool { return k.typ.Kind() == reflect.Struct }

// keys returns the keys of a struct type in the order they are declared,
// sections before what they hold.
func keys(typ reflect.Type, prefix string, index []int) []key {
	var found []key
	for i := range typ.NumField() {
		field := typ.Field(i)
		k := key{path: join(prefix, field.Tag.Get("koanf")), typ: field.Type, index: append(slices.Clone(index), i)}
		found = append(found, k)
		if k.section() {
			found = append(found, keys(field.Type, k.path, k.index)...)
		}
	}
	return found
}

// schema is every key of Config, and byPath the same by name.
var (
	schema = keys(reflect.TypeFor[Config](), "", nil)
	byPath = func() map[string]key {
		m := make(map[string]key, len(schema))
		for _, k := range schema {
			m[k.path] = k
		}
		return m
	}()
)

// leaves returns the keys that hold values.
func leaves() []key {
	return slices.DeleteFunc(slices.Clone(schema), key.section)
}

// Keys returns the path of every key that holds a value, in the order of the
// manual.
func Keys() []string {
	var paths []string
	for _, k := range leaves() {
		paths = append(paths, k.path)
	}
	return paths
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// suggest returns the key that whoever wrote path probably meant, or "". A
// sibling spelt alike wins over the same name in another section.
func suggest(path string, known []key) string {
	if len(path) > maxShown {
		return ""
	}
	parent, name := strings.TrimSuffix(path, lastName(path)), lastName(path)
	best, bestDistance := "", min(3, len(name))
	for _, k := range known {
		if k.path == path {
			continue
		}
		if strings.TrimSuffix(k.path, lastName(k.path)) == parent {
			if d := distance(name, lastName(k.path)); d < bestDistance {
				best, bestDistance = k.path, d
			}
		}
	}
	if best != "" {
		return best
	}
	for _, k := range known {
		if k.path != path && lastName(k.path) == name {
			return k.path
		}
	}
	return ""
}

// distance is the number of single-byte edits between two names (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
