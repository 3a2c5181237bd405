// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"testing"
	"time"
)

// TestEnsembleSurvivesItsLeader starts three servers and ends the one that leads.
func TestEnsembleSurvivesItsLeader(t *testing.T) {
	e := Start(t, 3)
	old := e.Leader()
	if old < 0 {
		t.Fatal("nobody leads")
	}
	e.Kill(old)
	deadline := time.Now().Add(30 * time.Second)
	for l := e.Leader(); l < 0 || l == old; l = e.Leader() {
		if time.Now().After(deadline) {
			t.Fatal("no new leader")
		}
		time.Sleep(50 * time.Millisecond)
	}
	e.Restart(old)
	if err := e.AwaitServing(30 * time.Second); err != nil {
		t.Fatal(err)
	}
}
