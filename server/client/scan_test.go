// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/client/clienttest"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func fill(t *testing.T, temp *client.Table, hashKeys, sortKeys int) {
	t.Helper()
	for h := range hashKeys {
		var kvs []client.KeyValue
		for s := range sortKeys {
			kvs = append(kvs, client.KeyValue{SortKey: fmt.Appendf(nil, "s%02d", s), Value: fmt.Appendf(nil, "%d.%d", h, s)})
		}
		require.NoError(t, temp.MultiSet(t.Context(), fmt.Appendf(nil, "h%d", h), kvs, 0))
	}
}

func sortKeys(t *testing.T, s *client.Scanner) []string {
	t.Helper()
	var keys []string
	for r, err := range s.All(t.Context()) {
		require.NoError(t, err)
		keys = append(keys, string(r.SortKey))
	}
	_, err := s.Next(t.Context())
	require.Equal(t, io.EOF, err)
	return keys
}

func TestHashScanRanges(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fill(t, temp, 3, 25)
		for _, tt := range []struct {
			name        string
			start, stop string
			o           client.ScanOptions
			first, last string
			n           int
		}{
			{"whole hash key", "", "", client.ScanOptions{BatchSize: 4}, "s00", "s24", 25},
			{"half-open range", "s05", "s10", client.ScanOptions{BatchSize: 2}, "s05", "s09", 5},
			{"open at the start, closed at the end", "s05", "s10", client.ScanOptions{StartExclusive: true, StopInclusive: true}, "s06", "s10", 5},
			{"prefix", "", "", client.ScanOptions{SortKeys: client.Filter{Type: idl.FtMatchPrefix, Pattern: b("s1")}}, "s10", "s19", 10},
			{"prefix within a range", "s12", "s15", client.ScanOptions{StopInclusive: true, SortKeys: client.Filter{Type: idl.FtMatchPrefix, Pattern: b("s1")}}, "s12", "s15", 4},
			{"postfix, most batches empty", "", "", client.ScanOptions{BatchSize: 2, SortKeys: client.Filter{Type: idl.FtMatchPostfix, Pattern: b("4")}}, "s04", "s24", 3},
			{"empty range", "s10", "s05", client.ScanOptions{}, "", "", 0},
			{"empty range of one key", "s10", "s10", client.ScanOptions{}, "", "", 0},
		} {
			keys := sortKeys(t, temp.HashScan(b("h1"), b(tt.start), b(tt.stop), tt.o))
			require.Len(t, keys, tt.n, tt.name)
			if tt.n > 0 {
				require.Equal(t, tt.first, keys[0], tt.name)
				require.Equal(t, tt.last, keys[tt.n-1], tt.name)
			}
		}
	})
}

func TestFullScanReadsEverythingOnce(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fill(t, temp, 40, 3)
		for _, max := range []int{0, 1, 3, 99} {
			scanners, err := temp.FullScan(t.Context(), max, client.ScanOptions{BatchSize: 7, ExpireTS: true})
			require.NoError(t, err)
			if max == 1 || max == 3 {
				require.Len(t, scanners, max)
			} else {
				require.Len(t, scanners, 4)
			}
			seen := map[string]int{}
			for _, s := range scanners {
				for r, err := range s.All(t.Context()) {
					require.NoError(t, err)
					seen[string(r.HashKey)+"/"+string(r.SortKey)]++
				}
				s.Close()
			}
			require.Len(t, seen, 120)
			for k, n := range seen {
				require.Equal(t, 1, n, k)
			}
		}
		_, err := temp.PartitionScan(t.Context(), 4, client.ScanOptions{})
		require.ErrorIs(t, err, client.ErrInvalidArgument)
	})
}

func TestScanGoesOnWhereItWas(t *testing.T) {
	gpid := idl.GPID{AppID: 1, PartitionIndex: 2} // of hash key "h1"
	for name, disturb := range map[string]func(t *testing.T, f *clienttest.Fleet){
		"the server forgot the position": func(t *testing.T, f *clienttest.Fleet) { f.LoseScanners() },
		"the primary moved":              func(t *testing.T, f *clienttest.Fleet) { f.SetPrimary(gpid, nodes[0]) },
		"the server restarted": func(t *testing.T, f *clienttest.Fleet) {
			f.StopServer(nodes[2])
			f.LoseScanners()
			f.StartServer(t, nodes[2])
		},
		"a batch was lost on the way": func(t *testing.T, f *clienttest.Fleet) { silent(f, idl.RPCScan, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
				var kvs []client.KeyValue
				for i := range 30 {
					kvs = append(kvs, client.KeyValue{SortKey: fmt.Appendf(nil, "s%02d", i)})
				}
				require.NoError(t, temp.MultiSet(t.Context(), b("h1"), kvs, 0))
				s := temp.HashScan(b("h1"), nil, nil, client.ScanOptions{BatchSize: 10})
				var got []string
				for i := range 30 {
					if i == 15 {
						disturb(t, fleet)
					}
					r, err := s.Next(t.Context())
					require.NoError(t, err)
					got = append(got, string(r.SortKey))
				}
				_, err := s.Next(t.Context())
				require.Equal(t, io.EOF, err)
				require.True(t, slices.IsSorted(got))
				require.Len(t, slices.Compact(got), 30)
			})
		})
	}
}

func TestCountOnly(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fill(t, temp, 40, 3)
		scanners, err := temp.FullScan(t.Context(), 1, client.ScanOptions{BatchSize: 9, CountOnly: true})
		require.NoError(t, err)
		steps, sum := 0, 0
		n, err := scanners[0].Count(t.Context(), func(change int) {
			steps++
			sum += change
			if steps == 2 || steps == 6 {
				fleet.LoseScanners() // the partition is counted again
			}
		})
		require.NoError(t, err)
		require.EqualValues(t, 120, n)
		require.Equal(t, 120, sum)
	})
}

func TestCloseFreesThePosition(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fill(t, temp, 1, 30)
		s := temp.HashScan(b("h0"), nil, nil, client.ScanOptions{BatchSize: 10})
		_, err := s.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, fleet.Scanners())
		s.Close()
		time.Sleep(time.Millisecond)
		require.Zero(t, fleet.Scanners())
		_, err = s.Next(t.Context())
		require.Equal(t, io.EOF, err)
		s.Close()
	})
}

func TestScanOfASplitTableFails(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fill(t, temp, 40, 3)
		scanners, err := temp.FullScan(t.Context(), 1, client.ScanOptions{BatchSize: 9})
		require.NoError(t, err)
		_, err = scanners[0].Next(t.Context())
		require.NoError(t, err)
		fleet.Lock()
		fleet.Apps[0].PartitionCount = 8
		fleet.Unlock()
		require.NoError(t, temp.Refresh(t.Context()))
		for err == nil {
			_, err = scanners[0].Next(t.Context())
		}
		require.ErrorIs(t, err, client.ErrTableSplit)
	})
}

func TestScanErrors(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		_, err := temp.HashScan(make([]byte, 65535), nil, nil, client.ScanOptions{}).Next(t.Context())
		require.ErrorIs(t, err, client.ErrInvalidArgument)
		_, err = c.Table("nosuch").HashScan(b("h"), nil, nil, client.ScanOptions{}).Next(t.Context())
		require.ErrorIs(t, err, client.ErrTableNotFound)
		_, err = c.Table("nosuch").FullScan(t.Context(), 0, client.ScanOptions{})
		require.ErrorIs(t, err, client.ErrTableNotFound)
	})
}
