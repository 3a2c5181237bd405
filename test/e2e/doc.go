// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the whole product as its users meet it: real processes, real files, kill -9.
// The tests deploy clusters of their own on free ports of this machine.
package e2e
