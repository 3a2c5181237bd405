// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
	"github.com/pegasus-ops/pegasus-ops/ops/host/link/linktest"
)

// server is what the drivers keep running: it says that it is ready, and ends
// when told to, or not.
const server = `#!/bin/sh
echo "env $A"; [ "$1" != stubborn ] || trap '' TERM
echo ready
while :; do sleep 0.1; done
`

// conform is what every driver promises.
func conform(t *testing.T, d Driver, h host.Host, dir string) {
	ctx := context.Background()
	_, err := h.Mkdir(ctx, dir+"/log", 0o755)
	require.NoError(t, err)
	require.NoError(t, h.Put(ctx, dir+"/server", 0o755, strings.NewReader(server)))
	unit := "pegasus-test-" + path.Base(dir)
	service := func(args ...string) Service {
		return Service{Unit: unit, Title: "server of a test", Daemon: host.Daemon{Name: "test", Dir: dir, Args: append([]string{"./server"}, args...),
			Env: []string{"A=it's $HOME %n \\"}, Output: dir + "/log/out", PidFile: dir + "/pid", Labels: map[string]string{"package": "abc"}}}
	}
	s := service("plain", dir)
	t.Cleanup(func() {
		_, _ = d.Stop(ctx, h, s, time.Second)
		_ = d.Remove(ctx, h, s)
	})
	p, err := d.Find(ctx, h, s)
	require.NoError(t, err)
	require.Nil(t, p)
	_, err = d.Stop(ctx, h, s, time.Second)
	require.NoError(t, err, "what does not run can be stopped")

	started, err := d.Start(ctx, h, s, 5*time.Second)
	require.NoError(t, err)
	p, err = d.Find(ctx, h, s)
	require.NoError(t, err)
	require.NotNil(t, p)
	require.Equal(t, started.PID, p.PID)
	require.Equal(t, map[string]string{"package": "abc"}, p.Labels)
	require.WithinDuration(t, time.Now(), p.Since, time.Minute)
	said := func() string { return host.Tail(ctx, h, s.Output, 5) }
	require.Eventually(t, func() bool { return strings.HasSuffix(said(), "ready") }, 10*time.Second, 50*time.Millisecond)
	require.Contains(t, said(), "env it's $HOME %n \\\n")
	_, err = d.Start(ctx, h, s, 5*time.Second)
	require.ErrorContains(t, err, "runs already")

	if d.Name() != inventory.SupervisorDaemon {
		// It dies and is started again.
		_, err = h.Run(ctx, host.Command{Args: []string{"kill", "-9", fmt.Sprint(p.PID)}})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			again, err := d.Find(ctx, h, s)
			return err == nil && again != nil && again.PID != p.PID && again.Labels["package"] == "abc"
		}, 15*time.Second, 100*time.Millisecond, "it is started again")
	}
	stopped, err := d.Stop(ctx, h, s, 5*time.Second)
	require.NoError(t, err)
	require.NotNil(t, stopped.Was)
	require.False(t, stopped.Killed)
	p, err = d.Find(ctx, h, s)
	require.NoError(t, err)
	require.Nil(t, p)

	// Stopped while it waits to be started again, it stays down.
	s = service("stubborn", dir)
	_, err = d.Start(ctx, h, s, time.Second)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.HasSuffix(said(), "ready") }, 10*time.Second, 50*time.Millisecond)
	stopped, err = d.Stop(ctx, h, s, time.Second)
	require.NoError(t, err)
	if d.Name() != inventory.SupervisorSupervisord { // which does not say how it ended
		require.True(t, stopped.Killed)
	}
	p, err = d.Find(ctx, h, s)
	require.NoError(t, err)
	require.Nil(t, p)
	require.NoError(t, d.Remove(ctx, h, s))
	require.NoError(t, d.Remove(ctx, h, s))
}

func open(t *testing.T, o link.Options, of *inventory.Host) host.Host {
	t.Helper()
	o.Home, o.Settings, o.Agent = t.TempDir(), []string{}, "/no/agent"
	opener := host.NewOpener(o)
	h, err := opener.Open(context.Background(), of)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = h.Close()
		_ = opener.Close()
	})
	return h
}

func TestDaemon(t *testing.T) {
	d := linktest.Sshd(t)
	h := open(t, link.Options{}, &inventory.Host{Name: "n1", Address: "127.0.0.1", SSH: inventory.SSH{User: d.User, Port: d.Port, IdentityFile: d.KeyFile, KnownHosts: d.KnownHosts}})
	conform(t, Daemon{}, h, t.TempDir())
}

// On hosts of a fleet, which the environment names: FLEET_HOSTS, FLEET_KEY and
// FLEET_KNOWN_HOSTS; user work, who may use sudo.
func TestOnHosts(t *testing.T) {
	hosts := strings.Fields(os.Getenv("FLEET_HOSTS"))
	if len(hosts) == 0 {
		t.Skip("FLEET_HOSTS names no hosts with systemd or supervisord")
	}
	of := &inventory.Host{Name: "h1", Address: hosts[0], SSH: inventory.SSH{User: "work", IdentityFile: os.Getenv("FLEET_KEY"), KnownHosts: os.Getenv("FLEET_KNOWN_HOSTS"), Sudo: true}}
	h := open(t, link.Options{}, of)
	ctx := context.Background()
	chosen, err := Choose(ctx, inventory.SupervisorAuto, of, h)
	require.NoError(t, err)
	t.Log("auto takes", chosen.Name())
	_, err = h.Run(ctx, host.Command{Args: []string{"supervisorctl", "pid"}, Sudo: true})
	drivers := []Driver{Daemon{}}
	if chosen.Name() == inventory.SupervisorSystemd {
		drivers = append(drivers, Systemd{})
	}
	if err == nil {
		drivers = append(drivers, Supervisord{})
	}
	for _, d := range drivers {
		t.Run(string(d.Name()), func(t *testing.T) {
			conform(t, d, h, "/home/work/test-"+string(d.Name()))
		})
	}
	t.Run("root makes folders", func(t *testing.T) {
		created, err := h.Mkdir(ctx, "/srv/test/a", 0o755)
		require.NoError(t, err)
		require.Equal(t, "/srv/test", created)
		require.NoError(t, h.Put(ctx, "/srv/test/a/f", 0o644, strings.NewReader("x")), "it belongs to the user")
		require.NoError(t, h.RemoveTree(ctx, "/srv/test", host.Sweep{Self: true}))
		_, err = h.Lstat(ctx, "/srv/test")
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestChoose(t *testing.T) {
	local, err := host.NewLocal("local")
	require.NoError(t, err)
	for want, name := range map[inventory.Supervisor]inventory.Supervisor{inventory.SupervisorAuto: "daemon", inventory.SupervisorDaemon: "daemon",
		inventory.SupervisorSystemd: "systemd", inventory.SupervisorSupervisord: "supervisord"} {
		d, err := Choose(context.Background(), want, &inventory.Host{Connection: inventory.ConnectionLocal}, local)
		require.NoError(t, err)
		require.Equal(t, name, d.Name())
	}
	i := &inventory.Instance{Role: inventory.Meta, Port: 34601, Host: &inventory.Host{Name: "n1"}}
	require.Equal(t, "pegasus-c1-meta-34601", Unit("c1", i))
}
