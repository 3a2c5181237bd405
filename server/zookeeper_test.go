// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/config"
	zkservers "github.com/pegasus-ops/pegasus-ops/test/zookeeper"
)

const metaConfig = `
[apps.meta]
type = meta
ports = %[1]d
run = true
[core]
data_dir = %[2]s
[network]
explicit_host_address = 127.0.0.1
[meta_server]
server_list = 127.0.0.1:%[1]d
cluster_root = /pegasus/c1/
distributed_lock_service_parameters = /pegasus/c1/lock
[zookeeper]
hosts_list = %[3]s
timeout_ms = 1000
%[4]s
[replication]
cluster_name = c1
`

func runMeta(t *testing.T, zookeeper, more string) (port int, ended <-chan error, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	text := fmt.Sprintf(metaConfig, port, filepath.Join(t.TempDir(), "data"), zookeeper, more)
	c, err := config.Load("config.ini", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	apps, err := chooseApps(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Options{Config: c, Apps: apps, Stderr: io.Discard}) }()
	stop = func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(30 * time.Second):
			t.Error("the server does not stop")
			return nil
		}
	}
	return port, done, stop
}

// TestMetaServerOnZooKeeper runs a meta server from a config.ini that names a ZooKeeper server.
func TestMetaServerOnZooKeeper(t *testing.T) {
	hosts := zkservers.Start(t, 1).Addrs()
	port, ended, stop := runMeta(t, hosts[0]+"/team", "")
	cl, err := client.Open(t.Context(), client.Options{Metas: []string{fmt.Sprintf("127.0.0.1:%d", port)}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var info []client.NameValue
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if info, err = cl.ClusterInfo(t.Context()); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for _, kv := range info {
		if kv.Name == client.InfoZooKeeper && kv.Value != hosts[0]+"/team" {
			t.Errorf("%+v", kv)
		}
	}
	c, events, err := zk.Connect(hosts, 5*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.Close()
		for range events {
		}
	}()
	if data, _, err := c.Get("/team/pegasus/c1/apps"); err != nil || string(data) != "unlock" {
		t.Errorf("%q, %v", data, err)
	}
	lock := "/team/pegasus/c1/lock/dsn.meta.server.leader"
	names, _, err := c.Children(lock)
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	if data, _, err := c.Get(lock + "/" + names[0]); err != nil || string(data) != fmt.Sprintf("127.0.0.1:%d", port) {
		t.Errorf("the lock node says %q, %v", data, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if names, _, err := c.Children(lock); err != nil || len(names) != 0 {
		t.Errorf("the lock is still held: %v, %v", names, err)
	}
}

func TestZooKeeperThatCannotBeUsed(t *testing.T) {
	for _, x := range []struct{ hosts, more, want string }{
		{"", "", "hosts_list is empty"},
		{"127.0.0.1:1", "sasl_mechanisms_type = DIGEST-MD5", "cannot authenticate"},
	} {
		_, ended, stop := runMeta(t, x.hosts, x.more)
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v does not say %q", err, x.want)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("started without a complaint, wanted %q", x.want)
			stop()
		}
	}
}
