// SPDX-License-Identifier: Apache-2.0

// Package sim runs a whole cluster - meta server, replica servers, clients - in one process,
// inside a testing/synctest bubble: time is simulated, the network is in memory and loses,
// delays and cuts, the disks are in memory and crash. What the clients saw is then checked for
// linearizability. A failure is repeated with -seed.
package sim
