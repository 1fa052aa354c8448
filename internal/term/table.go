package term

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// columnGap is the space between two columns.
const columnGap = "  "

// Column is the heading of a column and the most characters its cells show; 0
// is no limit.
type Column struct {
	Heading string
	Width   int
}

// Table collects rows and prints them in aligned columns, the last one ragged.
// Cells may be hostile: they pass through Clip.
type Table struct {
	columns []Column
	rows    [][]string
}

// NewTable returns a table of the given columns.
func NewTable(columns ...Column) *Table {
	t := &Table{columns: columns}
	headings := make([]string, len(columns))
	for i, c := range columns {
		headings[i] = c.Heading
	}
	t.rows = [][]string{headings}
	return t
}

// Add appends a row, which has a cell for every column.
func (t *Table) Add(cells ...string) {
	row := make([]string, len(t.columns))
	for i, c := range cells {
		row[i] = Clip(c, t.columns[i].Width)
	}
	t.rows = append(t.rows, row)
}

// Print writes the table to w.
func (t *Table) Print(w io.Writer) error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			if i > 0 {
				line.WriteString(columnGap)
			}
			line.WriteString(c)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return fmt.Errorf("print table: %w", err)
		}
	}
	return nil
}
