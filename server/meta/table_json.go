// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"bytes"
	"encoding/json"
)

// An object is a JSON object with its members in order. The HTTP pages are tables turned into
// objects: every value is text or another object.
type object []member

type member struct {
	key   string
	value any // string or object
}

// add appends a member.
func (o *object) add(key string, value any) { *o = append(*o, member{key, value}) }

// row appends an object of pairs: key, value, key, value.
func row(pairs ...string) object {
	var o object
	for i := 0; i+1 < len(pairs); i += 2 {
		o.add(pairs[i], pairs[i+1])
	}
	return o
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(m.key); err != nil {
			return nil, err
		}
		b.Truncate(b.Len() - 1) // the encoder ends with a line break
		b.WriteByte(':')
		if err := e.Encode(m.value); err != nil {
			return nil, err
		}
		b.Truncate(b.Len() - 1)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// page is the object as one line of text.
func (o object) page() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		panic("meta: an object of text cannot be encoded: " + err.Error())
	}
	return b.Bytes()
}
