// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

func TestZooKeeperServers(t *testing.T) {
	for _, x := range []struct{ list, servers, chroot, wrong string }{
		{"", "", "", ""},
		{"10.0.0.1:2181", "10.0.0.1:2181", "", ""},
		{"zk1:2181, zk2:2181", "zk1:2181,zk2:2181", "", ""},
		{"zk1:2181,zk2:2181/team/a", "zk1:2181,zk2:2181", "/team/a", ""},
		{"zk1:2181/", "zk1:2181", "", ""},
		{"zk1:2181/a,zk2:2181", "", "", "HOST:PORT"},
		{"zk1", "", "", "HOST:PORT"},
		{"zk1:2181,zk1:2181/a", "", "", "listed twice"},
		{"/team/a", "", "", "no server"},
		{"zk1:2181,/team/a", "", "", "no server"},
		{"zk1:2181/a//b", "", "", "clean path"},
	} {
		c, err := Load("config.ini", []byte("[zookeeper]\nhosts_list = "+x.list+"\n[meta_server]\ncluster_root = /\n"), nil)
		if x.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), x.wrong) {
				t.Errorf("%q: %v", x.list, err)
			}
			continue
		}
		if err != nil && strings.Contains(err.Error(), "zookeeper") || c == nil {
			t.Errorf("%q: %v", x.list, err)
			continue
		}
		servers, chroot := c.ZooKeeper.Servers()
		if got := strings.Join(servers, ","); got != x.servers || chroot != x.chroot {
			t.Errorf("%q: %q and %q", x.list, got, chroot)
		}
	}
}
