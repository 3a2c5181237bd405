// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// benchDB opens on the real disk.
func benchDB(b *testing.B) *DB {
	o := testOptions(b)
	o.FS, o.Dir, o.Now = vfs.Default, b.TempDir(), time.Now
	d := openDB(b, o)
	b.Cleanup(func() { _ = d.Close() })
	return d
}

// benchKey is a raw key of 20 bytes, scattered over the key space.
func benchKey(b []byte, i uint64) []byte {
	b = append(b, 0, 8)
	b = binary.BigEndian.AppendUint64(b, i*0x9e3779b97f4a7c15)
	return append(b, "sort-key--"...)
}

func BenchmarkApplyTenPuts(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			d := benchDB(b)
			var payload []byte
			n, value, answers := uint64(0), make([]byte, size), 0
			req := idl.UpdateRequest{Value: value}
			var arg []byte
			respond := func(int, idl.Value) { answers++ }
			b.SetBytes(int64(10 * size))
			b.ReportAllocs()
			for b.Loop() {
				payload = payload[:0]
				for range 10 {
					n++
					req.Key = benchKey(req.Key[:0], n)
					arg = req.Append(arg[:0])
					payload = AppendWrite(payload, CodePut, arg)
				}
				if err := d.Apply(d.Applied()+1, 0, payload, respond); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkApplyIncr(b *testing.B) {
	d := benchDB(b)
	req := idl.IncrRequest{Key: rawKey("h", "n"), Increment: 1}
	payload := AppendWrite(nil, CodeIncr, req.Append(nil))
	respond := func(int, idl.Value) {}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Apply(d.Applied()+1, 0, payload, respond); err != nil {
			b.Fatal(err)
		}
	}
}

// sink drops answers.
type sink struct{ found, bytes int }

func (s *sink) Reply(v idl.Value) {
	if r, ok := v.(*idl.ReadResponse); ok && r.Error == 0 {
		s.found++
		s.bytes += len(r.Value)
	}
}
func (s *sink) ReplyError(idl.ErrorCode) {}

func BenchmarkGet(b *testing.B) {
	const records = 100_000
	d := benchDB(b)
	value := make([]byte, 100)
	for i := uint64(0); i < records; {
		var payload []byte
		for range 1000 {
			payload = AppendWrite(payload, CodePut, (&idl.UpdateRequest{Key: benchKey(nil, i), Value: value}).Append(nil))
			i++
		}
		if err := d.Apply(d.Applied()+1, 0, payload, nil); err != nil {
			b.Fatal(err)
		}
	}
	get := func(b *testing.B, offset uint64) {
		var s sink
		var key, arg []byte
		n := uint64(0)
		b.ReportAllocs()
		for b.Loop() {
			n++
			key = benchKey(key[:0], n%records+offset)
			arg = idl.Blob(key).Append(arg[:0])
			d.Read(idl.RPCGet, arg, &s)
		}
		if want := offset == 0; want != (s.found > 0) {
			b.Fatal("found", s.found)
		}
	}
	if err := d.Flush(); err != nil {
		b.Fatal(err)
	}
	b.Run("tables", func(b *testing.B) { get(b, 0) })
	b.Run("missing", func(b *testing.B) { get(b, records) })
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			var s sink
			var key, arg []byte
			for n := uint64(0); p.Next(); n++ {
				key = benchKey(key[:0], n%records)
				arg = idl.Blob(key).Append(arg[:0])
				d.Read(idl.RPCGet, arg, &s)
			}
		})
	})
}

func BenchmarkMultiGet100(b *testing.B) {
	r := rig{b, benchDB(b)}
	r.fill("h", 100, 100)
	arg := (&idl.MultiGetRequest{HashKey: []byte("h")}).Append(nil)
	var s sink
	b.ReportAllocs()
	for b.Loop() {
		r.Read(idl.RPCMultiGet, arg, &s)
	}
}
