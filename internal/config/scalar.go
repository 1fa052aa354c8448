package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseScalar reads text as a value of typ. The same text means the same in a
// file, in the environment and on the command line. Errors are ready to be
// shown after the key.
func parseScalar(typ reflect.Type, text string) (any, error) {
	switch {
	case typ == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a duration (such as 30s, 2m or 1h30m)", clip(text))
		}
		return d, nil
	case typ == bytesType:
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		return b, nil
	case enums[typ] != nil:
		if !slices.Contains(enums[typ], text) {
			return nil, fmt.Errorf("%q is not one of %s", clip(text), strings.Join(enums[typ], ", "))
		}
		return text, nil
	}
	switch typ.Kind() {
	case reflect.String:
		return text, nil
	case reflect.Bool:
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("%q is neither true nor false", clip(text))
		}
		return text == "true", nil
	case reflect.Float64:
		return parseDecimal(text)
	default:
		return parseWhole(text)
	}
}

// Only one spelling of a number is taken: YAML readers disagree about 010, 0x10
// and 1_000.
var (
	wholeNumber   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	decimalNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
)

func parseWhole(text string) (int64, error) {
	if !wholeNumber.MatchString(text) {
		return 0, fmt.Errorf("%q is not a whole number", clip(text))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is beyond any possible value", clip(text))
	}
	return n, nil
}

func parseDecimal(text string) (float64, error) {
	if !decimalNumber.MatchString(text) {
		return 0, fmt.Errorf("%q is not a number", clip(text))
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is beyond any possible value", clip(text))
	}
	return f, nil
}

// parseText reads the whole value of a key from an environment variable or a
// flag, where a list is comma separated.
func parseText(typ reflect.Type, text string) (any, error) {
	if typ.Kind() != reflect.Slice {
		return parseScalar(typ, text)
	}
	if typ.Elem().Kind() == reflect.Struct {
		return nil, errors.New("can be set in a file only")
	}
	list := []any{}
	if text == "" {
		return list, nil
	}
	for element := range strings.SplitSeq(text, ",") {
		value, err := parseScalar(typ.Elem(), strings.TrimSpace(element))
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

// describe names what a key of type typ wants, for messages about another
// kind of YAML node.
func describe(typ reflect.Type) string {
	switch {
	case typ == durationType:
		return "a duration"
	case typ == bytesType:
		return "a size"
	}
	switch typ.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "a section with keys of its own"
	default:
		return "a whole number"
	}
}

// formatDuration is time.Duration.String without the zero units at the end.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
