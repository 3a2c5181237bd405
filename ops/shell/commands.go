// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// A command is one word of the language. Its options are read off the usage text; a command
// without options gets its words as they are.
type command struct {
	name  string
	usage string
	run   func(s *shell, ctx context.Context, f *flags) error
	// stopAtWord leaves everything from the first word that is no option to the command.
	stopAtWord bool
}

const (
	filterUsage = "[-s|--sort_key_filter_type anywhere|prefix|postfix] [-y|--sort_key_filter_pattern str]"
	scanUsage   = "[-v|--value_filter_type anywhere|prefix|postfix|exact] [-z|--value_filter_pattern str]"
	outUsage    = "[-o|--output file_name] [-n|--max_count num] [-t|--timeout_ms num] [-d|--detailed] [-i|--no_value]"
	fullUsage   = "[-h|--hash_key_filter_type anywhere|prefix|postfix] [-x|--hash_key_filter_pattern str] " +
		"[-s|--sort_key_filter_type anywhere|prefix|postfix|exact] [-y|--sort_key_filter_pattern str] " + scanUsage
	rangeUsage = "<hash_key> <start_sort_key> <stop_sort_key> [-a|--start_inclusive true|false] [-b|--stop_inclusive true|false] " + filterUsage
	checkUsage = "<hash_key> [-c|--check_sort_key str] [-t|--check_type not_exist|not_exist_or_empty|exist|not_empty] " +
		"[match_anywhere|match_prefix|match_postfix] " +
		"[bytes_less|bytes_less_or_equal|bytes_equal|bytes_greater_or_equal|bytes_greater] " +
		"[int_less|int_less_or_equal|int_equal|int_greater_or_equal|int_greater] [-o|--check_operand str] "
	targetUsage = "[-t all|meta-server|replica-server] [-l host:port,host:port...] [-r|--resolve_ip]"
)

// commands in the order of the help text. It is filled in by init, because help refers to it.
var commands []command

func init() {
	commands = []command{
		{name: "help", run: (*shell).help},
		{name: "version", run: (*shell).printVersion},
		{name: "cluster_info", usage: "[-r|--resolve_ip] [-o|--output file_name] [-j|--json]", run: (*shell).clusterInfo},
		{name: "app", usage: "<app_name> [-d|--detailed] [-r|--resolve_ip] [-o|--output file_name] [-j|--json]", run: (*shell).app},
		{name: "ls", usage: "[-a|--all] [-d|--detailed] [-j|--json] [-o|--output file_name] " +
			"[-s|--status all|available|creating|dropping|dropped] [-p|--app_name_pattern str] " +
			"[-m|--match_type all|exact|anywhere|prefix|postfix]", run: (*shell).list},
		{name: "nodes", usage: "[-d|--detailed] [-j|--json] [-r|--resolve_ip] [-o|--output file_name] [-s|--status all|alive|unalive]",
			run: (*shell).nodes},
		{name: "create", usage: "<app_name> [-p|--partition_count num] [-r|--replica_count num] [-f|--fail_if_exist] " +
			"[-i|--atomic_idempotent] [-e|--envs k1=v1,k2=v2...]", run: (*shell).create},
		{name: "drop", usage: "<app_name> [-r|--reserve_seconds num]", run: (*shell).drop},
		{name: "recall", usage: "<app_id> [new_app_name]", run: (*shell).recall},
		{name: "rename", usage: "<old_app_name> <new_app_name>", run: (*shell).rename},
		{name: "set_meta_level", usage: "<stopped|blind|freezed|steady|lively>", run: (*shell).setLevel},
		{name: "get_meta_level", run: (*shell).getLevel},
		{name: "balance", usage: "<-g|--gpid appid.pidx> <-p|--type move_pri|copy_pri|copy_sec> " +
			"<-f|--from from_address> <-t|--to to_address>", run: (*shell).balance},
		{name: "propose", usage: "[-f|--force] <-g|--gpid appid.pidx> <-p|--type ASSIGN_PRIMARY|ADD_SECONDARY|DOWNGRADE_TO_INACTIVE...> " +
			"<-t|--target node_to_exec_command> <-n|--node node_to_be_affected>", run: (*shell).propose},
		{name: "use", usage: "[app_name]", run: (*shell).use},
		{name: "cc", usage: "[cluster_name]", run: (*shell).changeCluster},
		{name: "escape_all", usage: "[true|false]", run: (*shell).setEscape},
		{name: "timeout", usage: "[time_in_ms]", run: (*shell).setTimeout},
		{name: "hash", usage: "<hash_key> <sort_key>", run: (*shell).hash},
		{name: "set", usage: "<hash_key> <sort_key> <value> [ttl_in_seconds]", run: (*shell).set},
		{name: "multi_set", usage: "<hash_key> <sort_key> <value> [sort_key value...]", run: (*shell).multiSet},
		{name: "get", usage: "<hash_key> <sort_key>", run: (*shell).get},
		{name: "multi_get", usage: "<hash_key> [sort_key...]", run: (*shell).multiGet},
		{name: "batch_get", usage: "<hash_key> <sort_key> [hash_key sort_key...]", run: (*shell).batchGet},
		{name: "multi_get_range", usage: rangeUsage + " [-n|--max_count num] [-i|--no_value] [-r|--reverse]", run: (*shell).multiGetRange},
		{name: "multi_get_sortkeys", usage: "<hash_key>", run: (*shell).multiGetSortKeys},
		{name: "del", usage: "<hash_key> <sort_key>", run: (*shell).del},
		{name: "multi_del", usage: "<hash_key> <sort_key> [sort_key...]", run: (*shell).multiDel},
		{name: "multi_del_range", usage: rangeUsage + " [-o|--output file_name] [-i|--silent]", run: (*shell).multiDelRange},
		{name: "incr", usage: "<hash_key> <sort_key> [increment]", run: (*shell).incr},
		{name: "check_and_set", usage: checkUsage + "[-s|--set_sort_key str] [-v|--set_value str] " +
			"[-l|--set_value_ttl_seconds num] [-r|--return_check_value]", run: (*shell).checkAndSet},
		{name: "check_and_mutate", usage: checkUsage + "[-r|--return_check_value]", run: (*shell).checkAndMutate},
		{name: "exist", usage: "<hash_key> <sort_key>", run: (*shell).exist},
		{name: "count", usage: "<hash_key>", run: (*shell).count},
		{name: "ttl", usage: "<hash_key> <sort_key>", run: (*shell).ttl},
		{name: "hash_scan", usage: rangeUsage + " " + scanUsage + " " + outUsage, run: (*shell).hashScan},
		{name: "full_scan", usage: fullUsage + " " + outUsage + " [-p|--partition num]", run: (*shell).fullScan},
		{name: "count_data", usage: "[-c|--precise][-p|--partition num] [-b|--max_batch_count num][-t|--timeout_ms num] " +
			fullUsage + "[-d|--diff_hash_key] [-a|--stat_size] [-r|--run_seconds num]",
			run: (*shell).countData},
		{name: "remote_command", usage: "[-t all|meta-server|replica-server] [-r|--resolve_ip] [-l host:port,host:port...] " +
			"<command> [arguments...]", run: (*shell).remoteCommand, stopAtWord: true},
		{name: "server_info", usage: targetUsage, run: remote("server-info")},
		{name: "flush_log", usage: "[-t all|meta-server|replica-server] [-l host:port,host:port...][-r|--resolve_ip]", run: remote("flush-log")},
		{name: "get_app_envs", usage: "[-j|--json]", run: (*shell).getEnvs},
		{name: "set_app_envs", usage: "<key> <value> [key value...]", run: (*shell).setEnvs},
		{name: "del_app_envs", usage: "<key> [key...]", run: (*shell).delEnvs},
		{name: "clear_app_envs", usage: "[-a|--all] [-p|--prefix str]", run: (*shell).clearEnvs},
		{name: "ddd_diagnose", usage: "[-g|--gpid appid|appid.pidx] [-o|--output file_name]", run: (*shell).diagnose},
		{name: "get_replica_count", usage: "<app_name> [-j|--json]", run: (*shell).getReplicaCount},
		{name: "set_replica_count", usage: "<app_name> <replica_count>", run: (*shell).setReplicaCount},
		{name: "exit", run: func(*shell, context.Context, *flags) error { return errExit }},
	}
}

func findCommand(name string) *command {
	for i := range commands {
		if commands[i].name == name {
			return &commands[i]
		}
	}
	return nil
}

// Layout of usage texts: names are padded to the longest one of the original shell.
const (
	usageIndent = 27
	usageWidth  = 70
)

// help returns the name and the usage, broken between options.
func (c *command) help() string {
	lines := []string{""}
	for _, w := range usageWords(c.usage) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = w
		case len(*last)+1+len(w) <= usageWidth:
			*last += " " + w
		default:
			lines = append(lines, w)
		}
	}
	return fmt.Sprintf("%-*s%s\n", usageIndent, c.name, strings.Join(lines, "\n\t"+strings.Repeat(" ", usageIndent)))
}

func printHelp(w io.Writer) {
	fmt.Fprintln(w, "Usage:")
	for i := range commands {
		fmt.Fprint(w, "\t"+commands[i].help())
	}
}
