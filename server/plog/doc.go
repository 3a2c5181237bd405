// SPDX-License-Identifier: Apache-2.0

// Package plog is the private log of one replica: mutations are appended to it before they are
// acknowledged, replayed into the engine after a restart, and shipped to learners.
//
// # What the records mean
//
// A record (Entry) with decree d voids all earlier records with decrees >= d: that is how a tail
// that a new primary never had is replaced. What is left, in file order, ascends. Open passes
// the records on as they were written and leaves the voiding to the consumer (pacifica.Replay);
// ReadFrom resolves it.
//
// # Files
//
// The log is a sequence of segments log.<index>.<start offset> of about 32 MiB. The start offset
// counts the valid bytes of all segments before, so the name of a segment also says where its
// predecessor ends; bytes behind that point, left by a crash, are not part of the log. A log that
// is opened never writes to an old segment: the first Append begins a new one. A segment is
// fsynced before its successor is created; within the last segment records are only as durable
// as Options.Sync says.
//
//	segment header, 64 bytes: magic 8, index 8, start 8, flags 4, salt 4,
//	                          first, last, max decree of the log before it 3*8, 4 zero, crc32c 4
//	record header, 32 bytes:  length of data 4, crc32c of data 4, ballot 8, decree 8,
//	                          bytes of the segment that were fsynced before 4, crc32c 4
//
// All checksums of records start from the random salt of their segment, so that client data that
// looks like a record is none. Integers are big-endian.
//
// # Damage
//
// A crash may leave an incomplete record, or lose pages that were not fsynced, at the end of the
// last segment: Open cuts the log there and says so in the operator's log. Everything else is
// damage: a bad record followed by good ones, a bad record in an earlier segment, a missing
// segment. Open then fails with a CorruptError, because what was acknowledged may be missing, and
// leaves the files as they are.
//
// A failed write leaves the log unusable: all later appends fail, so that nothing is ever written
// behind a record that may be incomplete.
package plog
