// SPDX-License-Identifier: Apache-2.0

// Package cluster states facts: what a cluster is like at one moment, as its operators see it.
//
// [Read] asks the meta leader and every server and returns [Facts]: the leader, the function
// level, the nodes with their versions and replicas, the tables with the health of each
// partition. Reading changes nothing. A question that was not answered does not fail the others:
// what is not known is listed in Facts.Missing and left empty, and is never taken for good news -
// [Facts.Healthy] says yes only on positive and complete evidence.
//
// What is computed from the answers (health classes, counts, the parsing of server replies in
// their two styles) is in pure functions. Deciding what to do about the facts is the business of
// ops/plan.
package cluster
