// SPDX-License-Identifier: Apache-2.0

// Package templates holds what is put on hosts and makes the final text of it.
//
// config.ini is the configuration of all roles, embedded and in the spirit of
// the one Apache Pegasus ships: every key with its usual value, placeholders
// where a cluster differs. An operator may bring a template of their own, which
// goes through the same steps.
//
// [Template.ForInstance] makes the config.ini of one server in three layers:
//
//  1. placeholders, %{name} and %<name> alike, are replaced everywhere
//     ([Render]); one that is left over, even in a comment, is an error;
//  2. what follows from the inventory and has no placeholder is written over it:
//     the port of the role, the announced address, the stores of a cluster
//     without ZooKeeper, the sizes of default tables;
//  3. the `config` of the inventory and then that of the instance are written
//     over that ([Overlay]).
//
// Overlay edits text rather than parsing and printing it, so comments and order
// of the template survive and an operator finds their way in the file on the
// host. The text is a function of template and inventory alone: equal input
// gives equal bytes, which is how deploy knows that nothing changed.
package templates
