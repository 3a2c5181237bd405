// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"math/rand/v2"
	"testing"
	"time"
)

func rng(seed int64) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

func TestClusterServes(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 4, 3)
		l := c.ledger("temp")
		l.write(50)
		l.check()
		time.Sleep(time.Minute)
		l.write(10)
		l.check()
	})
}
