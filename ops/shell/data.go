// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// An operation is one data operation of a command: its deadline, its table and, afterwards, who
// answered.
type operation struct {
	ctx   context.Context
	t     *client.Table
	info  client.Info
	write bool
}

// operate runs f on the table in use and prints what went wrong, or who answered.
func (s *shell) operate(ctx context.Context, write bool, f func(o *operation) error) error {
	name, err := s.inUse()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	o := &operation{t: s.c.Table(name), write: write}
	o.info = client.Info{GPID: idl.GPID{AppID: -1, PartitionIndex: -1}, Decree: -1}
	o.ctx = client.WithInfo(ctx, &o.info)
	if err = f(o); err != nil {
		err = s.complain(err)
	}
	s.printInfo(o)
	return err
}

// complain prints the failure of a data operation: first in the words of the original, then,
// where those say little, in full.
func (s *shell) complain(err error) error {
	text, enough := clientText(err)
	fmt.Fprintf(s.err, "ERROR: %s\n", text)
	var e *client.Error
	switch {
	case errors.Is(err, client.ErrTableNotFound) && errors.As(err, &e):
		s.noSuchTable(e.Table)
	case !enough:
		fmt.Fprintln(s.err, err)
	}
	return errShown
}

// noSuchTable makes up for the command use, which takes any name.
func (s *shell) noSuchTable(name string) {
	fmt.Fprintf(s.err, "table %s: no such table; see ls\n", name)
}

// clientTexts is how the C++ client words error names. Those that are not here are an "unknown
// error" there too.
var clientTexts = map[idl.ErrorCode]string{
	idl.ErrTimeout:             "timeout",
	idl.ErrObjectNotFound:      "object not found",
	idl.ErrNetworkFailure:      "network failure",
	idl.ErrHandlerNotFound:     "handler not found",
	idl.ErrOperationDisabled:   "operation disabled",
	idl.ErrNotEnoughMember:     "no enough member",
	idl.ErrAppNotExist:         "app not exist",
	idl.ErrAppExist:            "app already exist",
	idl.ErrFileOperationFailed: "server internal error",
	idl.ErrInvalidState:        "server changed",
	idl.ErrBusy:                "app busy",
	idl.ErrSplitting:           "app splitting",
	idl.ErrDiskInsufficient:    "disk insufficient",
}

// clientText is the wording of the C++ client for an error, and whether that says all.
func clientText(err error) (text string, enough bool) {
	var e *client.Error
	switch isError := errors.As(err, &e); {
	case errors.Is(err, client.ErrTableNotFound):
		return "app not exist", true
	case errors.Is(err, client.ErrNotFound):
		return "not found", true
	case errors.Is(err, client.ErrInvalidArgument):
		return "invalid argument", isError && e.Err == nil
	case isError && e.Status > client.StatusOK && e.Status < client.StatusTryAgain:
		return e.Status.String(), false
	}
	if text, ok := clientTexts[code(err)]; ok {
		return text, false
	}
	return "unknown error", false
}

func (s *shell) printInfo(o *operation) {
	fmt.Fprintf(s.out, "\napp_id          : %d\npartition_index : %d\n", o.info.GPID.AppID, o.info.GPID.PartitionIndex)
	if o.write {
		fmt.Fprintf(s.out, "decree          : %d\n", o.info.Decree)
	}
	fmt.Fprintf(s.out, "server          : %s\n", o.info.Server)
}

// quoted prints a key or value between quotation marks.
func (s *shell) quoted(b []byte) string { return `"` + escape(b, s.escapeAll) + `"` }

func (s *shell) hash(ctx context.Context, f *flags) error {
	if len(f.args) != 2 {
		return usageError("")
	}
	t := newList("")
	hk, sk := []byte(f.args[0]), []byte(f.args[1])
	t.add("key_hash", idl.KeyHash(hk, sk))
	if s.table != "" {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		r, err := s.c.Table(s.table).Route(ctx, hk, sk)
		if err != nil {
			return s.complain(err)
		}
		primary := ""
		if !r.Primary.IsZero() {
			primary = r.Primary.String()
		}
		t.add("app_name", s.table)
		t.add("app_id", r.GPID.AppID)
		t.add("partition_count", r.PartitionCount)
		t.add("partition_index", r.GPID.PartitionIndex)
		t.add("primary", primary)
		t.add("secondaries", "") // the original leaves it empty too
	}
	printTable(s.out, false, t)
	return nil
}

// seconds reads a time to live.
func seconds(text string) (time.Duration, error) {
	n, err := parseInteger(text, "ttl in seconds", 0)
	if err == nil && n > math.MaxInt32 {
		err = usageError("ERROR: parse %s as ttl in seconds failed", text)
	}
	return time.Duration(n) * time.Second, err
}

func (s *shell) set(ctx context.Context, f *flags) error {
	if len(f.args) != 3 && len(f.args) != 4 {
		return usageError("")
	}
	var ttl time.Duration
	if len(f.args) == 4 {
		var err error
		if ttl, err = seconds(f.args[3]); err != nil {
			return err
		}
	}
	return s.operate(ctx, true, func(o *operation) error {
		if err := o.t.Set(o.ctx, []byte(f.args[0]), []byte(f.args[1]), []byte(f.args[2]), ttl); err != nil {
			return err
		}
		fmt.Fprintln(s.out, "OK")
		return nil
	})
}

func (s *shell) get(ctx context.Context, f *flags) error {
	if len(f.args) != 2 {
		return usageError("")
	}
	return s.operate(ctx, false, func(o *operation) error {
		v, err := o.t.Get(o.ctx, []byte(f.args[0]), []byte(f.args[1]))
		if errors.Is(err, client.ErrNotFound) {
			fmt.Fprintln(s.out, "Not found")
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(s.out, s.quoted(v))
		return nil
	})
}

func (s *shell) del(ctx context.Context, f *flags) error {
	if len(f.args) != 2 {
		return usageError("")
	}
	return s.operate(ctx, true, func(o *operation) error {
		if err := o.t.Del(o.ctx, []byte(f.args[0]), []byte(f.args[1])); err != nil {
			return err
		}
		fmt.Fprintln(s.out, "OK")
		return nil
	})
}

func (s *shell) exist(ctx context.Context, f *flags) error {
	if len(f.args) != 2 {
		return usageError("")
	}
	return s.operate(ctx, false, func(o *operation) error {
		ok, err := o.t.Exist(o.ctx, []byte(f.args[0]), []byte(f.args[1]))
		if err != nil {
			return err
		}
		if ok {
			fmt.Fprintln(s.out, "True")
		} else {
			fmt.Fprintln(s.out, "False")
		}
		return nil
	})
}

func (s *shell) ttl(ctx context.Context, f *flags) error {
	if len(f.args) != 2 {
		return usageError("")
	}
	return s.operate(ctx, false, func(o *operation) error {
		ttl, err := o.t.TTL(o.ctx, []byte(f.args[0]), []byte(f.args[1]))
		switch {
		case errors.Is(err, client.ErrNotFound):
			fmt.Fprintln(s.out, "Not found")
		case err != nil:
			return err
		case ttl == client.NoExpiry:
			fmt.Fprintln(s.out, "Infinite")
		default:
			fmt.Fprintln(s.out, int64(ttl/time.Second))
		}
		return nil
	})
}

func (s *shell) incr(ctx context.Context, f *flags) error {
	if len(f.args) != 2 && len(f.args) != 3 {
		return usageError("")
	}
	by := int64(1)
	if len(f.args) == 3 {
		n, err := strconv.ParseInt(f.args[2], 10, 64)
		if err != nil {
			return usageError("ERROR: invalid increment param: %s", f.args[2])
		}
		by = n
	}
	return s.operate(ctx, true, func(o *operation) error {
		n, err := o.t.Incr(o.ctx, []byte(f.args[0]), []byte(f.args[1]), by, client.KeepTTL)
		if err != nil {
			return err
		}
		fmt.Fprintln(s.out, n)
		return nil
	})
}

func (s *shell) count(ctx context.Context, f *flags) error {
	if len(f.args) != 1 {
		return usageError("")
	}
	return s.operate(ctx, false, func(o *operation) error {
		n, err := o.t.SortKeyCount(o.ctx, []byte(f.args[0]))
		if err != nil {
			return err
		}
		fmt.Fprintln(s.out, n)
		return nil
	})
}
