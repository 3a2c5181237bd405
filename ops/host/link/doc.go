// SPDX-License-Identifier: Apache-2.0

// Package link is an ssh connection to one machine, made to last for a whole run
// of pegasus-ops and to be shared by everything the run does there.
//
// A [Dialer] makes connections. It holds what they share: the limits on dialling
// at once, the jump hosts (one connection each, however many hosts lie behind
// it), the keys of the agent and of identity files (a passphrase is asked for
// once a run), and the known hosts. A [Target] says where to and how;
// [Dialer.Resolve] fills it in from ~/.ssh/config the way ssh does.
//
// A [Conn] has three uses: [Conn.Run] runs a program, [Conn.Files] is its file
// system, [Conn.Ping] measures the round trip. What holds for all of them:
//
//   - Programs are argument lists. They become a line for the login shell of the
//     other side in [Quote] and nowhere else.
//   - At most [MaxSessions] sessions are open at a time, for sshd refuses more;
//     the rest queue. A session that cannot be opened is tried again on the same
//     connection and never takes the others down with it.
//   - A machine that is silent for [SilenceLimit] is dead: the connection is
//     closed, and whoever waits for it gets a [*LostError].
//   - Ending the context of Run ends the program on the other side, and so does
//     the end of the connection, be it a crash of pegasus-ops.
//   - A host key that contradicts known_hosts is refused, always.
//
// What to run is not decided here. Package host builds its Host on this.
package link
