// SPDX-License-Identifier: Apache-2.0

// Package run executes plans and keeps what pegasus-ops remembers.
//
// [Home] is the state directory ($PEGASUS_OPS_HOME, by default ~/.pegasus-ops):
//
//	clusters/<name>/inventory.yaml   the inventory as it was last deployed
//	clusters/<name>/record.json      where that came from, and when
//	clusters/<name>/lock             held while something is changed
//	clusters/<name>/runs/*.jsonl     one journal a run
//	packages/                        packages that deploy packed itself
//
// [Execute] takes a plan step by step: the intent is written to the journal and
// synced, the step is done, its outcome is written and synced. Lanes of a stage
// run side by side, a limited number at once; a lane ends at its first failure,
// the other lanes of the stage go on to their end, and the stages after it are
// not begun. Since every step looks before it acts, running the command again
// goes on from there.
package run
