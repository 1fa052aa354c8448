package config

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	noAnchors = "YAML anchors and aliases are not supported, write the value out"

	// maxProblems ends the reading of a file that is something else entirely.
	maxProblems = 50
)

// layer is what one source sets: values by the path of their key, and the
// origin of each value and of each element in it ("auth.credentials[0].user").
type layer struct {
	values   map[string]any
	origins  map[string]Origin
	problems Problems
}

func newLayer() *layer {
	return &layer{values: map[string]any{}, origins: map[string]Origin{}}
}

// tree reads a YAML tree beside the type it is meant to fill. It decodes
// nothing blindly: each node is either checked and taken, or blamed by line.
type tree struct {
	*layer
	file string
}

// readTree checks the root of a file against Config.
func readTree(file string, root *yaml.Node) *layer {
	t := tree{layer: newLayer(), file: file}
	if root == nil || !t.usable(root, "") {
		return t.layer
	}
	if root.Kind != yaml.MappingNode && !isNull(root) {
		t.blame(root, "", "must hold keys with values (key: value)")
		return t.layer
	}
	t.section(root, reflect.TypeFor[Config](), "")
	return t.layer
}

func (t *tree) origin(n *yaml.Node) Origin {
	return Origin{Kind: FromFile, Name: t.file, Line: n.Line}
}

func (t *tree) blame(n *yaml.Node, path, format string, args ...any) {
	t.problems = append(t.problems, Problem{Origin: t.origin(n), Key: path, Message: fmt.Sprintf(format, args...)})
}

// usable blames anchors and aliases, and reports whether n is neither. A few of
// them can stand for gigabytes, and no key here needs one.
func (t *tree) usable(n *yaml.Node, path string) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		t.blame(n, path, noAnchors)
		return false
	}
	return true
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// section reads a mapping whose keys are the fields of typ.
func (t *tree) section(n *yaml.Node, typ reflect.Type, path string) {
	known := map[string]key{}
	fields := keys(typ, path, nil)
	for _, k := range fields {
		known[k.path] = k
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content) && len(t.problems) < maxProblems; i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			t.blame(name, path, "a list or a section cannot be a key")
			continue
		}
		full := join(path, name.Value)
		shown := join(path, showKey(name.Value))
		// A dot in a key must not reach into another section.
		k, ok := known[full]
		if !ok || lastName(k.path) != name.Value {
			t.unknown(name, shown, full, fields)
			continue
		}
		if first, dup := seen[full]; dup {
			t.blame(name, full, "set twice, first on line %d", first)
			continue
		}
		seen[full] = name.Line
		if t.usable(name, full) && t.usable(value, full) {
			t.value(value, k.typ, full)
		}
	}
}

// unknown blames a key that does not exist, with the best guess at what was
// meant.
func (t *tree) unknown(name *yaml.Node, shown, full string, fields []key) {
	if _, inSchema := byPath[full]; inSchema {
		t.blame(name, shown, "unknown key (write it as a section with a key below, without the dot)")
		return
	}
	known := schema
	if strings.Contains(full, "[") {
		known = fields // an element of a list, which the schema does not list
	}
	if guess := suggest(full, known); guess != "" {
		t.blame(name, shown, "unknown key (did you mean %s?)", guess)
		return
	}
	t.blame(name, shown, "unknown key")
}

// value reads the value of one key: a section, a list or a scalar.
func (t *tree) value(n *yaml.Node, typ reflect.Type, path string) {
	switch typ.Kind() {
	case reflect.Struct:
		// A section whose keys are all commented out is empty, not wrong.
		if !isNull(n) && t.shape(n, yaml.MappingNode, typ, path) {
			t.section(n, typ, path)
		}
		return
	case reflect.Slice:
		if !t.shape(n, yaml.SequenceNode, typ, path) {
			return
		}
		before := len(t.problems)
		list := t.list(n, typ.Elem(), path)
		if len(t.problems) == before {
			t.set(n, path, list)
		} else { // it is not taken, and its elements must not be found in place of another's
			maps.DeleteFunc(t.origins, func(old string, _ Origin) bool { return strings.HasPrefix(old, path+"[") })
		}
	default:
		if value, ok := t.scalar(n, typ, path); ok {
			t.set(n, path, value)
		}
	}
}

func (t *tree) set(n *yaml.Node, path string, value any) {
	t.values[path] = value
	t.origins[path] = t.origin(n)
}

// shape blames a node of another kind than the key wants.
func (t *tree) shape(n *yaml.Node, want yaml.Kind, typ reflect.Type, path string) bool {
	tags := map[yaml.Kind]string{yaml.MappingNode: "!!map", yaml.SequenceNode: "!!seq"}
	switch {
	case isNull(n):
		t.blame(n, path, "has no value, want %s", describe(typ))
	case n.Kind != want && n.Kind == yaml.ScalarNode:
		t.blame(n, path, "%q is not %s", clip(n.Value), describe(typ))
	case n.Kind == yaml.MappingNode && want != n.Kind:
		t.blame(n, path, "a section stands where %s belongs", describe(typ))
	case n.Kind == yaml.SequenceNode && want != n.Kind:
		t.blame(n, path, "a list stands where %s belongs", describe(typ))
	case tags[want] != "" && n.ShortTag() != tags[want]:
		t.blame(n, path, "the YAML tag %s is not supported", showKey(n.ShortTag()))
	default:
		return true
	}
	return false
}

// list reads the elements of a list; the result is complete only when it
// blamed nothing.
func (t *tree) list(n *yaml.Node, elem reflect.Type, path string) []any {
	list := []any{}
	for i, node := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if len(t.problems) >= maxProblems || !t.usable(node, at) {
			continue
		}
		t.origins[at] = t.origin(node)
		if elem.Kind() != reflect.Struct {
			if value, ok := t.scalar(node, elem, at); ok {
				list = append(list, value)
			}
			continue
		}
		if !t.shape(node, yaml.MappingNode, elem, at) {
			continue
		}
		t.section(node, elem, at)
		list = append(list, t.take(elem, at))
	}
	return list
}

// take moves what section stored for a list's element out of the values, where
// only keys of Config belong.
func (t *tree) take(elem reflect.Type, at string) map[string]any {
	m := map[string]any{}
	for _, k := range keys(elem, at, nil) {
		if value, ok := t.values[k.path]; ok {
			m[lastName(k.path)] = value
			delete(t.values, k.path)
		}
	}
	return m
}

// scalar reads one value. YAML guesses a type from the spelling; where text is
// wanted the guess must not lose it (010 as a password), so quotes are asked for.
func (t *tree) scalar(n *yaml.Node, typ reflect.Type, path string) (any, bool) {
	if !t.shape(n, yaml.ScalarNode, typ, path) {
		return nil, false
	}
	tag := n.ShortTag()
	isText := typ.Kind() == reflect.String
	takesText := isText || typ == durationType || typ == bytesType
	switch {
	case isText && tag != "!!str":
		t.blame(n, path, "%s is not text, put it in quotes", showKey(n.Value))
		return nil, false
	case !takesText && tag == "!!str" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		t.blame(n, path, "%q is text, want %s (without quotes)", clip(n.Value), describe(typ))
		return nil, false
	}
	value, err := parseScalar(typ, n.Value)
	if err != nil {
		t.blame(n, path, "%s", err)
		return nil, false
	}
	return value, true
}
