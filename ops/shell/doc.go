// SPDX-License-Identifier: Apache-2.0

// Package shell is the Pegasus shell: a command language for looking at a cluster, managing its
// tables and reading and writing single records. Names, options and output are those of the
// shell that comes with Apache Pegasus 2.6, so that people and scripts find what they know; the
// tables it prints are the same byte for byte.
//
// [Run] executes commands from one of three places: a script given as text (-e), the standard
// input, or a terminal with editing, history and completion. Differences to the original:
//
//   - Results go to the standard output, complaints to the standard error, and Run returns an
//     error if a command failed: a script stops there, input from a pipe goes on to its end.
//   - Servers are printed as addresses, as the protocol carries them. -r, which in the original
//     turns names into addresses, concerns only names that a server prints itself.
//   - Only options that do something are offered.
//
// A command is an entry in the table of commands.go: name, usage and a function. The printing of
// tables (table.go), the splitting of lines (line.go) and of options (flags.go) know nothing of
// Pegasus. Facts about the cluster come from ops/cluster, everything else from server/client.
package shell
