// SPDX-License-Identifier: Apache-2.0

// Package inventory reads what the operator wrote about a cluster: one YAML
// file that names the hosts, the servers on them, their directories and the
// tables to create.
//
// [Load] turns the file into a [Cluster]: typed, with every default filled in
// and every path expanded, so that no later code asks "was this set?". A file
// with mistakes yields a [*Problems] error holding all of them at once, each
// with its line, the field, the value and what to write instead; what is legal
// but unwise (two replica servers, unequal disks) comes back as warnings.
//
// Unknown keys are mistakes, because a misspelt key that is ignored is a
// setting the operator believes in and does not have.
//
// The package does no I/O beyond reading the file itself. Host names become
// addresses in [Cluster.Resolve]; whether a host has room, or runs another
// cluster in the same directory, is found out by package plan's facts.
//
// # Paths
//
// Paths on hosts (home_dir, app_dir, slog_dir, data_dirs) are absolute. On a
// cluster whose hosts are all `connection: local` they may begin with ~ or
// $HOME, meaning the home of the user who runs pegasus-ops; on other hosts that
// would depend on who logs in, so it is refused. Paths on the operator's
// machine (package, template, ssh key files) may begin with ~ or $HOME too and
// are otherwise relative to the inventory file.
//
// # Instances
//
// One server process is an [Instance]: a role on a host with a port. Its
// directory is app_dir/<role> when it listens on the role's usual port (34601,
// 34801, 34101) and app_dir/<role>-<port> otherwise. The rule looks at the
// instance alone, so adding a second server to a host never moves the first.
package inventory
