// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"fmt"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// checkTypes are the words of check_and_set -t.
var checkTypes = map[string]idl.CasCheckType{}

func init() {
	for t := idl.CtValueNotExist; t <= idl.CtValueIntGreater; t++ {
		checkTypes[strings.ToLower(strings.TrimPrefix(t.String(), "CT_VALUE_"))] = t
	}
}

// parseCheck reads the condition of both commands; what was given is printed at once.
func (s *shell) parseCheck(f *flags) (hashKey []byte, check client.Check, err error) {
	if len(f.args) != 1 {
		return nil, check, usageError("")
	}
	typ, ok := checkTypes[f.text("t", "")]
	if !ok {
		return nil, check, usageError("ERROR: invalid check_type param: %s", f.text("t", ""))
	}
	if !f.has("c") {
		return nil, check, usageError("ERROR: check_sort_key not provided")
	}
	if needs := typ >= idl.CtValueMatchAnywhere; needs && !f.has("o") {
		return nil, check, usageError("ERROR: check_operand not provided")
	}
	check = client.Check{SortKey: []byte(f.text("c", "")), Type: typ, Operand: []byte(f.text("o", "")), Return: f.has("r")}
	return []byte(f.args[0]), check, nil
}

func (s *shell) printCheck(hashKey []byte, check *client.Check, typeName string) {
	fmt.Fprintf(s.out, "hash_key: %s\ncheck_sort_key: %s\ncheck_type: %s\n", s.quoted(hashKey), s.quoted(check.SortKey), typeName)
	if check.Type >= idl.CtValueMatchAnywhere {
		fmt.Fprintf(s.out, "check_operand: %s\n", s.quoted(check.Operand))
	}
}

// printResult tells how a conditional write ("Set", "Mutate") went.
func (s *shell) printResult(verb string, check *client.Check, r client.CheckResult) {
	if r.Written {
		fmt.Fprintf(s.out, "%s succeed.\n", verb)
	} else {
		fmt.Fprintf(s.out, "%s failed, because check not passed.\n", verb)
	}
	switch {
	case !check.Return:
	case r.Exist:
		fmt.Fprintf(s.out, "\nCheck value: %s\n", s.quoted(r.Value))
	default:
		fmt.Fprint(s.out, "\nCheck value not exist.\n")
	}
}

func (s *shell) checkAndSet(ctx context.Context, f *flags) error {
	hashKey, check, err := s.parseCheck(f)
	if err != nil {
		return err
	}
	if !f.has("s") || !f.has("v") {
		return usageError("ERROR: set_sort_key and set_value must be provided")
	}
	ttl, err := seconds(f.text("l", "0"))
	if err != nil {
		return err
	}
	sortKey, value := []byte(f.text("s", "")), []byte(f.text("v", ""))
	return s.operate(ctx, true, func(o *operation) error {
		s.printCheck(hashKey, &check, f.text("t", ""))
		fmt.Fprintf(s.out, "set_sort_key: %s\nset_value: %s\nset_value_ttl_seconds: %d\nreturn_check_value: %v\n\n",
			s.quoted(sortKey), s.quoted(value), int64(ttl.Seconds()), check.Return)
		r, err := o.t.CheckAndSet(o.ctx, hashKey, check, sortKey, value, ttl)
		if err != nil {
			return err
		}
		s.printResult("Set", &check, r)
		return nil
	})
}

func (s *shell) checkAndMutate(ctx context.Context, f *flags) error {
	hashKey, check, err := s.parseCheck(f)
	if err != nil {
		return err
	}
	if _, err := s.inUse(); err != nil {
		return err
	}
	mutations, err := s.loadMutations()
	if err != nil {
		return err
	}
	return s.operate(ctx, true, func(o *operation) error {
		s.printCheck(hashKey, &check, f.text("t", ""))
		fmt.Fprintf(s.out, "return_check_value: %v\nmutations:\n", check.Return)
		for i, m := range mutations {
			if m.Delete {
				fmt.Fprintf(s.out, "  mutation[%d].type: DEL\n  mutation[%d].sort_key: %s\n", i, i, s.quoted(m.SortKey))
				continue
			}
			fmt.Fprintf(s.out, "  mutation[%d].type: SET\n  mutation[%d].sort_key: %s\n  mutation[%d].value: %s\n  mutation[%d].expire_seconds: %d\n",
				i, i, s.quoted(m.SortKey), i, s.quoted(m.Value), i, int64(m.TTL.Seconds()))
		}
		fmt.Fprintln(s.out)
		r, err := o.t.CheckAndMutate(o.ctx, hashKey, check, mutations)
		if err != nil {
			return err
		}
		s.printResult("Mutate", &check, r)
		return nil
	})
}

// loadMutations reads the writes of check_and_mutate from where commands come from.
func (s *shell) loadMutations() ([]client.Mutation, error) {
	fmt.Fprint(s.out, "Load mutations, like\n  set <sort_key> <value> [ttl]\n  del <sort_key>\n"+
		"Print \"ok\" to finish loading, \"abort\" to abort this command\n")
	var all []client.Mutation
	for {
		line, err := s.lines.next(">>> ")
		if err != nil {
			return nil, s.fail("ERROR: the mutations end without \"ok\": nothing is changed")
		}
		words, err := splitLine(line)
		if err != nil || len(words) == 0 {
			fmt.Fprintf(s.err, "ERROR: cannot read %q: try again\n", line)
			continue
		}
		switch m, err := parseMutation(words); {
		case words[0] == "abort":
			return nil, s.fail("INFO: load mutations aborted.")
		case words[0] == "ok" && len(all) == 0:
			return nil, s.fail("ERROR: no mutation is loaded: nothing is changed")
		case words[0] == "ok":
			fmt.Fprint(s.out, "INFO: load mutations done.\n\n")
			return all, nil
		case err != nil:
			fmt.Fprintf(s.err, "%v: try again\n", err)
		case m.Delete:
			fmt.Fprintf(s.out, "LOAD: del sortkey %s\n", s.quoted(m.SortKey))
			all = append(all, m)
		default:
			fmt.Fprintf(s.out, "LOAD: set sortkey %s, value %s, ttl %d\n", s.quoted(m.SortKey), s.quoted(m.Value), int64(m.TTL.Seconds()))
			all = append(all, m)
		}
	}
}

func parseMutation(words []string) (m client.Mutation, err error) {
	switch {
	case words[0] == "set" && (len(words) == 3 || len(words) == 4):
		m = client.Mutation{SortKey: []byte(words[1]), Value: []byte(words[2])}
		if len(words) == 4 {
			m.TTL, err = seconds(words[3])
		}
		return m, err
	case words[0] == "del" && len(words) == 2:
		return client.Mutation{SortKey: []byte(words[1]), Delete: true}, nil
	}
	return m, fmt.Errorf("ERROR: invalid mutation %q", strings.Join(words, " "))
}
