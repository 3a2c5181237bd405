// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of pegasus-ops: one file a command, its flags
// and its help, and nothing a library would want.
//
// A command is an options struct with AddFlags, a constructor that gives the
// cobra command with a long help, and a method run… of [App] that does the work
// and can be called by a test without a terminal, a network or a process.
//
// [Main] maps errors to exit statuses in one place, exit.go.
package cli
