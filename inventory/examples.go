// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"embed"
	"fmt"
	"path"
	"strings"
)

//go:embed examples/*.yaml
var examples embed.FS

// Examples are the names of the inventories `init` can start from.
func Examples() []string {
	entries, err := examples.ReadDir("examples")
	if err != nil {
		return nil // the folder is compiled in
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), path.Ext(e.Name()))
	}
	return names
}

// Example is a commented inventory by name.
func Example(name string) ([]byte, error) {
	text, err := examples.ReadFile(path.Join("examples", name+".yaml"))
	if err != nil {
		return nil, fmt.Errorf("there is no inventory template %q; there are %s", name, strings.Join(Examples(), ", "))
	}
	return text, nil
}
