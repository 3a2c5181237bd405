// SPDX-License-Identifier: Apache-2.0

// Package linktest gives tests something to connect to: [Serve], an ssh server
// inside the test's process that can be made to misbehave, and [Sshd], the real
// one of OpenSSH on a port of this machine. Both run commands as the user who
// runs the tests, in the file system the tests see.
package linktest
