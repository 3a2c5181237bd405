// SPDX-License-Identifier: Apache-2.0

// Package plan decides what is to be done, and does nothing.
//
// Facts about hosts and cluster and the state the inventory asks for go in, a
// [Plan] comes out: stages of steps, each with its reason, or a [*Refusal] that
// lists everything that speaks against acting at all. The functions are pure:
// the same input gives the same plan, whether it is then printed (--dry-run) or
// executed by package run. What a step does stands in package step.
//
//   - [Deploy]: what differs between desired and found. A cluster that is as it
//     should be gives an empty plan; that is what makes deploy safe to repeat.
//   - [Start], [Stop], [Restart]: orders and gates.
//   - [Clean]: what may be removed, by its markers.
//
// # Orders
//
// Starting goes meta servers, replica servers, collectors: who starts finds
// whom it reports to.
//
// Stopping the whole cluster goes collectors, meta servers, replica servers. It
// looks wrong and is not: while no meta server runs no configuration can be
// changed, so all partitions keep their members. The other way around, primaries
// would report the secondaries that stopped before them as lost, and after the
// next start every partition would have to learn its replicas again.
//
// Servers that run and must be restarted are taken one at a time, replica
// servers first, then meta servers, then collectors, and the cluster must be
// healthy before each and again after it.
package plan
