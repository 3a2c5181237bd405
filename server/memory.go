// SPDX-License-Identifier: Apache-2.0

package server

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/config"
)

// machineMemory returns how much memory this process may use: what the machine has, or the
// limit of its control group if that is less. 0 means unknown.
func machineMemory() int64 {
	total := int64(0)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
				kb, _ := strconv.ParseInt(f[1], 10, 64)
				total = kb << 10
			}
		}
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 && (total == 0 || n < total) {
			total = n
		}
	}
	return total
}

// cacheBytes is the block cache a replica server gets: what was configured, but no more than a
// quarter of the machine's memory, because the shipped 10 GB are meant for big machines.
func cacheBytes(configured, machine int64) int64 {
	if machine > 0 {
		return min(configured, machine/4)
	}
	return configured
}

// memtableBytes is what all memtables of a replica server take together: what was configured
// for the process, else what Pegasus gives to one memtable, which is plenty when replicas share
// it.
func memtableBytes(v *config.Server, machine int64) int64 {
	n := v.TotalWriteBuffers
	if n <= 0 {
		n = v.WriteBufferSize
	}
	if machine > 0 {
		n = min(n, machine/16)
	}
	return n
}

// memoryLimit is the soft limit for the Go heap of the process: room for caches and memtables
// with some garbage, and a base for everything else.
func memoryLimit(c *config.Config, apps []config.App, machine int64) int64 {
	const base = 256 << 20
	if c.Core.MemoryLimit != 0 {
		return c.Core.MemoryLimit
	}
	limit := int64(0)
	for _, app := range apps {
		limit += base
		if app.Role == "replica" {
			limit += cacheBytes(c.Server.BlockCacheBytes, machine)*5/4 + 2*memtableBytes(&c.Server, machine)
		}
	}
	if machine > 0 {
		limit = min(limit, machine/10*8)
	}
	return limit
}

// limitMemory sets the garbage collector up, unless the environment does.
func limitMemory(c *config.Config, apps []config.App, log *slog.Logger) {
	machine := machineMemory()
	limit := memoryLimit(c, apps, machine)
	if os.Getenv("GOMEMLIMIT") == "" {
		if limit > 0 {
			debug.SetMemoryLimit(limit)
		} else {
			debug.SetMemoryLimit(math.MaxInt64)
		}
	}
	log.Info("memory", "machine_mb", machine>>20, "limit_mb", debug.SetMemoryLimit(-1)>>20, "gogc", os.Getenv("GOGC"))
}
