// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// serverTime is how servers write a time, in their local zone.
const serverTime = "2006-01-02 15:04:05"

var serverInfoText = regexp.MustCompile(`^Pegasus Server (\S+) \(([^)]*)\) ?(\S*?), Started at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)`)

// ParseServerInfo reads the answer to the remote command server-info in both of its styles: the
// sentence of Pegasus up to 2.5, "Pegasus Server 2.5.0 (<sha>) Release, Started at 2024-01-01
// 00:00:00", and the JSON since.
func ParseServerInfo(text string) (Server, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		var j struct {
			Version   string `json:"version"`
			GitSHA    string `json:"git_SHA"`
			BuildType string `json:"build_type"`
			StartTime string `json:"start_time"`
		}
		if err := json.Unmarshal([]byte(text), &j); err != nil {
			return Server{}, fmt.Errorf("server-info: %w", err)
		}
		if j.Version == "" {
			return Server{}, fmt.Errorf("server-info: there is no version in %q", text)
		}
		return newServer(j.Version, j.GitSHA, j.BuildType, j.StartTime)
	}
	m := serverInfoText.FindStringSubmatch(text)
	if m == nil {
		return Server{}, fmt.Errorf("server-info: cannot make sense of %q", text)
	}
	return newServer(m[1], m[2], m[3], m[4])
}

func newServer(version, sha, build, start string) (Server, error) {
	s := Server{Version: version, GitSHA: sha, BuildType: build}
	at, err := time.ParseInLocation(serverTime, start, time.Local)
	if err != nil {
		return Server{}, fmt.Errorf("server-info: start time: %w", err)
	}
	s.StartTime = at
	return s, nil
}
