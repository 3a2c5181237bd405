// SPDX-License-Identifier: Apache-2.0
//
// Remote commands.

struct command {
    1: string cmd,
    2: list<string> arguments,
}
