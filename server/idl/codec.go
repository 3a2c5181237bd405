// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"unsafe"
)

// This file is what the generated code calls. Every decode function reads from the front of b
// and returns what follows; none reads past the end, and none allocates more than a small
// multiple of what the bytes in hand can stand for.

// maxSkipDepth bounds how deep an unknown field may be nested. Known fields need no bound:
// the generator refuses recursive structs.
const maxSkipDepth = 32

// A list may take listFactor bytes of memory for each byte left in the message, and listFree
// beyond that. The factor is several times what real messages need; without it a megabyte of
// STOP bytes would pass for a million structs.
const (
	listFactor = 32
	listFree   = 64 << 10
)

// A DecodeError says where in a struct the bytes stopped making sense.
type DecodeError struct {
	Struct string // name in the IDL
	Field  string // name in the IDL; empty for an unknown field or a broken field header
	ID     int16  // of the field
	Err    error
}

// Error returns the place and the reason, as in "put_request.key: idl: truncated value".
func (e *DecodeError) Error() string {
	switch {
	case e.Field != "":
		return e.Struct + "." + e.Field + ": " + e.Err.Error()
	case e.ID != 0:
		return fmt.Sprintf("%s: unknown field %d: %v", e.Struct, e.ID, e.Err)
	}
	return e.Struct + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *DecodeError) Unwrap() error { return e.Err }

// decodeField reads a field header. At the end of a struct typ is TypeStop and there is no id.
func decodeField(b []byte) (typ byte, id int16, rest []byte, err error) {
	if len(b) > 0 && b[0] == TypeStop {
		return TypeStop, 0, b[1:], nil
	}
	if len(b) < 3 {
		return 0, 0, nil, ErrTruncated
	}
	return b[0], int16(binary.BigEndian.Uint16(b[1:])), b[3:], nil
}

func checkType(got, want byte) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("idl: wire type %d where %d is expected", got, want)
}

func decodeBool(b []byte, v *bool) ([]byte, error) {
	if len(b) < 1 {
		return nil, ErrTruncated
	}
	*v = b[0] != 0
	return b[1:], nil
}

func decodeI32(b []byte, v *int32) ([]byte, error) {
	if len(b) < 4 {
		return nil, ErrTruncated
	}
	*v = int32(binary.BigEndian.Uint32(b))
	return b[4:], nil
}

func decodeI64(b []byte, v *int64) ([]byte, error) {
	if len(b) < 8 {
		return nil, ErrTruncated
	}
	*v = int64(binary.BigEndian.Uint64(b))
	return b[8:], nil
}

func decodeBlob(b []byte, v *[]byte) (rest []byte, err error) {
	*v, rest, err = DecodeBlob(b)
	return rest, err
}

func decodeString(b []byte, v *string) ([]byte, error) {
	s, rest, err := DecodeBlob(b)
	*v = string(s)
	return rest, err
}

// decodeList reads the header of a list or set and makes room for its elements, each of which
// takes at least minSize bytes. An empty list stays nil unless keepEmpty.
func decodeList[T any](b []byte, elem byte, minSize int, list *[]T, keepEmpty bool) ([]byte, error) {
	*list = nil
	if len(b) < 5 {
		return nil, ErrTruncated
	}
	got, n := b[0], int(int32(binary.BigEndian.Uint32(b[1:])))
	b = b[5:]
	if n == 0 {
		if keepEmpty {
			*list = []T{}
		}
		return b, nil
	}
	if err := checkType(got, elem); err != nil {
		return nil, err
	}
	if n < 0 || n > len(b)/minSize {
		return nil, ErrTruncated
	}
	var zero T
	if size := n * int(unsafe.Sizeof(zero)); size > listFree && size > listFactor*len(b) {
		return nil, fmt.Errorf("idl: list of %d elements in %d bytes", n, len(b))
	}
	*list = make([]T, n)
	return b, nil
}

// decodeMap reads the header of a map, each entry of which takes at least minSize bytes, and
// returns the number of entries. An empty map stays nil unless keepEmpty.
func decodeMap[K comparable, V any](b []byte, key, elem byte, minSize int, m *map[K]V, keepEmpty bool) (n int, rest []byte, err error) {
	*m = nil
	if len(b) < 6 {
		return 0, nil, ErrTruncated
	}
	gotKey, gotElem, n := b[0], b[1], int(int32(binary.BigEndian.Uint32(b[2:])))
	b = b[6:]
	if n == 0 {
		if keepEmpty {
			*m = map[K]V{}
		}
		return 0, b, nil
	}
	if err := cmp.Or(checkType(gotKey, key), checkType(gotElem, elem)); err != nil {
		return 0, nil, err
	}
	if n < 0 || n > len(b)/minSize {
		return 0, nil, ErrTruncated
	}
	*m = make(map[K]V, min(n, 64))
	return n, b, nil
}

// skip passes over a value of an unknown field. A field of type TypeStruct is taken for a
// regular thrift struct. A Pegasus base type announces itself the same way and cannot be told
// apart, so a base-type field that the IDL does not know ends in an error or, worse, in garbage:
// the IDL must list every base-type field a peer may send, even those nobody reads.
func skip(b []byte, typ byte, depth int) ([]byte, error) {
	if n := fixedSize(typ); n > 0 {
		return drop(b, n)
	}
	if depth == 0 {
		return nil, fmt.Errorf("idl: nested deeper than %d levels", maxSkipDepth)
	}
	switch typ {
	case TypeString:
		_, rest, err := DecodeBlob(b)
		return rest, err
	case TypeStruct:
		for {
			typ, _, rest, err := decodeField(b)
			if err != nil || typ == TypeStop {
				return rest, err
			}
			if b, err = skip(rest, typ, depth-1); err != nil {
				return nil, err
			}
		}
	case TypeList, TypeSet:
		if len(b) < 5 {
			return nil, ErrTruncated
		}
		return skipElems(b[5:], int32(binary.BigEndian.Uint32(b[1:])), depth-1, b[0])
	case TypeMap:
		if len(b) < 6 {
			return nil, ErrTruncated
		}
		return skipElems(b[6:], int32(binary.BigEndian.Uint32(b[2:])), depth-1, b[0], b[1])
	}
	return nil, fmt.Errorf("idl: unknown wire type %d", typ)
}

// skipElems passes over n times the given types.
func skipElems(b []byte, n int32, depth int, types ...byte) (_ []byte, err error) {
	if n < 0 {
		return nil, ErrTruncated
	}
	for ; n > 0; n-- {
		for _, typ := range types {
			if b, err = skip(b, typ, depth); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// fixedSize is the size of the types that have one, 0 for the others.
func fixedSize(typ byte) int {
	switch typ {
	case TypeBool, TypeByte:
		return 1
	case TypeI16:
		return 2
	case TypeI32:
		return 4
	case TypeI64, TypeDouble:
		return 8
	}
	return 0
}

func drop(b []byte, n int) ([]byte, error) {
	if len(b) < n {
		return nil, ErrTruncated
	}
	return b[n:], nil
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendList(b []byte, elem byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(b, elem), uint32(n))
}

func appendMap(b []byte, key, elem byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(b, key, elem), uint32(n))
}

// sortedKeys makes encodings repeatable; the C++ side sorts its maps the same way.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

func sortedKeysFunc[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}
