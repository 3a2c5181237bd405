// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// readyLimit is how long create and recall wait for the partitions of a table.
const readyLimit = time.Hour

// validName is the original shell's rule for names of tables.
func validName(name string) bool {
	return name != "" && strings.Trim(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._:") == ""
}

func (s *shell) create(ctx context.Context, f *flags) error {
	if len(f.args) != 1 {
		return usageError("")
	}
	name := f.args[0]
	if !validName(name) {
		return usageError("ERROR: invalid app name %s: letters, digits and . _ : are allowed", name)
	}
	partitions, err1 := f.integer("p", "partition_count", 1, 4)
	replicas, err2 := f.integer("r", "replica_count", 1, 3)
	envs, err3 := parseEnvs(f.text("e", ""))
	if err := errors.Join(err1, err2, err3); err != nil {
		return usageError("%v", err)
	}
	if partitions&(partitions-1) != 0 {
		fmt.Fprintf(s.err, "WARNING: %d partitions is no power of two: the Go client of Apache Pegasus cannot use such a table\n", partitions)
	}
	actx, cancel := admin(ctx)
	defer cancel()
	_, err := s.c.CreateTable(actx, name, client.CreateOptions{
		Partitions: int(partitions), Replicas: int(replicas), Envs: envs, FailIfExist: f.has("f"), AtomicIdempotent: f.has("i"),
	})
	if err == nil {
		fmt.Fprintf(s.out, "create app %s succeed, waiting for app ready\n", name)
		err = s.waitReady(ctx, name, int(replicas))
	} else {
		fmt.Fprintf(s.err, "%s: create app %s failed: [create] received server error\n", code(err), name)
	}
	if err != nil {
		return s.fail("create app \"%s\" failed, error = %s", name, code(err))
	}
	fmt.Fprintf(s.out, "create app \"%s\" succeed\n", name)
	return nil
}

func parseEnvs(text string) (map[string]string, error) {
	envs := map[string]string{}
	for _, pair := range strings.Split(text, ",") {
		if pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("ERROR: invalid envs %q: want k1=v1,k2=v2", text)
		}
		envs[k] = v
	}
	return envs, nil
}

// waitReady tells once a second how many partitions have a primary and all replicas.
func (s *shell) waitReady(ctx context.Context, name string, replicas int) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	tick := time.NewTicker(s.poll)
	defer tick.Stop()
	for {
		actx, cancel := admin(ctx)
		cfg, err := s.c.QueryConfig(actx, name)
		cancel()
		switch {
		case err == nil:
			ready, n := cfg.Ready(replicas), int(cfg.PartitionCount)
			if ready == n {
				fmt.Fprintf(s.out, "%s is ready now: (%d/%d)\n%s is ready now!\n", name, ready, n, name)
				return nil
			}
			fmt.Fprintf(s.out, "%s not ready yet, still waiting... (%d/%d)\n", name, ready, n)
		case !errors.Is(err, idl.ErrBusyCreating) && !errors.Is(err, idl.ErrTimeout):
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for table %s: %w", name, idl.ErrTimeout)
		}
	}
}

func (s *shell) drop(ctx context.Context, f *flags) error {
	if len(f.args) != 1 {
		return usageError("")
	}
	name := f.args[0]
	reserve, err := f.integer("r", "reserve_seconds", 0, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "reserve_seconds = %d\n", reserve)
	ctx, cancel := admin(ctx)
	defer cancel()
	if err := s.c.DropTable(ctx, name, time.Duration(reserve)*time.Second); err != nil {
		return s.fail("drop app %s failed, error = %s", name, code(err))
	}
	fmt.Fprintf(s.out, "drop app %s succeed\n", name)
	return nil
}

func (s *shell) recall(ctx context.Context, f *flags) error {
	if len(f.args) < 1 || len(f.args) > 2 {
		return usageError("")
	}
	id, err := parseInteger(f.args[0], "app_id", 1)
	if err != nil {
		return err
	}
	newName := ""
	if len(f.args) == 2 {
		newName = f.args[1]
	}
	actx, cancel := admin(ctx)
	defer cancel()
	info, err := s.c.RecallTable(actx, int32(id), newName)
	if err != nil {
		return s.fail("recall app %d failed, error = %s", id, code(err))
	}
	fmt.Fprintf(s.out, "recall app ok, id(%d), name(%s), partition_count(%d), wait it ready\n", info.AppID, info.AppName, info.PartitionCount)
	if err := s.waitReady(ctx, info.AppName, int(info.MaxReplicaCount)); err != nil {
		return s.fail("recall app %d failed, error = %s", id, code(err))
	}
	fmt.Fprintf(s.out, "recall app %d succeed\n", id)
	return nil
}

func (s *shell) rename(ctx context.Context, f *flags) error {
	if len(f.args) != 2 {
		return usageError("")
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	if err := s.c.RenameTable(ctx, f.args[0], f.args[1]); err != nil {
		return s.fail("rename app failed, old_app_name(%s), new_app_name(%s), error = %s%s", f.args[0], f.args[1], code(err), hint(err))
	}
	fmt.Fprintf(s.out, "rename app ok, old_app_name(%s), new_app_name(%s)\n", f.args[0], f.args[1])
	return nil
}

// hint is the server's explanation of an error, in the form the original appends.
func hint(err error) string {
	var e *client.Error
	if errors.As(err, &e) && e.Hint != "" {
		return fmt.Sprintf(" [hint:\"%s\"]", e.Hint)
	}
	return ""
}

func (s *shell) getReplicaCount(ctx context.Context, f *flags) error {
	if len(f.args) != 1 {
		return usageError("")
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	n, err := s.c.ReplicaCount(ctx, f.args[0])
	if err != nil {
		return s.fail("get replica count of app(%s) failed, error = %s%s", f.args[0], code(err), hint(err))
	}
	t := newList("max_replica_count")
	t.add("max_replica_count", n)
	printTable(s.out, f.has("j"), t)
	return nil
}

// setReplicaCount asks back, as the original does.
func (s *shell) setReplicaCount(ctx context.Context, f *flags) error {
	if len(f.args) != 2 {
		return usageError("")
	}
	name := f.args[0]
	n, err := parseInteger(f.args[1], "replica_count", 1)
	if err != nil {
		return err
	}
	question := fmt.Sprintf("PLEASE be CAUTIOUS with this operation ! Are you sure to set the replica count of app(%s) to %d ? [y/n]: ", name, n)
	if ok, err := s.confirm(question); !ok || err != nil {
		return err
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	old, err := s.c.SetReplicaCount(ctx, name, int(n))
	if err != nil {
		return s.fail("set replica count of app(%s) from %d to %d failed, error = %s%s", name, old, n, code(err), hint(err))
	}
	fmt.Fprintf(s.out, "set replica count of app(%s) from %d to %d succeed\n", name, old, n)
	return nil
}

// confirm asks a question that wants y or n, five times at most on a terminal. Without one the
// next line may be the answer, as scripts for the original have it; if it is none it was meant
// as a command, and to take more of them for answers would only do harm.
func (s *shell) confirm(question string) (bool, error) {
	if s.o.AssumeYes {
		return true, nil
	}
	attempts := 5
	if !s.o.Interactive { // the terminal prompts itself
		attempts = 1
		fmt.Fprint(s.out, question)
	}
	for range attempts {
		answer, err := s.lines.next(question)
		switch {
		case err == nil && answer == "y":
			return true, nil
		case err == nil && answer == "n":
			fmt.Fprintln(s.out, "nothing is changed")
			return false, nil
		case err != nil && s.o.Interactive:
			return false, s.fail("\nno answer: nothing is changed")
		case err != nil:
			return false, s.fail("\nno answer: nothing is changed; without a terminal use --yes")
		case !s.o.Interactive:
			return false, s.fail("\n%q is neither y nor n: nothing is changed; without a terminal use --yes", answer)
		}
	}
	return false, s.fail("too many failed attempts, we will stop !")
}

// failOn is fail for a request about the table in use; it says if that is not there.
func (s *shell) failOn(name string, err error, format string, args ...any) error {
	s.fail(format, args...)
	if c := code(err); c == idl.ErrAppNotExist || c == idl.ErrObjectNotFound {
		s.noSuchTable(name)
	}
	return errShown
}

// inUse returns the table of the command use.
func (s *shell) inUse() (string, error) {
	if s.table == "" {
		return "", s.fail("No app is using now\nUSAGE: use [app_name]")
	}
	return s.table, nil
}

func (s *shell) getEnvs(ctx context.Context, f *flags) error {
	if len(f.args) > 0 {
		return usageError("")
	}
	name, err := s.inUse()
	if err != nil {
		return err
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	apps, err := s.c.ListTables(ctx, idl.AsAvailable)
	i := slices.IndexFunc(apps, func(a idl.AppInfo) bool { return a.AppName == name })
	if err == nil && i < 0 {
		err = idl.ErrObjectNotFound
	}
	if err != nil {
		return s.failOn(name, err, "get app env failed with err = %s", code(err))
	}
	envs := apps[i].Envs
	if len(envs) == 0 && !f.has("j") {
		return nil
	}
	t := newList("app_envs")
	for _, k := range slices.Sorted(maps.Keys(envs)) {
		t.add(k, envs[k])
	}
	printTable(s.out, f.has("j"), t)
	return nil
}

func (s *shell) setEnvs(ctx context.Context, f *flags) error {
	name, err := s.inUse()
	if err != nil {
		return err
	}
	if len(f.args) == 0 || len(f.args)%2 != 0 {
		return usageError("")
	}
	envs := map[string]string{}
	for i := 0; i < len(f.args); i += 2 {
		if _, twice := envs[f.args[i]]; twice {
			return usageError("ERROR: key %s is given twice", f.args[i])
		}
		envs[f.args[i]] = f.args[i+1]
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	if _, err := s.c.SetEnvs(ctx, name, envs); err != nil {
		return s.failOn(name, err, "set app envs failed with error %s%s!", code(err), hint(err))
	}
	fmt.Fprintln(s.out, "set app envs succeed")
	return nil
}

func (s *shell) delEnvs(ctx context.Context, f *flags) error {
	name, err := s.inUse()
	if err != nil {
		return err
	}
	if len(f.args) == 0 {
		return usageError("")
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	removed, err := s.c.DelEnvs(ctx, name, f.args)
	if err != nil {
		return s.failOn(name, err, "del app env failed with err = %s", code(err))
	}
	s.removedEnvs("del", removed)
	return nil
}

func (s *shell) clearEnvs(ctx context.Context, f *flags) error {
	name, err := s.inUse()
	if err != nil {
		return err
	}
	if len(f.args) > 0 || f.has("a") == f.has("p") {
		return usageError("must use one of --all or --prefix")
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	removed, err := s.c.ClearEnvs(ctx, name, f.text("p", ""))
	if err != nil {
		return s.failOn(name, err, "clear app envs failed with err = %s", code(err))
	}
	s.removedEnvs("clear", removed)
	return nil
}

func (s *shell) removedEnvs(verb, removed string) {
	rule := strings.Repeat("=", 29)
	fmt.Fprintf(s.out, "%s app envs succeed\n%s\n%s\n%s\n", verb, rule, removed, rule)
}

// parseGPID reads "app_id.partition_index" or, if whole tables are allowed, "app_id".
func parseGPID(text string, tables bool) (idl.GPID, error) {
	if id, err := strconv.ParseInt(text, 10, 32); err == nil && id > 0 && tables {
		return idl.GPID{AppID: int32(id), PartitionIndex: -1}, nil
	}
	gpid, err := idl.ParseGPID(text)
	if err != nil {
		return gpid, usageError("ERROR: parse %s as gpid failed", text)
	}
	return gpid, nil
}
