// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/config"
	"github.com/pegasus-ops/pegasus-ops/server/meta"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store/zookeeper"
)

// zookeeperState is the meta_state_service_type of a cluster with ZooKeeper. The configuration
// makes sure that the lock service is of the same kind.
const zookeeperState = "meta_state_service_zookeeper"

// A metaRole is a meta server with the session that it keeps its metadata through.
type metaRole struct {
	*meta.Server
	store *zookeeper.Store // nil with the local store
}

// Stop ends the leadership and then the session, so that the next leader need not wait for it to
// expire.
func (m *metaRole) Stop(ctx context.Context) error {
	err := m.Server.Stop(ctx)
	m.close()
	return err
}

func (m *metaRole) close() {
	if m.store != nil {
		m.store.Close()
	}
}

// checkZooKeeper tells what of the configuration keeps a meta server from using ZooKeeper.
func checkZooKeeper(c *config.Config) error {
	if c.Security.EnableZKAuth || c.Security.ZKMechanism != "" {
		return errors.New("[zookeeper] sasl_mechanisms_type and [security] enable_zookeeper_kerberos: this version cannot authenticate to ZooKeeper; unset them and let ZooKeeper accept this server's address without")
	}
	if hosts, _ := c.ZooKeeper.Servers(); len(hosts) == 0 {
		return errors.New("[zookeeper] hosts_list is empty: name the ZooKeeper servers, as in hosts_list = 10.0.0.1:2181,10.0.0.2:2181; for a cluster with exactly one meta server and no ZooKeeper set in [meta_server]\n" +
			"  meta_state_service_type = meta_state_service_simple\n  distributed_lock_service_type = distributed_lock_service_simple")
	}
	return nil
}

// openZooKeeper prepares what [zookeeper] and [meta_server] say. It waits for no server.
func (n *node) openZooKeeper() (*zookeeper.Store, error) {
	c := n.Config
	if err := checkZooKeeper(c); err != nil {
		return nil, err
	}
	hosts, chroot := c.ZooKeeper.Servers()
	// Pegasus takes a list here, of which the first counts.
	lock, _, _ := strings.Cut(c.Meta.LockParameters, ",")
	return zookeeper.Open(zookeeper.Options{
		Hosts: hosts, Chroot: chroot, Timeout: c.ZooKeeper.Timeout,
		Root: cleanPath(c.Meta.ClusterRoot), Lock: cleanPath(lock),
		Self: n.addr, Log: n.log,
	})
}

// cleanPath drops the slash at the end that ZooKeeper does not take.
func cleanPath(p string) string {
	if p = strings.TrimSpace(p); len(p) > 1 {
		p = strings.TrimRight(p, "/")
	}
	return p
}
