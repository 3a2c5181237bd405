// SPDX-License-Identifier: Apache-2.0

// Package metas runs clusters with several meta servers on a real ZooKeeper, the servers in this
// process on a network in memory: what is left in ZooKeeper, and how replica servers and clients
// get over the loss of a leader.
package metas
