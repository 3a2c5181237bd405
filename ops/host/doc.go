// SPDX-License-Identifier: Apache-2.0

// Package host is one machine as pegasus-ops sees it: commands to run, files to
// put and get, server processes to start, find and stop.
//
// [Host] is the whole of it. [Local] is this machine, for clusters with
// `connection: local`; [SSH] is one reached over ssh, by the connections of
// package link. An [Opener] makes them from the inventory. Everything above takes a
// Host and does not know which kind it has: the conformance test runs on all.
//
// Three rules hold for every implementation:
//
//   - Commands are argument lists. No shell looks at them, so no name or path can
//     be misread as syntax.
//   - A file appears under its name whole and durable, or not at all: it is
//     written beside, synced, renamed, and the folder is synced.
//   - A process is known by more than its number. The pid file carries when and
//     in which boot the process started, so that a number used again by another
//     program is never signalled.
//
// On hosts nothing is needed but a POSIX shell, tar, gzip or zstd, sha256sum and
// setsid. Scripts take values as arguments, never in their text; small files go
// over sftp; packages are described at [SSH.Unpack].
//
// What to put where, and what may be removed, is decided in packages plan and
// step; RemoveTree here is the last guard, which no caller can talk past.
package host
