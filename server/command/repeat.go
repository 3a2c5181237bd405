// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strconv"
	"time"
)

// maxRepeats is how many repeats may run at a time; each holds a worker of the pool.
const maxRepeats = 2

// repeat executes a command again and again until the count is reached or the server stops.
// What the command says each time goes to the log: whoever asked has long stopped waiting.
func (r *Registry) repeat(args []string) string {
	if len(args) < 3 {
		return "insufficient arguments"
	}
	interval, err := strconv.Atoi(args[0])
	if err != nil || interval <= 0 || interval > 86400 {
		return "invalid interval argument"
	}
	count, err := strconv.Atoi(args[1])
	if err != nil || count < 0 {
		return "invalid max count"
	}
	name, rest := args[2], args[3:]
	r.mu.RLock()
	c := r.byName[name]
	r.mu.RUnlock()
	switch {
	case c == nil:
		return "unknown command '" + name + "'"
	case c.Names[0] == "repeat":
		return "ERR: repeat cannot be repeated"
	}
	select {
	case r.repeats <- struct{}{}:
	default:
		return "ERR: " + strconv.Itoa(maxRepeats) + " repeats are running already, wait for one to end"
	}
	defer func() { <-r.repeats }()
	tick := time.NewTicker(time.Duration(interval) * time.Second)
	defer tick.Stop()
	for i := 1; ; i++ {
		r.log().Info("repeated command", "command", name, "args", rest, "round", i, "result", r.Execute(name, rest))
		if i == count {
			return "repeat command completed"
		}
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return "repeat command stopped: the server is shutting down"
		}
	}
}
