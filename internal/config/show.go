package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// WriteYAML writes the configuration in the order of the manual, in a form
// that Load reads back to the same.
func (c Config) WriteYAML(w io.Writer) error {
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(node(reflect.ValueOf(c.shown()))); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return encoder.Close()
}

// WriteRules writes a section auth that decides by rules, with a remark before each, as
// a file that Load takes.
func WriteRules(w io.Writer, rules []Rule, remarks []string) error {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i, r := range rules {
		one := mapping(reflect.ValueOf(r))
		one.Style, one.HeadComment = yaml.FlowStyle, remarks[i]
		list.Content = append(list.Content, one)
	}
	section := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{textNode("mode"), textNode(string(AuthRules)), textNode("rules"), list}}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{textNode("auth"), section}}); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return encoder.Close()
}

// MarshalJSON writes the keys as in a file; durations and sizes are strings.
func (c Config) MarshalJSON() ([]byte, error) {
	return json.Marshal(export(reflect.ValueOf(c.shown())))
}

// shown is c without what would be an error beside targets.
func (c Config) shown() Config {
	if len(c.Targets) > 0 {
		c.Target.Name, c.Target.Image = "", ""
	}
	return c
}

// Setting is one key, its value and where that comes from.
type Setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"` // string, bool, number or list
	Origin Origin `json:"origin"`

	text string
}

// String is "key = value", the value on one line as YAML has it.
func (s Setting) String() string { return s.Key + " = " + s.text }

// Settings returns every key with its value and origin, in the order of the
// manual.
func (l *Loaded) Settings() ([]Setting, error) {
	var settings []Setting
	value := reflect.ValueOf(l.Config)
	for _, k := range leaves() {
		v := value.FieldByIndex(k.index)
		var text bytes.Buffer
		if err := yaml.NewEncoder(&text).Encode(node(v)); err != nil {
			return nil, fmt.Errorf("write %s: %w", k.path, err)
		}
		settings = append(settings, Setting{
			Key: k.path, Value: export(v), Origin: l.Origins[k.path],
			text: strings.TrimSpace(text.String()),
		})
	}
	return settings, nil
}

// Get returns the value of one key for a script: text as it is, sizes in bytes,
// durations as in a file, lists as JSON. ok is false for what is no key.
func (c Config) Get(path string) (value string, ok bool) {
	k, ok := byPath[path]
	if !ok || k.section() {
		return "", false
	}
	v := reflect.ValueOf(c).FieldByIndex(k.index)
	switch {
	case k.typ == bytesType:
		return strconv.FormatInt(v.Int(), 10), true
	case k.typ.Kind() == reflect.Slice:
		list, err := json.Marshal(export(v))
		return string(list), err == nil
	}
	return fmt.Sprint(export(v)), true
}

// node turns a value into YAML: sections as blocks, lists on one line.
func node(v reflect.Value) *yaml.Node {
	switch v.Kind() {
	case reflect.Struct:
		return mapping(v)
	case reflect.Slice:
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for i := range v.Len() {
			list.Content = append(list.Content, node(v.Index(i)))
		}
		return list
	case reflect.String:
		return textNode(v.String())
	case reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v.Bool())}
	}
	if text, ok := export(v).(string); ok {
		return textNode(text)
	}
	// Untagged: a whole number reads back where a decimal one belongs, too.
	return &yaml.Node{Kind: yaml.ScalarNode, Value: plain(v)}
}

// sparse are the elements of lists, and the section, of which only what they have is
// shown: an empty password is no password, but would read as one.
var sparse = map[reflect.Type]bool{
	reflect.TypeFor[Credential](): true, reflect.TypeFor[Rule](): true, reflect.TypeFor[Honeytoken](): true,
	reflect.TypeFor[Target](): true, reflect.TypeFor[TargetEntry](): true,
}

func empty(v reflect.Value) bool { return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 }

// mapping is a section.
func mapping(v reflect.Value) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		if sparse[v.Type()] && empty(v.Field(i)) {
			continue
		}
		name := v.Type().Field(i).Tag.Get("koanf")
		m.Content = append(m.Content, textNode(name), node(v.Field(i)))
	}
	return m
}

// textNode keeps text on one line and quotes what would read as another type.
func textNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// export turns a value into what encoding/json writes as a file would have it.
func export(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case time.Duration:
		return formatDuration(value)
	case Bytes:
		return value.String()
	}
	switch v.Kind() {
	case reflect.Struct:
		m := map[string]any{}
		for i := range v.NumField() {
			if sparse[v.Type()] && empty(v.Field(i)) {
				continue
			}
			m[v.Type().Field(i).Tag.Get("koanf")] = export(v.Field(i))
		}
		return m
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = export(v.Index(i))
		}
		return list
	default:
		return v.Interface()
	}
}
