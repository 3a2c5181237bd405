// SPDX-License-Identifier: Apache-2.0

// Package config reads config.ini, the one file that all three roles of a Pegasus server share.
//
// The work is done in two layers that know nothing of each other's subject:
//
//   - [Parse] turns text into a [File]: sections, keys, raw values, line numbers, and section
//     inheritance. It knows the grammar, which has its own ideas about comments and quoting,
//     and no key.
//   - [Load] reads a File into a [Config]: Go structs, one per section, with typed and checked
//     fields. Every key is declared exactly once, in a file keys_*.go, together with its type,
//     default, range, description and the field it fills. The declarations also feed the
//     config-dump command, the HTTP pages /configs and /config, and the reference in the docs.
//
// A new key is one line in keys_*.go and one field in a struct beside it.
//
// Mistakes are collected, not thrown one at a time: the error of Load is an [Errors] with every
// mistake of the file, its line, what was found, what would be right and what to do. What is
// only odd (a key nobody knows, a key set twice) becomes a warning in [Config.Warnings].
//
// The fields of a Config hold what the process started with and never change. Keys declared
// mutable can be changed by [Config.Update] while the process runs; whoever wants the new value
// subscribes with [Watch]. Changes are gone after a restart, as in Pegasus.
//
// The package opens no socket, resolves no name and creates no directory.
package config
