// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// A table is printed as text in columns or as JSON, in exactly the layout of the original shell:
// scripts cut these columns. There are two kinds. A grid has titled columns and rows, whose first
// cell is the row's key. A list has one "key : value" a line.
type table struct {
	name    string // printed in brackets above; "" for none
	grid    bool
	columns []column
	rows    [][]string
}

type column struct {
	title string
	right bool
}

// newGrid returns a grid with left-aligned columns.
func newGrid(name string, titles ...string) *table {
	t := &table{name: name, grid: true}
	for _, title := range titles {
		t.columns = append(t.columns, column{title: title})
	}
	return t
}

// addRight adds right-aligned columns.
func (t *table) addRight(titles ...string) {
	for _, title := range titles {
		t.columns = append(t.columns, column{title, true})
	}
}

// newList returns an empty list.
func newList(name string) *table { return &table{name: name} }

// add adds a row, or a key and value. Cells are printed as fmt.Sprint does, floating point
// numbers with two decimals.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if f, ok := c.(float64); ok {
			row[i] = fmt.Sprintf("%.2f", f)
		} else {
			row[i] = fmt.Sprint(c)
		}
	}
	t.rows = append(t.rows, row)
}

// printTables writes several tables: as text each is followed by an empty line, as JSON they are
// members of one object.
func printTables(w io.Writer, asJSON bool, tables ...*table) {
	if asJSON {
		printJSON(w, tables)
		return
	}
	for _, t := range tables {
		t.print(w)
		fmt.Fprintln(w)
	}
}

// printTable writes one table alone.
func printTable(w io.Writer, asJSON bool, t *table) {
	if asJSON {
		printJSON(w, []*table{t})
		return
	}
	t.print(w)
}

func (t *table) print(w io.Writer) {
	var b bytes.Buffer
	if t.name != "" {
		fmt.Fprintf(&b, "[%s]\n", t.name)
	}
	if t.grid {
		t.printGrid(&b)
	} else {
		t.printList(&b)
	}
	w.Write(b.Bytes())
}

// gap stands after a left-aligned and before a right-aligned cell.
const gap = 2

func (t *table) printGrid(b *bytes.Buffer) {
	titles := make([]string, len(t.columns))
	width := make([]int, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
		width[i] = len(c.title)
		for _, row := range t.rows {
			width[i] = max(width[i], len(row[i]))
		}
	}
	for _, row := range append([][]string{titles}, t.rows...) {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]+gap-len(cell))
			if t.columns[i].right {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		b.WriteByte('\n')
	}
}

func (t *table) printList(b *bytes.Buffer) {
	keys, values := 0, 0
	for _, row := range t.rows {
		keys, values = max(keys, len(row[0])), max(values, len(row[1]))
	}
	for _, row := range t.rows {
		fmt.Fprintf(b, "%-*s: %s%s\n", keys+gap, row[0], row[1], strings.Repeat(" ", values-len(row[1])))
	}
}

// printJSON writes tables as nested objects whose values are all strings.
func printJSON(w io.Writer, tables []*table) {
	var b bytes.Buffer
	if len(tables) == 1 && tables[0].name == "" {
		tables[0].json(&b, "")
	} else {
		object(&b, "", len(tables), func(i int, indent string) (string, func()) {
			return tables[i].name, func() { tables[i].json(&b, indent) }
		})
	}
	b.WriteByte('\n')
	w.Write(b.Bytes())
}

func (t *table) json(b *bytes.Buffer, indent string) {
	object(b, indent, len(t.rows), func(i int, indent string) (string, func()) {
		row := t.rows[i]
		if !t.grid {
			return row[0], func() { b.WriteString(quoteJSON(row[1])) }
		}
		return row[0], func() {
			object(b, indent, len(row), func(j int, _ string) (string, func()) {
				return t.columns[j].title, func() { b.WriteString(quoteJSON(row[j])) }
			})
		}
	})
}

// object writes a JSON object of n members, indented by four spaces a level.
func object(b *bytes.Buffer, indent string, n int, member func(i int, indent string) (name string, value func())) {
	if n == 0 {
		b.WriteString("{}")
		return
	}
	inner := indent + "    "
	b.WriteString("{\n")
	for i := range n {
		name, value := member(i, inner)
		b.WriteString(inner + quoteJSON(name) + ": ")
		value()
		if i < n-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString(indent + "}")
}

func quoteJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil { // a string can always be encoded
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}
