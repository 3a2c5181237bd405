// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/test/onebox"
)

// The peers run in processes of their own, so that what they use can be told from what the load
// generator uses.

const rpcBenchEcho = "RPC_BENCH_ECHO"

func peerCase(ctx context.Context, target string, threads, size int, s settings) (Case, error) {
	if target == "echo" {
		return echoCase(ctx, threads, size, s)
	}
	return pebbleCase(ctx, target, threads, size, s)
}

// pebbleCase writes the same records into one bare Pebble with its WAL on: not synced, which is
// the durability our servers give by default on one machine, or synced.
func pebbleCase(ctx context.Context, target string, threads, size int, s settings) (Case, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "peer-"+target, strconv.Itoa(threads), strconv.Itoa(size), strconv.Itoa(s.keys), s.duration.String())
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return Case{}, err
	}
	var c Case
	return c, json.Unmarshal(b, &c)
}

func runPebble(target string, threads, size, keys int, d time.Duration) (Case, error) {
	dir, err := os.MkdirTemp("", "pegasus-bench-pebble-")
	if err != nil {
		return Case{}, err
	}
	defer os.RemoveAll(dir)
	db, err := pebble.Open(dir, &pebble.Options{MemTableSize: 64 << 20, Logger: quiet{}})
	if err != nil {
		return Case{}, err
	}
	defer db.Close()
	val := value(rand.New(rand.NewPCG(1, 2)), size)
	durability := pebble.NoSync
	if target == "pebble-sync" {
		durability = pebble.Sync
	}
	do := func(_ *rand.Rand, k int) error { return db.Set(key(k), val, durability) }
	ctx := context.Background()
	if _, err := drive(ctx, threads, d/5, keys, do); err != nil {
		return Case{}, err
	}
	before, err := onebox.ProcessUsage(os.Getpid())
	if err != nil {
		return Case{}, err
	}
	c, err := drive(ctx, threads, d, keys, do)
	if err != nil {
		return Case{}, err
	}
	after, err := onebox.ProcessUsage(os.Getpid())
	c.Target, c.Op, c.ValueSize = target, "set", size
	c.CPUPerMillion = (after.CPU - before.CPU).Seconds() / float64(c.Ops) * 1e6
	return c, err
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, a ...any) {
	panic(fmt.Sprintf(format, a...))
}

// echoCase calls a server that answers at once with a value of the size wanted.
func echoCase(ctx context.Context, threads, size int, s settings) (Case, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "peer-echo", strconv.Itoa(size))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Case{}, err
	}
	in, err := cmd.StdinPipe() // the peer ends when this closes
	if err != nil {
		return Case{}, err
	}
	if err := cmd.Start(); err != nil {
		return Case{}, err
	}
	defer cmd.Wait()
	defer in.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return Case{}, fmt.Errorf("echo peer: %w", err)
	}
	addr, err := idl.ParseAddress(line[:len(line)-1])
	if err != nil {
		return Case{}, err
	}
	p := wire.NewPeers(wire.TCP)
	defer p.Close()
	do := func(_ *rand.Rand, k int) error {
		var resp idl.ReadResponse
		return p.Call(ctx, addr, wire.Call{Name: rpcBenchEcho, GPID: idl.GPID{AppID: 1}, Arg: idl.Blob(key(k)), Result: &resp})
	}
	if _, err := drive(ctx, threads, s.duration/5, s.keys, do); err != nil {
		return Case{}, err
	}
	before, err := onebox.ProcessUsage(cmd.Process.Pid)
	if err != nil {
		return Case{}, err
	}
	c, err := drive(ctx, threads, s.duration, s.keys, do)
	if err != nil {
		return Case{}, err
	}
	after, err := onebox.ProcessUsage(cmd.Process.Pid)
	c.Target, c.Op, c.ValueSize = "echo", "get", size
	c.CPUPerMillion = (after.CPU - before.CPU).Seconds() / float64(c.Ops) * 1e6
	return c, err
}

func serveEcho(size int) error {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := netip.MustParseAddrPort(ln.Addr().String())
	mux := wire.NewMux()
	resp := &idl.ReadResponse{Value: value(rand.New(rand.NewPCG(1, 2)), size), AppID: 1, Server: addr.String()}
	mux.Handle(rpcBenchEcho, func(r *wire.Request) { r.Reply(resp) })
	s := &wire.Server{Mux: mux}
	go func() {
		os.Stdin.Read(make([]byte, 1))
		s.Close()
	}()
	fmt.Println(addr)
	if err := s.Serve(ln); err != wire.ErrClosed {
		return err
	}
	return nil
}

func runPeer(kind string, args []string) {
	err := func() error {
		n := make([]int, len(args))
		for i, a := range args[:min(len(args), 3)] {
			var err error
			if n[i], err = strconv.Atoi(a); err != nil {
				return err
			}
		}
		switch {
		case kind == "peer-echo" && len(args) == 1:
			return serveEcho(n[0])
		case (kind == "peer-pebble" || kind == "peer-pebble-sync") && len(args) == 4:
			d, err := time.ParseDuration(args[3])
			if err != nil {
				return err
			}
			c, err := runPebble(strings.TrimPrefix(kind, "peer-"), n[0], n[1], n[2], d)
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(c)
		}
		return fmt.Errorf("unknown peer %s with %d arguments", kind, len(args))
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench peer:", err)
		os.Exit(1)
	}
}
