// SPDX-License-Identifier: Apache-2.0

// Package step does what plans say: one function per kind of step, over the
// small interfaces [host.Host] and [Admin]. It also reads the facts about hosts
// that planning starts from ([Gather]).
//
// Every step may be done again: what is already as it should be is left alone,
// so a deploy that broke off goes on by being run again. Every wait has a
// deadline and says what it waits for.
//
// The files follow the kinds: directories and their markers in dirs.go,
// packages in packages.go, configuration in config.go, processes in server.go,
// waiting for the cluster in wait.go.
package step
