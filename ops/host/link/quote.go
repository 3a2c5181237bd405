// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"strings"
)

// plainBytes need no quotes in any shell.
const plainBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:@%,"

// Quote makes of an argument list the line a POSIX shell splits into just these
// arguments again. It is the only place where arguments become a command line.
// An argument with a NUL byte cannot be passed to any program and is an error.
func Quote(args []string) (string, error) {
	var b strings.Builder
	for n, a := range args {
		if strings.IndexByte(a, 0) >= 0 {
			return "", fmt.Errorf("argument %d, %q, holds a NUL byte", n, a)
		}
		if n > 0 {
			b.WriteByte(' ')
		}
		if a != "" && strings.Trim(a, plainBytes) == "" {
			b.WriteString(a)
			continue
		}
		b.WriteByte('\'')
		b.WriteString(strings.ReplaceAll(a, "'", `'\''`))
		b.WriteByte('\'')
	}
	return b.String(), nil
}
