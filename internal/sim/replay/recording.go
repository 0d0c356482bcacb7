package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Exchange is one recorded call of real Azure and its answer.
type Exchange struct {
	Case      string            `json:"case"` // the name of the test that was recorded
	Recording string            `json:"rec"`
	Index     int               `json:"i"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Request   string            `json:"request"`
	Status    int               `json:"status"`
	Headers   map[string]string `json:"headers"` // lower-case names
	Body      string            `json:"body"`    // its beginning only, when it was long
}

// Conversation is all that one recording holds, in order.
type Conversation struct {
	Name      string
	Exchanges []Exchange
}

// Read reads recordings: a JSON object a line, gzipped or not. Conversations keep the order of their first line.
func Read(path string) ([]Conversation, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the recording: %w", err)
	}
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("cannot read the recording %s: %w", path, err)
		}
		if raw, err = io.ReadAll(z); err != nil {
			return nil, fmt.Errorf("cannot read the recording %s: %w", path, err)
		}
	}
	var out []Conversation
	at := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var e Exchange
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("cannot read the recording %s: line %d: %w", path, n, err)
		}
		key := e.Case + "\x00" + e.Recording
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, Conversation{Name: e.Case})
		}
		out[i].Exchanges = append(out[i].Exchanges, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the recording %s: %w", path, err)
	}
	return out, nil
}
