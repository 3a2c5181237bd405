// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// RemoteCommand runs a command on one server of any role and returns its text. That a command
// is unknown or was refused shows only in the text. It is sent once: commands may not bear
// repeating.
func (c *Cluster) RemoteCommand(ctx context.Context, addr idl.RPCAddress, cmd string, args ...string) (string, error) {
	var text idl.String
	err := c.direct(ctx, "run "+cmd, addr, idl.RPCCliCliCall, &idl.Command{Cmd: cmd, Arguments: args}, &text, false)
	return string(text), err
}

// DiskInfo asks one replica server about its disks and what stands on them. Replica servers of
// this protocol need not offer it; they answer idl.ErrHandlerNotFound then.
func (c *Cluster) DiskInfo(ctx context.Context, addr idl.RPCAddress) (*idl.QueryDiskInfoResponse, error) {
	var resp idl.QueryDiskInfoResponse
	err := c.direct(ctx, "query disks", addr, idl.RPCQueryDiskInfo, &idl.QueryDiskInfoRequest{Node1: addr}, &resp, true)
	if err == nil && !resp.Err.OK() {
		err = &Error{Op: "query disks", Server: addr.String(), Code: resp.Err}
	}
	return &resp, err
}

func (c *Cluster) direct(ctx context.Context, op string, addr idl.RPCAddress, rpc string, arg idl.Value, result idl.Decoder, read bool) error {
	err := c.peers.Call(&until{ctx, c.deadline(ctx)}, addr, wire.Call{Name: rpc, Arg: arg, Result: result})
	if err == nil {
		return nil
	}
	code, f := fateOf(err)
	return &Error{Op: op, Server: addr.String(), Code: code, Ambiguous: !read && !f.notExecuted, Err: err}
}
