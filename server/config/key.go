// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Type is the type of a key as HTTP /configs names it.
type Type string

// The types of keys.
const (
	Bool   Type = "FV_BOOL"
	Int32  Type = "FV_INT32"
	Uint32 Type = "FV_UINT32"
	Int64  Type = "FV_INT64"
	Uint64 Type = "FV_UINT64"
	Double Type = "FV_DOUBLE"
	String Type = "FV_STRING"
)

// limits returns the values an integer type can hold. Uint64 is cut to what an int64 holds,
// which is enough for every count of bytes.
func (t Type) limits() (lo, hi int64) {
	switch t {
	case Int32:
		return math.MinInt32, math.MaxInt32
	case Uint32:
		return 0, math.MaxUint32
	case Uint64:
		return 0, math.MaxInt64
	}
	return math.MinInt64, math.MaxInt64
}

// A Key is one declared setting.
type Key struct {
	Section string
	Name    string
	Type    Type
	Default string
	Doc     string
	Mutable bool // may be changed while the process runs
	Ignored bool // accepted because Pegasus has it; nothing here depends on it
	Unused  bool // read and checked, and nothing here depends on it
	Secret  bool // its value is never shown

	lo, hi  int64    // range of integer types
	choices []string // allowed values of a string, nil = any
	needed  bool     // an empty value counts as not set

	field any                       // pointer to the field it fills
	parse func(string) (any, error) // text to the field's type
	store func(any)

	text string // present value as text
	line int    // 0 when the file does not set it
}

// Range narrows the allowed values, both ends included.
func (k *Key) Range(lo, hi int64) *Key { k.lo, k.hi = max(k.lo, lo), min(k.hi, hi); return k }

// AtLeast narrows the allowed values from below.
func (k *Key) AtLeast(lo int64) *Key { k.lo = max(k.lo, lo); return k }

// OneOf names the allowed values of a string.
func (k *Key) OneOf(choices ...string) *Key { k.choices = choices; return k }

// Needed says that an empty value counts as not set.
func (k *Key) Needed() *Key { k.needed = true; return k }

// CanChange marks the key as changeable at run time.
func (k *Key) CanChange() *Key { k.Mutable = true; return k }

// Hide marks the value as secret.
func (k *Key) Hide() *Key { k.Secret = true; return k }

// Text returns the present value as config-dump and /configs show it.
func (k *Key) Text() string {
	if k.Secret && k.text != "" {
		return "******"
	}
	return k.text
}

// allowed says in words which values the key takes.
func (k *Key) allowed() string {
	switch k.Type {
	case Bool:
		return "true or false"
	case String:
		if k.choices != nil {
			return "one of " + strings.Join(k.choices, ", ")
		}
		return "any text"
	case Double:
		return "a number"
	}
	if k.hi == math.MaxInt64 {
		return fmt.Sprintf("an integer of at least %d", k.lo)
	}
	return fmt.Sprintf("an integer from %d to %d", k.lo, k.hi)
}

// check turns text into the value of the field.
func (k *Key) check(text string) (any, error) {
	v, err := k.parse(text)
	switch {
	case err == nil:
		return v, nil
	case k.Type == String && k.choices == nil: // err says what is wanted
		return nil, fmt.Errorf("%q is not valid: %v", text, err)
	}
	return nil, fmt.Errorf("%q is not valid (%v): want %s; the default is %q", text, err, k.allowed(), k.Default)
}

func (k *Key) integer(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("no decimal integer")
	}
	if n < k.lo || n > k.hi {
		return 0, fmt.Errorf("out of range")
	}
	return n, nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("no truth value")
}

// A section declares keys, bound to fields of one Config.
type section struct {
	c    *Config
	name string
}

func (s section) add(k *Key) *Key {
	k.Section = s.name
	k.lo, k.hi = k.Type.limits()
	k.text = k.Default
	s.c.keys = append(s.c.keys, k)
	return k
}

func (s section) Bool(p *bool, name string, def bool, doc string) *Key {
	return s.add(&Key{Name: name, Type: Bool, Default: strconv.FormatBool(def), Doc: doc, field: p,
		parse: func(t string) (any, error) { return parseBool(t) },
		store: func(v any) { *p = v.(bool) }})
}

// integer is what a field of a plain number may be.
type integer interface {
	~int | ~int32 | ~int64
}

func declareInt[T integer](s section, p *T, typ Type, name string, def int64, doc string) *Key {
	k := &Key{Name: name, Type: typ, Default: strconv.FormatInt(def, 10), Doc: doc, field: p}
	k.parse = func(t string) (any, error) { n, err := k.integer(t); return T(n), err }
	k.store = func(v any) { *p = v.(T) }
	return s.add(k)
}

func (s section) Int(p *int, typ Type, name string, def int64, doc string) *Key {
	return declareInt(s, p, typ, name, def, doc)
}

func (s section) Int64(p *int64, typ Type, name string, def int64, doc string) *Key {
	return declareInt(s, p, typ, name, def, doc)
}

// Duration declares an integer key that counts units. Values that do not fit a Duration are out
// of range.
func (s section) Duration(p *time.Duration, typ Type, name string, unit time.Duration, def int64, doc string) *Key {
	k := &Key{Name: name, Type: typ, Default: strconv.FormatInt(def, 10), Doc: doc, field: p}
	k.parse = func(t string) (any, error) { n, err := k.integer(t); return time.Duration(n) * unit, err }
	k.store = func(v any) { *p = v.(time.Duration) }
	s.add(k)
	return k.Range(math.MinInt64/int64(unit), math.MaxInt64/int64(unit))
}

func (s section) Float(p *float64, name string, def float64, doc string) *Key {
	return s.add(&Key{Name: name, Type: Double, Default: strconv.FormatFloat(def, 'f', 2, 64), Doc: doc, field: p,
		parse: func(t string) (any, error) {
			f, err := strconv.ParseFloat(t, 64)
			if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, fmt.Errorf("no number")
			}
			return f, nil
		},
		store: func(v any) { *p = v.(float64) }})
}

func (s section) String(p *string, name, def, doc string) *Key {
	k := &Key{Name: name, Type: String, Default: def, Doc: doc, field: p}
	k.parse = func(t string) (any, error) {
		if k.choices != nil && !slices.Contains(k.choices, t) {
			return nil, fmt.Errorf("unknown")
		}
		return t, nil
	}
	k.store = func(v any) { *p = v.(string) }
	return s.add(k)
}

// List declares a comma-separated list.
func (s section) List(p *[]string, name, def, doc string) *Key {
	return s.add(&Key{Name: name, Type: String, Default: def, Doc: doc, field: p,
		parse: func(t string) (any, error) { return splitList(t), nil },
		store: func(v any) { *p = v.([]string) }})
}

// declareCustom declares a string key whose text a function turns into a value.
func declareCustom[T any](s section, p *T, name, def, doc string, parse func(string) (T, error)) *Key {
	return s.add(&Key{Name: name, Type: String, Default: def, Doc: doc, field: p,
		parse: func(t string) (any, error) { return parse(t) },
		store: func(v any) { *p = v.(T) }})
}

// Ignore declares a key that Pegasus has and this server does not need. Its value is still
// checked against the type, so that it can be shown.
func (s section) Ignore(typ Type, name, def, doc string) *Key {
	k := &Key{Name: name, Type: typ, Default: def, Doc: doc, Ignored: true, store: func(any) {}}
	k.parse = func(t string) (any, error) {
		switch typ {
		case Bool:
			return parseBool(t)
		case Double:
			return strconv.ParseFloat(t, 64)
		case String:
			return t, nil
		}
		return k.integer(t)
	}
	return s.add(k)
}

// Log levels, as config.ini spells them after LOG_LEVEL_. Fatal is above every level that
// slog itself has.
const LevelFatal = slog.LevelError + 4

var levelNames = map[string]slog.Level{
	"DEBUG":   slog.LevelDebug,
	"INFO":    slog.LevelInfo,
	"WARNING": slog.LevelWarn,
	"ERROR":   slog.LevelError,
	"FATAL":   LevelFatal,
}

// ParseLevel reads LOG_LEVEL_DEBUG, _INFO, _WARNING, _ERROR or _FATAL; the prefix may be left
// out.
func ParseLevel(s string) (slog.Level, error) {
	if l, ok := levelNames[strings.TrimPrefix(s, "LOG_LEVEL_")]; ok {
		return l, nil
	}
	return 0, fmt.Errorf("want LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR or LOG_LEVEL_FATAL")
}

// LevelName is the inverse of ParseLevel, with the prefix.
func LevelName(l slog.Level) string {
	for name, level := range levelNames {
		if level == l {
			return "LOG_LEVEL_" + name
		}
	}
	return l.String()
}
