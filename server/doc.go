// SPDX-License-Identifier: Apache-2.0

// Package server puts a Pegasus server together: it reads config.ini, opens the logs, chooses the
// address, listens, and starts the roles that were asked for.
//
// [Main] is the program: command line, messages for the operator, signals, exit status. [Run] is
// the server: it starts every chosen role and returns when it has been stopped or when one of
// them could not be started.
//
// A role instance is a node: one port with RPC and HTTP on it, one registry of remote commands,
// one set of metrics. What is the same for all roles stands here (node.go, pages.go,
// commands.go); what a role needs from the configuration is mapped in roles.go, and that is the
// only place that knows both. The roles themselves know no configuration file.
package server
