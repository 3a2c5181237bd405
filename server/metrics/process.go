// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"os"
	"strconv"
)

// Process adds the memory of this process to the server entity.
func (r *Registry) Process() {
	s := r.Server()
	s.GaugeFunc("virtual_mem_usage_mb", MegaBytes, "The total amount of virtual memory of the process", func() int64 {
		v, _ := memory()
		return v >> 20
	})
	s.GaugeFunc("resident_mem_usage_mb", MegaBytes, "The total amount of physical memory of the process", func() int64 {
		_, res := memory()
		return res >> 20
	})
}

// memory returns the virtual and resident size of this process in bytes, zero where the system
// does not tell.
func memory() (virtual, resident int64) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	v, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	res, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return v * page, res * page
}
