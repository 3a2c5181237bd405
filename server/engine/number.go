// SPDX-License-Identifier: Apache-2.0

package engine

import "math"

// parseInt reads an integer as C's strtoll does with base 0 when it must consume all of b:
// leading white space, one sign, then 0x hexadecimal, 0 octal or decimal digits. Values outside
// int64 and anything behind the digits are not numbers. INCR and the integer checks use it,
// because values written by other clients were read that way.
func parseInt(b []byte) (int64, bool) {
	i := 0
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	neg := false
	if i < len(b) && (b[i] == '+' || b[i] == '-') {
		neg = b[i] == '-'
		i++
	}
	base := uint64(10)
	if i < len(b) && b[i] == '0' {
		base = 8
		if i+2 < len(b) && (b[i+1] == 'x' || b[i+1] == 'X') {
			base = 16
			i += 2
		}
	}
	if i == len(b) {
		return 0, false
	}
	limit := uint64(math.MaxInt64)
	if neg {
		limit++
	}
	var n uint64
	for ; i < len(b); i++ {
		d := digit(b[i])
		if d >= base || n > (limit-d)/base {
			return 0, false
		}
		n = n*base + d
	}
	if neg {
		return -int64(n), true
	}
	return int64(n), true
}

func isSpace(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') }

// digit returns the value of a digit, or 255.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c >= 'a' && c <= 'f':
		return uint64(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return uint64(c-'A') + 10
	}
	return 255
}

// addInt returns a+b and whether it fits.
func addInt(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}
