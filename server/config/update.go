// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
)

// Watch calls fn with the new value each time the key behind field is changed at run time.
// field points into c, as in Watch(c, &c.NFS.MaxCopyRate, fn); a field that no mutable key
// fills is a mistake of the program and panics. Calls are made one at a time, from the goroutine
// that called Update, before Update returns; fn must be quick and must not call back into c.
func Watch[T any](c *Config, field *T, fn func(T)) {
	i := slices.IndexFunc(c.keys, func(k *Key) bool { return k.field == any(field) })
	if i < 0 || !c.keys[i].Mutable {
		panic(fmt.Sprintf("config: no mutable key fills %T at %p", field, field))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[i]
	c.watchers[k] = append(c.watchers[k], func(v any) { fn(v.(T)) })
}

// Update changes a mutable key of this process until it ends. The error says in Pegasus's words
// why it cannot be: the key is unknown or not mutable, the value is not valid alone or beside
// the others, or nothing in this process would heed the change.
func (c *Config) Update(name, value string) error {
	k := c.byName[name]
	if k == nil {
		return fmt.Errorf("ERR_OBJECT_NOT_FOUND: %s is not found%s", name, hint(suggest(name, c.Names())))
	}
	if !k.Mutable {
		return fmt.Errorf("ERR_INVALID_PARAMETERS: %s is not mutable", name)
	}
	v, err := k.check(value)
	if err != nil {
		return fmt.Errorf("ERR_INVALID_PARAMETERS: %s is invalid: %w", value, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watchers[k]) == 0 {
		return fmt.Errorf("ERR_INVALID_PARAMETERS: %s is not used by this process, or at its start only; nothing is changed", name)
	}
	trial := New()
	for i, have := range c.keys {
		t := trial.keys[i]
		t.text = have.text
		if have == k {
			t.text = value
		}
		if tv, err := t.parse(t.text); err == nil {
			t.store(tv)
		}
	}
	if errs := trial.groupErrors(); len(errs) > 0 {
		return fmt.Errorf("ERR_INVALID_PARAMETERS: %w", errs)
	}
	k.text = value
	for _, fn := range c.watchers[k] {
		fn(v)
	}
	return nil
}

// Names returns the names of all declared keys, sorted.
func (c *Config) Names() []string {
	names := make([]string, 0, len(c.byName))
	for n := range c.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
