// Mask replaces all but the last characters of some fields, in Go. A transform (`transform`) and a filter (`filter`).
//
// Configuration: `fields`, names of the value's own fields; `keep`, how many characters stay (default 4).
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/extism/go-pdk"
)

// Adds to the counter `weir_plugin_counter_total` of this name.
//
//go:wasmimport extism:host/user weir_count
func weirCount(name uint64, by uint64)

// event is what comes in. Of what goes out, `key` and `headers` may be left out: then they stay.
type event struct {
	Value map[string]json.RawMessage `json:"value"`
}

//go:wasmexport transform
func transform() int32 {
	var in event
	if err := json.Unmarshal(pdk.Input(), &in); err != nil {
		return failed(errors.New("the value is no object"))
	}
	keep := 4
	if text, ok := pdk.GetConfig("keep"); ok {
		number, err := strconv.Atoi(text)
		if err != nil || number < 0 {
			return failed(errors.New("`keep` is no number of characters"))
		}
		keep = number
	}
	for _, field := range fields() {
		var text string
		if raw, ok := in.Value[field]; !ok || json.Unmarshal(raw, &text) != nil {
			continue
		}
		masked, err := json.Marshal(mask(text, keep))
		if err != nil {
			return failed(err)
		}
		in.Value[field] = masked
		count("masked", 1)
	}
	return answer([]event{in})
}

// filter lets go on what has all the fields.
//
//go:wasmexport filter
func filter() int32 {
	var in event
	if err := json.Unmarshal(pdk.Input(), &in); err != nil {
		return answer(false)
	}
	for _, field := range fields() {
		if _, ok := in.Value[field]; !ok {
			pdk.Log(pdk.LogDebug, fmt.Sprintf("a record lacks `%s`", field))
			return answer(false)
		}
	}
	return answer(true)
}

// fields is the configuration of that name: a list, which comes as JSON.
func fields() []string {
	var names []string
	if text, ok := pdk.GetConfig("fields"); ok && json.Unmarshal([]byte(text), &names) != nil {
		names = strings.Split(text, ",")
	}
	return names
}

func mask(text string, keep int) string {
	characters := []rune(text)
	if len(characters) < 2*keep {
		keep = 0
	}
	return "***" + string(characters[len(characters)-keep:])
}

func count(name string, by uint64) {
	memory := pdk.AllocateString(name)
	defer memory.Free()
	weirCount(memory.Offset(), by)
}

func answer(value any) int32 {
	text, err := json.Marshal(value)
	if err != nil {
		return failed(err)
	}
	pdk.Output(text)
	return 0
}

// failed is the failure of this record. The text goes into logs and dead letters: no value of the record in it.
func failed(err error) int32 {
	pdk.SetError(err)
	return 1
}

func main() {}
