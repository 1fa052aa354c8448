package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
)

// EnvironmentPrefix starts the name of every variable that sets a key;
// SANDTRAP_POOL__MIN sets pool.min.
const EnvironmentPrefix = "SANDTRAP_"

// LoadOptions says where a configuration comes from.
type LoadOptions struct {
	// Path is the main file; its drop-ins are in conf.d beside it. Empty means
	// DefaultPath, which may be missing; a path that is named may not.
	Path string
	// Environ is the environment as os.Environ gives it.
	Environ []string
	// Overrides holds values from the command line by the path of their key.
	Overrides map[string]string

	defaultPath string // instead of DefaultPath, in tests
}

// Loaded is a checked configuration and how it came about.
type Loaded struct {
	Config Config
	// Files lists what was read, main file first.
	Files []string
	// Origins has an entry for every path in Keys.
	Origins map[string]Origin
}

// Load reads all layers and checks the result. Whatever is wrong in any of them
// comes back as Problems, one line each.
func Load(o LoadOptions) (*Loaded, error) {
	first := newLoader()
	first.read(o)
	// Only now it is known which persona lies beneath.
	name, origin := first.merged.String(personaKey), first.origins[personaKey]
	l := newLoader()
	l.add(personaLayer(name, origin))
	l.take(first)
	return l.finish()
}

// take puts the layers of another loader over the ones before.
func (l *loader) take(other *loader) {
	problems := slices.Concat(l.problems, other.problems)
	for _, from := range other.layers {
		l.add(from)
	}
	l.problems, l.files, l.sources = problems, other.files, other.sources
}

// read takes all layers above the persona.
func (l *loader) read(o LoadOptions) {
	l.readFiles(o)
	l.addStateDirectory(o.Environ)
	l.addEnvironment(o.Environ)
	l.addOverrides(o.Overrides)
}

// loader gathers layers in koanf and remembers who set what.
type loader struct {
	merged   *koanf.Koanf
	layers   []*layer // in the order in which they were added
	files    []string
	origins  map[string]Origin // leaves and elements, of the winning layer
	problems Problems
	sources  []string // Origin.Name in the order read, to sort problems
}

func newLoader() *loader {
	l := &loader{merged: koanf.New("."), origins: map[string]Origin{}}
	// Neither provider can fail: both hand over maps that exist already.
	_ = l.merged.Load(structs.Provider(Default(), "koanf"), nil)
	for _, path := range Keys() {
		l.origins[path] = Origin{Kind: FromDefault}
	}
	return l
}

// add puts a layer over the ones before.
func (l *loader) add(from *layer) {
	l.layers = append(l.layers, from)
	l.problems = append(l.problems, from.problems...)
	for path := range from.values {
		maps.DeleteFunc(l.origins, func(old string, _ Origin) bool {
			return strings.HasPrefix(old, path+"[")
		})
	}
	maps.Copy(l.origins, from.origins)
	_ = l.merged.Load(confmap.Provider(from.values, "."), nil)
}

func (l *loader) readFiles(o LoadOptions) {
	path := o.Path
	if path == "" {
		path = DefaultPath
		if o.defaultPath != "" {
			path = o.defaultPath
		}
	}
	data, err := readFile(path)
	if err == nil {
		l.addFile(path, data)
	} else if o.Path != "" || !errors.Is(err, fs.ErrNotExist) {
		l.problems = append(l.problems, readProblem(path, err))
	}
	more, err := dropIns(path)
	var problems Problems
	if errors.As(err, &problems) {
		l.problems = append(l.problems, problems...)
	}
	for _, path := range more {
		data, err := readFile(path)
		if err != nil {
			l.problems = append(l.problems, readProblem(path, err))
			continue
		}
		l.addFile(path, data)
	}
}

// addFile takes the content of one file.
func (l *loader) addFile(name string, data []byte) {
	l.files = append(l.files, name)
	l.sources = append(l.sources, name)
	root, problem := parseYAML(name, data)
	if problem != nil {
		l.problems = append(l.problems, *problem)
		return
	}
	l.add(readTree(name, root))
}

// addStateDirectory lets systemd's StateDirectory= replace the built-in
// default, see systemd.exec(5); whoever sets the key has the last word.
func (l *loader) addStateDirectory(environ []string) {
	const name, path = "STATE_DIRECTORY", "state_dir"
	for _, variable := range environ {
		value, ok := strings.CutPrefix(variable, name+"=")
		if !ok || value == "" || l.origins[path].Kind != FromDefault {
			continue
		}
		first, _, _ := strings.Cut(value, ":")
		from := newLayer()
		from.values[path] = first
		from.origins[path] = Origin{Kind: FromEnvironment, Name: name}
		l.add(from)
	}
}

// addEnvironment takes SANDTRAP_SECTION__KEY variables.
func (l *loader) addEnvironment(environ []string) {
	from := newLayer()
	provider := env.Provider("", env.Opt{
		Prefix:      EnvironmentPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, text string) (string, any) {
			path := strings.TrimPrefix(name, EnvironmentPrefix)
			path = strings.ReplaceAll(strings.ToLower(path), "__", ".")
			value, ok := from.fromText(Origin{Kind: FromEnvironment, Name: showKey(name)}, path, text)
			if !ok {
				return "", nil
			}
			return path, value
		},
	})
	values, err := provider.Read()
	if err != nil {
		from.problems = append(from.problems, Problem{Origin: Origin{Kind: FromEnvironment, Name: EnvironmentPrefix + "*"}, Message: err.Error()})
	}
	from.values = values
	l.add(from)
}

// addOverrides takes values from the command line.
func (l *loader) addOverrides(overrides map[string]string) {
	from := newLayer()
	for _, path := range slices.Sorted(maps.Keys(overrides)) {
		if value, ok := from.fromText(Origin{Kind: FromFlag}, path, overrides[path]); ok {
			from.values[path] = value
		}
	}
	l.add(from)
}

// fromText reads the text of one variable or flag, notes where it is from, and
// reports whether it is any good.
func (from *layer) fromText(origin Origin, path, text string) (any, bool) {
	blame := func(message string) (any, bool) {
		from.problems = append(from.problems, Problem{Origin: origin, Key: showKey(path), Message: message})
		return nil, false
	}
	k, ok := byPath[path]
	if !ok {
		if guess := suggest(path, schema); guess != "" {
			return blame(fmt.Sprintf("unknown key (did you mean %s?)", guess))
		}
		return blame("unknown key")
	}
	if k.section() {
		return blame("is a section, name a key in it")
	}
	value, err := parseText(k.typ, text)
	if err != nil {
		return blame(err.Error())
	}
	from.origins[path] = origin
	return value, true
}

// finish checks what the layers add up to.
func (l *loader) finish() (*Loaded, error) {
	var config Config
	err := l.merged.UnmarshalWithConf("", &config, koanf.UnmarshalConf{
		Tag:           "koanf",
		DecoderConfig: &mapstructure.DecoderConfig{ErrorUnused: true},
	})
	if err != nil {
		// The layers are typed by now, so this is a fault of this package.
		return nil, fmt.Errorf("assemble configuration: %w", err)
	}
	c := checker{origins: l.origins, known: l.problems}
	c.check(config)
	if problems := c.known; len(problems) > 0 {
		slices.SortStableFunc(problems, l.order)
		return nil, problems
	}
	loaded := &Loaded{Config: config, Files: l.files, Origins: map[string]Origin{}}
	for _, path := range Keys() {
		loaded.Origins[path] = l.origins[path]
	}
	return loaded, nil
}

// order sorts problems as a reader works through them: file by file and line
// by line, then the environment and the command line.
func (l *loader) order(a, b Problem) int {
	rank := func(o Origin) int {
		if o.Kind == FromFile {
			return slices.Index(l.sources, o.Name)
		}
		return len(l.sources)
	}
	if d := rank(a.Origin) - rank(b.Origin); d != 0 {
		return d
	}
	return a.Origin.Line - b.Origin.Line
}

// Take gives a configuration the values that another has of some keys. Of others it
// touches nothing, not even to write what is there.
func Take(into *Config, from Config, paths []string) {
	for _, path := range paths {
		k := byPath[path]
		reflect.ValueOf(into).Elem().FieldByIndex(k.index).Set(reflect.ValueOf(from).FieldByIndex(k.index))
	}
}

// Diff returns the paths of the keys whose values differ, sorted.
func Diff(before, after Config) []string {
	var changed []string
	a, b := reflect.ValueOf(before), reflect.ValueOf(after)
	for _, k := range leaves() {
		x, y := a.FieldByIndex(k.index), b.FieldByIndex(k.index)
		if k.typ.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
			continue // nil and empty mean the same
		}
		if !reflect.DeepEqual(x.Interface(), y.Interface()) {
			changed = append(changed, k.path)
		}
	}
	slices.Sort(changed)
	return changed
}
