// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// configsAtOnce is how many tables are asked for at the same time.
const configsAtOnce = 16

func (s *shell) clusterInfo(ctx context.Context, f *flags) error {
	if len(f.args) > 0 {
		return usageError("")
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	info, err := s.c.ClusterInfo(ctx)
	if err != nil {
		return s.fail("get cluster info failed, error=%s\n%v", code(err), err)
	}
	t := newList("cluster_info")
	for _, kv := range info {
		if f.has("r") && (kv.Name == client.InfoMetaServers || kv.Name == client.InfoPrimaryMeta || kv.Name == client.InfoZooKeeper) {
			kv.Value = resolveNames(ctx, kv.Value)
		}
		t.add(kv.Name, kv.Value)
	}
	return s.write(f, func(w io.Writer) { printTable(w, f.has("j"), t) })
}

// write sends a result to Out or to the file of -o.
func (s *shell) write(f *flags, print func(w io.Writer)) error {
	w, done, err := s.output(f)
	if err != nil {
		return err
	}
	print(w)
	return done(nil)
}

// resolveNames turns the host names in a comma-separated list of "host:port" into addresses;
// what cannot be resolved stays.
func resolveNames(ctx context.Context, list string) string {
	parts := strings.Split(list, ",")
	for i, p := range parts {
		host, port, err := net.SplitHostPort(p)
		if err != nil {
			continue
		}
		if ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host); err == nil && len(ips) > 0 {
			parts[i] = net.JoinHostPort(ips[0].Unmap().String(), port)
		}
	}
	return strings.Join(parts, ",")
}

// nodeCount is what a node holds.
type nodeCount struct{ primaries, secondaries int }

// tally counts the replicas of a table by node.
func tally(counts map[idl.RPCAddress]nodeCount, cfg *client.TableConfig) {
	for _, p := range cfg.Partitions {
		if !p.Primary.IsZero() {
			n := counts[p.Primary]
			n.primaries++
			counts[p.Primary] = n
		}
		for _, sec := range p.Secondaries {
			n := counts[sec]
			n.secondaries++
			counts[sec] = n
		}
	}
}

func byAddress(a, b idl.RPCAddress) int { return cmp.Compare(a, b) }

func (s *shell) nodes(ctx context.Context, f *flags) error {
	if len(f.args) > 0 {
		return usageError("")
	}
	status, ok := map[string]idl.NodeStatus{"all": idl.NsInvalid, "alive": idl.NsAlive, "unalive": idl.NsUnalive}[f.text("s", "all")]
	if !ok {
		return usageError("ERROR: parse %s as node status failed", f.text("s", ""))
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	infos, err := s.c.ListNodes(ctx, status)
	if err != nil {
		return s.fail("list nodes failed, error=%s\n%v", code(err), err)
	}
	counts := map[idl.RPCAddress]nodeCount{}
	if f.has("d") {
		apps, err := s.c.ListTables(ctx, idl.AsAvailable)
		if err != nil {
			return s.fail("list apps failed, error=%s\n%v", code(err), err)
		}
		configs, err := s.configs(ctx, apps)
		if err != nil {
			return err
		}
		for _, cfg := range configs {
			tally(counts, cfg)
		}
	}
	details := newGrid("details", "address", "status")
	if f.has("d") {
		details.addRight("replica_count", "primary_count", "secondary_count")
	}
	alive := 0
	for _, n := range infos {
		row := []any{n.Node, strings.TrimPrefix(n.Status.String(), "NS_")}
		if n.Status == idl.NsAlive {
			alive++
		}
		if f.has("d") {
			c := counts[n.Node]
			row = append(row, c.primaries+c.secondaries, c.primaries, c.secondaries)
		}
		details.add(row...)
	}
	summary := newList("summary")
	summary.add("total_node_count", len(infos))
	summary.add("alive_node_count", alive)
	summary.add("unalive_node_count", len(infos)-alive)
	tables := []*table{details, summary}
	if f.has("s") || f.has("o") {
		p := newList("parameters")
		if f.has("s") {
			p.add("status", f.text("s", ""))
		}
		if f.has("o") {
			p.add("out_file", f.text("o", ""))
		}
		tables = append([]*table{p}, tables...)
	}
	return s.write(f, func(w io.Writer) { printTables(w, f.has("j"), tables...) })
}

// configs asks for the configurations of tables, several at a time.
func (s *shell) configs(ctx context.Context, apps []idl.AppInfo) ([]*client.TableConfig, error) {
	all := make([]*client.TableConfig, len(apps))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(configsAtOnce)
	for i, a := range apps {
		g.Go(func() (err error) {
			if all[i], err = s.c.QueryConfig(ctx, a.AppName); err != nil {
				return fmt.Errorf("list app %s failed, error=%s: %w", a.AppName, code(err), err)
			}
			return nil
		})
	}
	return all, g.Wait()
}

// tableStatus are the words of ls -s.
var tableStatus = map[string]idl.AppStatus{
	"all": idl.AsInvalid, "available": idl.AsAvailable, "creating": idl.AsCreating, "dropping": idl.AsDropping, "dropped": idl.AsDropped,
}

func (s *shell) list(ctx context.Context, f *flags) error {
	if len(f.args) > 0 {
		return usageError("")
	}
	status, ok := tableStatus[f.text("s", "all")]
	if !ok {
		return usageError("ERROR: parse %s as app status failed", f.text("s", ""))
	}
	named, ok := nameMatcher(f.text("m", "anywhere"), f.text("p", ""))
	if !ok {
		return usageError("ERROR: parse %s as match type failed", f.text("m", ""))
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	apps, err := s.c.ListTables(ctx, status)
	if err != nil {
		return s.fail("list apps failed, error=%s\n%v", code(err), err)
	}
	apps = slices.DeleteFunc(apps, func(a idl.AppInfo) bool {
		return !named(a.AppName) || a.Status == idl.AsDropped && status == idl.AsInvalid && !f.has("a")
	})
	general := newGrid("general_info", "app_id", "status", "app_name", "app_type", "partition_count", "replica_count",
		"is_stateful", "create_time", "drop_time", "drop_expire", "envs_count", "atomic_idempotent")
	var available []idl.AppInfo
	for _, a := range apps {
		dropTime, expire := "-", "-"
		if a.Status == idl.AsAvailable {
			available = append(available, a)
		} else if a.DropSecond > 0 {
			dropTime, expire = clock(a.DropSecond), clock(a.ExpireSecond)
		}
		general.add(a.AppID, cluster.StatusName(a.Status), a.AppName, a.AppType, a.PartitionCount, a.MaxReplicaCount,
			a.IsStateful, clock(a.CreateSecond), dropTime, expire, len(a.Envs), a.AtomicIdempotent != nil && *a.AtomicIdempotent)
	}
	tables := []*table{general}
	summary := newList("summary")
	summary.add("total_app_count", len(available))
	if f.has("d") {
		health, err := s.health(ctx, available, summary)
		if err != nil {
			return err
		}
		tables = append(tables, health)
	}
	return s.write(f, func(w io.Writer) { printTables(w, f.has("j"), append(tables, summary)...) })
}

// health makes the table of ls -d and adds its sums to the summary.
func (s *shell) health(ctx context.Context, apps []idl.AppInfo, summary *table) (*table, error) {
	configs, err := s.configs(ctx, apps)
	if err != nil {
		return nil, err
	}
	t := newGrid("healthy_info", "app_id", "app_name", "partition_count", "fully_healthy", "unhealthy", "write_unhealthy", "read_unhealthy")
	var fully, unhealthy, write, read int
	for i, a := range apps {
		var view cluster.Table
		view.Configure(configs[i])
		h := view.Health
		t.add(a.AppID, a.AppName, a.PartitionCount, h.Fully, h.Unhealthy, h.WriteUnhealthy, h.ReadUnhealthy)
		if h.Unhealthy == 0 {
			fully++
		} else {
			unhealthy++
		}
		write += min(h.WriteUnhealthy, 1)
		read += min(h.ReadUnhealthy, 1)
	}
	summary.add("fully_healthy_app_count", fully)
	summary.add("unhealthy_app_count", unhealthy)
	summary.add("write_unhealthy_app_count", write)
	summary.add("read_unhealthy_app_count", read)
	return t, nil
}

// nameMatcher makes the test of ls -m and -p.
func nameMatcher(kind, pattern string) (func(string) bool, bool) {
	if pattern == "" && kind != "exact" {
		kind = "all"
	}
	m, ok := map[string]func(string) bool{
		"all":      func(string) bool { return true },
		"exact":    func(n string) bool { return n == pattern },
		"anywhere": func(n string) bool { return strings.Contains(n, pattern) },
		"prefix":   func(n string) bool { return strings.HasPrefix(n, pattern) },
		"postfix":  func(n string) bool { return strings.HasSuffix(n, pattern) },
	}[kind]
	return m, ok
}

// clock prints a Unix second as the original does, in local time.
func clock(seconds int64) string {
	if seconds <= 0 {
		return "-"
	}
	return time.Unix(seconds, 0).Format("2006-01-02_15:04:05")
}

func (s *shell) app(ctx context.Context, f *flags) error {
	if len(f.args) != 1 {
		return usageError("")
	}
	name := f.args[0]
	ctx, cancel := admin(ctx)
	defer cancel()
	cfg, err := s.c.QueryConfig(ctx, name)
	if err != nil {
		fmt.Fprintf(s.err, "query app %s failed, error=%s\n", name, code(err))
		return errShown
	}
	parameters := newList("parameters")
	parameters.add("app_name", name)
	if f.has("o") {
		parameters.add("out_file", f.text("o", ""))
	}
	parameters.add("detailed", f.has("d"))
	general := newList("general")
	general.add("app_name", name)
	general.add("app_id", cfg.AppID)
	general.add("partition_count", cfg.PartitionCount)
	replicaCount := int32(0)
	if len(cfg.Partitions) > 0 {
		replicaCount = cfg.Partitions[0].MaxReplicaCount
	}
	general.add("max_replica_count", replicaCount)
	tables := []*table{parameters, general}
	if f.has("d") {
		tables = append(tables, detailed(cfg)...)
	}
	return s.write(f, func(w io.Writer) { printTables(w, f.has("j"), tables...) })
}

// detailed makes the tables of app -d.
func detailed(cfg *client.TableConfig) []*table {
	replicas := newGrid("replicas", "pidx", "ballot", "replica_count", "primary", "secondaries")
	for _, p := range cfg.Partitions {
		primary, n := "-", len(p.Secondaries)
		if !p.Primary.IsZero() {
			primary = p.Primary.String()
			n++
		}
		secondaries := make([]string, len(p.Secondaries))
		for i, sec := range p.Secondaries {
			secondaries[i] = sec.String()
		}
		replicas.add(p.Pid.PartitionIndex, p.Ballot, fmt.Sprintf("%d/%d", n, p.MaxReplicaCount), primary,
			"["+strings.Join(secondaries, ",")+"]")
	}
	counts := map[idl.RPCAddress]nodeCount{}
	tally(counts, cfg)
	nodes := newGrid("nodes", "node", "primary", "secondary", "total")
	var sum nodeCount
	for _, addr := range slices.SortedFunc(maps.Keys(counts), byAddress) {
		c := counts[addr]
		nodes.add(addr, c.primaries, c.secondaries, c.primaries+c.secondaries)
		sum.primaries += c.primaries
		sum.secondaries += c.secondaries
	}
	nodes.add("", sum.primaries, sum.secondaries, sum.primaries+sum.secondaries)
	var view cluster.Table
	view.Configure(cfg)
	healthy := newList("healthy")
	healthy.add("fully_healthy_partition_count", view.Health.Fully)
	healthy.add("unhealthy_partition_count", view.Health.Unhealthy)
	healthy.add("write_unhealthy_partition_count", view.Health.WriteUnhealthy)
	healthy.add("read_unhealthy_partition_count", view.Health.ReadUnhealthy)
	return []*table{replicas, nodes, healthy}
}
