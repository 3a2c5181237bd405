// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/client/clienttest"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// exampleCluster stands for client.Open(ctx, client.Options{Metas: ...}) on a cluster with the
// table "temp".
func exampleCluster() (*client.Cluster, func()) {
	fleet := clienttest.New(&testing.T{}, metas, nodes)
	fleet.AddTable("temp", 4, 3)
	c, err := client.Open(context.Background(), client.Options{Metas: metas, Dial: fleet.Net.Dialer("10.0.9.9")})
	if err != nil {
		panic(err)
	}
	return c, func() {
		c.Close()
		fleet.Stop()
	}
}

func Example() {
	c, closeAll := exampleCluster() // client.Open(ctx, client.Options{Metas: []string{"10.0.0.1:34601"}})
	defer closeAll()
	ctx := context.Background()

	users := c.Table("temp")
	if err := users.Set(ctx, []byte("user1"), []byte("name"), []byte("Ada"), time.Hour); err != nil {
		fmt.Println(err)
		return
	}
	name, err := users.Get(ctx, []byte("user1"), []byte("name"))
	fmt.Printf("%s %v\n", name, err)
	_, err = users.Get(ctx, []byte("user1"), []byte("mail"))
	fmt.Println(errors.Is(err, client.ErrNotFound))
	// Output:
	// Ada <nil>
	// true
}

func ExampleTable_MultiGetRange() {
	c, closeAll := exampleCluster()
	defer closeAll()
	ctx := context.Background()
	events := c.Table("temp")
	for day := 1; day <= 5; day++ {
		if err := events.Set(ctx, []byte("sensor7"), fmt.Appendf(nil, "2026-01-0%d", day), fmt.Appendf(nil, "%d°", day), 0); err != nil {
			fmt.Println(err)
			return
		}
	}
	// The two latest days before the fifth.
	kvs, complete, err := events.MultiGetRange(ctx, []byte("sensor7"), nil, []byte("2026-01-05"),
		client.RangeOptions{GetOptions: client.GetOptions{MaxCount: 2}, Reverse: true})
	for _, kv := range kvs {
		fmt.Printf("%s %s\n", kv.SortKey, kv.Value)
	}
	fmt.Println(complete, err)
	// Output:
	// 2026-01-03 3°
	// 2026-01-04 4°
	// false <nil>
}

func ExampleTable_CheckAndSet() {
	c, closeAll := exampleCluster()
	defer closeAll()
	ctx := context.Background()
	locks := c.Table("temp")
	acquire := func(owner string) bool {
		r, err := locks.CheckAndSet(ctx, []byte("job"), client.Check{SortKey: []byte("owner"), Type: idl.CtValueNotExist},
			[]byte("owner"), []byte(owner), time.Minute)
		return err == nil && r.Written
	}
	fmt.Println(acquire("a"), acquire("b"))
	// Output: true false
}

func ExampleTable_FullScan() {
	c, closeAll := exampleCluster()
	defer closeAll()
	ctx := context.Background()
	t := c.Table("temp")
	for i := range 100 {
		if err := t.Set(ctx, fmt.Appendf(nil, "user%d", i), []byte("name"), []byte("x"), 0); err != nil {
			fmt.Println(err)
			return
		}
	}
	scanners, err := t.FullScan(ctx, 0, client.ScanOptions{NoValue: true}) // one for each partition
	if err != nil {
		fmt.Println(err)
		return
	}
	n := 0
	for _, s := range scanners { // or each in a goroutine of its own
		for _, err := range s.All(ctx) {
			if err != nil {
				fmt.Println(err)
				return
			}
			n++
		}
		s.Close()
	}
	fmt.Println(n, "records")
	// Output: 100 records
}

func ExampleCluster_RemoteCommand() {
	c, closeAll := exampleCluster()
	defer closeAll()
	nodes, err := c.ListNodes(context.Background(), idl.NsAlive)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := c.RemoteCommand(context.Background(), nodes[0].Node, "no-such-command")
	fmt.Println(text, err)
	// Output: unknown command 'no-such-command' <nil>
}
