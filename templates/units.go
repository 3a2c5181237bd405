// SPDX-License-Identifier: Apache-2.0

package templates

import (
	_ "embed"
	"strconv"
	"time"
)

var (
	//go:embed pegasus.service
	systemdText string
	//go:embed pegasus.supervisor.conf
	supervisordText string
)

// Unit is what a supervisor on the host has to know of a server.
type Unit struct {
	Unit   string        // its name there, without a suffix
	Name   string        // for people
	User   string        // who the server runs as
	Run    string        // the script that becomes the server
	Output string        // file that takes what it prints
	Grace  time.Duration // between SIGTERM and SIGKILL
}

func (u Unit) values() map[string]string {
	return map[string]string{"unit": u.Unit, "name": u.Name, "user": u.User, "run": u.Run, "output": u.Output, "grace": strconv.Itoa(max(1, int(u.Grace.Seconds())))}
}

// Systemd is the text of the unit file.
func (u Unit) Systemd() (string, error) { return Render("pegasus.service", systemdText, u.values()) }

// Supervisord is the text of the program's configuration.
func (u Unit) Supervisord() (string, error) {
	return Render("pegasus.supervisor.conf", supervisordText, u.values())
}
