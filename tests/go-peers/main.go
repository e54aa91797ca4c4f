// Peers of HTTP/2 and gRPC in Go, for scripts/go-peers:
//
//	go-peers serve DIR               servers on ports of their own, which it prints
//	go-peers call DIR NAME=ADDRESS…  calls them through these listeners
package main

import (
	"fmt"
	"os"
	"strings"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// pattern is content of this length that repeats nowhere soon.
func pattern(length int) []byte {
	data := make([]byte, length)
	for at := range data {
		data[at] = byte(at*7 + at/251)
	}
	return data
}

func main() {
	if len(os.Args) < 3 {
		must(fmt.Errorf("usage: go-peers serve DIR | call DIR NAME=ADDRESS..."))
	}
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2])
	case "call":
		addresses := map[string]string{}
		for _, argument := range os.Args[3:] {
			parts := strings.SplitN(argument, "=", 2)
			addresses[parts[0]] = parts[1]
		}
		if !call(os.Args[2], addresses) {
			os.Exit(1)
		}
	}
}
