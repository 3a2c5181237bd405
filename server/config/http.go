// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// shown is a key as /config and /configs show it, in this order.
type shown struct {
	Name        string `json:"name"`
	Section     string `json:"section"`
	Type        Type   `json:"type"`
	Tags        string `json:"tags"`
	Description string `json:"description"`
	Value       string `json:"value"`
}

func (c *Config) show(k *Key) shown {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := shown{Name: k.Name, Section: k.Section, Type: k.Type, Description: k.Doc, Value: k.Text()}
	if k.Mutable {
		s.Tags = "flag_tag::FT_MUTABLE"
	}
	return s
}

// ServeConfigs answers /configs with all keys by name.
func (c *Config) ServeConfigs(w http.ResponseWriter, _ *http.Request) {
	all := make(map[string]shown, len(c.byName))
	for name, k := range c.byName {
		all[name] = c.show(k)
	}
	reply(w, http.StatusOK, all)
}

// ServeConfig answers /config?name=KEY with one key.
func (c *Config) ServeConfig(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if name == "" {
		text400(w, "name shouldn't be empty")
		return
	}
	k := c.byName[name]
	if k == nil {
		// Pegasus answers an error object here, with status 200.
		reply(w, http.StatusOK, map[string]string{"error": fmt.Sprintf("ERR_OBJECT_NOT_FOUND: %s is not found%s", name, hint(suggest(name, c.Names())))})
		return
	}
	reply(w, http.StatusOK, c.show(k))
}

// ServeUpdate answers /updateConfig?KEY=VALUE. log gets a line for every change, because a
// changed server no longer does what its file says.
func (c *Config) ServeUpdate(log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := func(s string) {
			reply(w, http.StatusOK, map[string]string{"update_status": s})
		}
		pair := r.URL.RawQuery
		if pair == "" || strings.Contains(pair, "&") {
			status("ERR_INVALID_PARAMETERS: there should be exactly one config to be updated once")
			return
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err1 := url.QueryUnescape(rawKey)
		value, err2 := url.QueryUnescape(rawValue)
		if err1 != nil || err2 != nil {
			status("ERR_INVALID_PARAMETERS: the query is not correctly escaped")
			return
		}
		if err := c.Update(key, value); err != nil {
			log.Warn("configuration change refused", "key", key, "value", value, "remote", r.RemoteAddr, "err", err)
			status(err.Error())
			return
		}
		log.Warn("configuration changed until the next restart", "key", key, "value", value, "remote", r.RemoteAddr)
		status("ERR_OK")
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // strings in maps and structs always encode
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	w.Write(b.Bytes()) // when this fails the client is gone
}

func text400(w http.ResponseWriter, s string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusBadRequest)
	io.WriteString(w, s)
}
