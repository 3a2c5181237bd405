// SPDX-License-Identifier: Apache-2.0

// Package supervise keeps server processes on hosts. A [Driver] is what does it:
//
//   - daemon: the process runs by itself, in its own session. Nobody starts it
//     again when it dies.
//   - systemd: a unit of the machine. It is started again when it dies and when
//     the machine comes up. Needs root, through sudo.
//   - supervisord: a program of a supervisord that runs already. The same.
//
// All drivers answer alike: a process is known by its pid file, which it writes
// itself at every start whoever started it (see host.Daemon.RunFile), so that
// [Driver.Find] and the labels in it mean the same everywhere. A new driver has
// to pass the conformance test of this package.
package supervise
