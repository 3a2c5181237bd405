// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Problem is one thing wrong or unwise in an inventory.
type Problem struct {
	Line    int    `json:"line"`
	Field   string `json:"field"`
	Value   string `json:"value,omitempty"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// String is the problem without its file: `12: hosts.n1.address = "::1": ...`.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d: ", p.Line)
	}
	if p.Field != "" {
		b.WriteString(p.Field)
		if p.Value != "" {
			fmt.Fprintf(&b, " = %s", p.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Fix != "" {
		b.WriteString("; ")
		b.WriteString(p.Fix)
	}
	return b.String()
}

// Problems is the error of an invalid inventory: everything wrong with it.
type Problems struct {
	File string
	List []Problem
}

// Error lists the problems, one a line, each as file:line: field = value: what; fix.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		lines[i] = At(p.File, problem)
	}
	return strings.Join(lines, "\n")
}

// At writes a problem the way compilers do, so that editors jump to it.
func At(file string, p Problem) string {
	if p.Line > 0 {
		return fmt.Sprintf("%s:%s", filepath.ToSlash(file), p)
	}
	return fmt.Sprintf("%s: %s", filepath.ToSlash(file), p)
}

func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int { return a.Line - b.Line })
}

// closest is the candidate an operator most likely meant, or "".
func closest(word string, candidates []string) string {
	best, bestDistance := "", len(word)/3+2
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance: edits and swaps of neighbours.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
