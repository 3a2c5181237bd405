// SPDX-License-Identifier: Apache-2.0

package idl

//go:generate go run ./gen
