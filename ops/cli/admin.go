// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// admin is the running cluster, behind the Go client.
type admin struct{ c *client.Cluster }

func openCluster(ctx context.Context, metas []string) (Cluster, error) {
	c, err := client.Open(ctx, client.Options{Metas: metas})
	if err != nil {
		return nil, err
	}
	return admin{c}, nil
}

func (a admin) Facts(ctx context.Context) (cluster.Facts, error) { return cluster.Read(ctx, a.c) }

func (a admin) CreateTable(ctx context.Context, name string, partitions, replicas int) error {
	_, err := a.c.CreateTable(ctx, name, client.CreateOptions{Partitions: partitions, Replicas: replicas})
	return err
}

// ServerInfo asks one server, of any role, about itself.
func (a admin) ServerInfo(ctx context.Context, address string) (cluster.Server, error) {
	addresses, err := client.ResolveAll(ctx, []string{address})
	if err != nil {
		return cluster.Server{}, err
	}
	text, err := a.c.RemoteCommand(ctx, addresses[0], "server-info")
	if err != nil {
		return cluster.Server{}, err
	}
	return cluster.ParseServerInfo(text)
}

func (a admin) Close() { a.c.Close() }

// readsAtOnce bounds the probing of partitions.
const readsAtOnce = 64

// Serves reads one key, which need not exist, from every partition.
func (a admin) Serves(ctx context.Context, f cluster.Facts) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for i := range f.Tables {
		t := &f.Tables[i]
		if !t.Available() || t.Envs["replica.deny_client_request"] != "" {
			continue
		}
		for n, key := range probeKeys(t.PartitionCount) {
			g.Go(func() error {
				_, err := a.c.Table(t.Name).Get(ctx, key, nil)
				if err == nil || errors.Is(err, client.ErrNotFound) || errors.Is(err, idl.ErrBusy) || errors.Is(err, idl.ErrCapacityExceeded) {
					return nil // a server that is throttled serves
				}
				return fmt.Errorf("partition %d.%d of table %s does not answer reads: %w", t.ID, n, t.Name, err)
			})
		}
	}
	return g.Wait()
}

// probeKeys is a hash key for each partition of a table.
func probeKeys(partitions int) [][]byte {
	keys := make([][]byte, partitions)
	for n, found := 0, 0; found < partitions; n++ {
		key := []byte("pegasus-ops probe " + strconv.Itoa(n))
		if i := idl.KeyHash(key, nil) % uint64(partitions); keys[i] == nil {
			keys[i] = key
			found++
		}
	}
	return keys
}
