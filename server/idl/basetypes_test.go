// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBaseTypes(t *testing.T) {
	addr, err := ParseAddress("127.0.0.1:34801")
	require.NoError(t, err)
	for _, tc := range []struct {
		name string
		v    Value
		want string
	}{
		{"rpc_address", addr, "7f00000187f10001"},
		{"no rpc_address", RPCAddress(0), "0000000000000000"},
		{"gpid", GPID{AppID: 2, PartitionIndex: 3}, "0000000300000002"},
		{"negative gpid", GPID{AppID: -1, PartitionIndex: -2}, "fffffffeffffffff"},
		{"blob", Blob("v1"), "000000027631"},
		{"error_code", ErrOK, "000000064552525f4f4b"},
		{"unset error_code", ErrorCode(""), "000000064552525f4f4b"},
		{"host_port", HostPort{Host: "localhost", Port: 34801, Type: HostPortNormal}, "000000096c6f63616c686f737487f101"},
		{"no host_port", HostPort{}, "00000000000000"},
		{"task_code", TaskCode(RPCGet), "00000011" + hex.EncodeToString([]byte(RPCGet))},
		{"i64", I64(-1), "ffffffffffffffff"},
		{"string", String("ok"), "000000026f6b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, hex.EncodeToString(tc.v.Append(nil)))
		})
	}
}

func TestBaseTypesTruncated(t *testing.T) {
	for _, d := range []message{new(RPCAddress), new(GPID), new(Blob), new(ErrorCode), new(HostPort), new(TaskCode), new(I64), new(String)} {
		full := d.Append(nil)
		for n := range full {
			_, err := d.Decode(full[:n])
			require.ErrorIs(t, err, ErrTruncated, "%T cut to %d bytes", d, n)
		}
		rest, err := d.Decode(append(full, 'x'))
		require.NoError(t, err)
		require.Equal(t, "x", string(rest))
	}
}

func TestGPIDOrder(t *testing.T) {
	require.Negative(t, GPID{1, 9}.Compare(GPID{2, 0}))
	require.Positive(t, GPID{2, 1}.Compare(GPID{2, 0}))
	require.Zero(t, GPID{2, 1}.Compare(GPID{2, 1}))
}

func TestErrorNames(t *testing.T) {
	require.Len(t, errorNames, 88)
	require.Len(t, errorCodes, 88)
	for _, e := range errorNames {
		got, ok := ParseErrorCode(e.Error())
		require.True(t, ok)
		require.Equal(t, e, got)
	}
	_, ok := ParseErrorCode("ERR_NO_SUCH")
	require.False(t, ok)
	require.Equal(t, ErrorCode("ERR_NO_SUCH"), InternErrorCode([]byte("ERR_NO_SUCH")))
	require.True(t, ErrorCode("").OK())
}

func TestSafeTransport(t *testing.T) {
	// Names that the tables of the Go and Java clients lack.
	unsafe := map[ErrorCode]bool{}
	for _, name := range []ErrorCode{
		"ERR_CURL_FAILED", "ERR_DIR_NOT_EMPTY", "ERR_DISK_IO_ERROR", "ERR_DUP_EXIST", "ERR_FS_INTERNAL",
		"ERR_HTTP_ERROR", "ERR_IGNORE_BAD_DATA", "ERR_LEARNER_NOT_FOUND", "ERR_MOCK_INTERNAL", "ERR_NOT_MATCHED",
		"ERR_RANGER_PARSE_ACL", "ERR_RANGER_POLICIES_NO_NEED_UPDATE", "ERR_RDB_CORRUPTION", "ERR_RETRY_EXHAUSTED",
		"ERR_SYNC_RANGER_POLICIES_FAILED",
	} {
		unsafe[name] = true
	}
	for _, e := range append(errorNames[:], "ERR_INVENTED") {
		got := SafeTransport(e)
		_, known := errorCodes[string(got)]
		require.True(t, known && !unsafe[got], "%s becomes %s", e, got)
		if known := e != "ERR_INVENTED" && !unsafe[e]; known {
			require.Equal(t, e, got, "a safe name stays")
		}
	}
	require.Equal(t, ErrOK, SafeTransport(""))
	require.Equal(t, ErrUnknown, SafeTransport("ERR_INVENTED"))
}

func TestRPCNames(t *testing.T) {
	require.Len(t, rpcs, 2*len(rpcNames), "no name twice")
	for _, n := range rpcNames {
		require.LessOrEqual(t, len(n)+len(AckSuffix), 47, "%s fits into the header of the C++ framing", n)
		require.Equal(t, n+AckSuffix, InternRPC([]byte(n+AckSuffix)))
	}
	in := []byte(RPCMultiGet)
	require.Zero(t, testing.AllocsPerRun(100, func() { InternRPC(in) }))
	require.Equal(t, "RPC_NO_SUCH", InternRPC([]byte("RPC_NO_SUCH")))
}

func TestEnumNames(t *testing.T) {
	require.Equal(t, "AS_AVAILABLE", AsAvailable.String())
	require.Equal(t, "fl_lively", FlLively.String())
	require.Equal(t, "SPACE_INSUFFICIENT", DiskStatusSpaceInsufficient.String())
	require.Equal(t, "app_status(99)", AppStatus(99).String())
	level, ok := ParseMetaFunctionLevel("fl_steady")
	require.True(t, ok)
	require.Equal(t, FlSteady, level)
	_, ok = ParseMetaFunctionLevel("steady")
	require.False(t, ok)
	require.Equal(t, MetaFunctionLevel(400), FlSteady)
	require.Equal(t, "move_primary", BalancerRequestTypeMovePrimary.String())
	require.Equal(t, "FAIL_SLOW", DuplicationFailModeFailSlow.String())
}

func TestStatusText(t *testing.T) {
	require.Equal(t, "ok", StatusText(StatusOK))
	require.Equal(t, "try again", StatusText(StatusTryAgain))
	require.Equal(t, "status 14", StatusText(14))
	require.Equal(t, "status -1", StatusText(-1))
}
