// SPDX-License-Identifier: Apache-2.0

// Package pack builds, names, inspects and unpacks server packages.
//
// A package is a .tar.gz named
//
//	pegasus-server-{version}-{gitSHA}-{platform}-{buildType}.tar.gz
//
// that holds, with or without a top folder of the same name,
//
//	bin/pegasus_server   the program
//	bin/config.ini       the configuration template
//	VERSION              what it was built from
//
// and whatever else the program needs: a package of Apache Pegasus carries its
// libraries in bin/. To the rest of pegasus-ops a package is opaque; only that
// bin/pegasus_server is there and that unpacking it cannot write elsewhere is
// looked at ([Inspect]), before anything is sent to a host.
//
// [Write] is deterministic: the same files give the same bytes and so the same
// checksum, by which hosts recognise what they already have.
package pack
