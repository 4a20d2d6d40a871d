// SPDX-License-Identifier: Apache-2.0

// A static Go program, which makes its system calls itself, on many threads. static FOLDER URL
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

func demand(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "static: %s: %v\n", what, err)
		os.Exit(1)
	}
	fmt.Println(what)
}

func get(url string) ([]byte, error) {
	answer, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

// One goroutine a file; each reads back what it wrote.
func files(folder string, data []byte) error {
	var group sync.WaitGroup
	results := make(chan error, 16)
	for i := 0; i < 16; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			name := filepath.Join(folder, fmt.Sprintf("go-%d", i))
			part := data[i*len(data)/16 : (i+1)*len(data)/16]
			if err := os.WriteFile(name, part, 0o600); err != nil {
				results <- err
				return
			}
			read, err := os.ReadFile(name)
			if err == nil && sha256.Sum256(read) != sha256.Sum256(part) {
				err = fmt.Errorf("%s differs", name)
			}
			if err == nil {
				err = os.Remove(name)
			}
			results <- err
		}(i)
	}
	group.Wait()
	for i := 0; i < 16; i++ {
		if err := <-results; err != nil {
			return err
		}
	}
	return nil
}

// A server and eight clients of this process, by loopback.
func loopback() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you asked for %s", r.URL.Path)
	}))
	results := make(chan error, 8)
	for i := 0; i < 8; i++ {
		go func(i int) {
			path := fmt.Sprintf("/%d", i)
			text, err := get("http://" + listener.Addr().String() + path)
			if err == nil && string(text) != "you asked for "+path {
				err = fmt.Errorf("answer %q", text)
			}
			results <- err
		}(i)
	}
	for i := 0; i < 8; i++ {
		if err := <-results; err != nil {
			return err
		}
	}
	return listener.Close()
}

func main() {
	data, err := get(os.Args[2])
	demand(err, "http.Get")
	demand(files(os.Args[1], data), "files")
	demand(loopback(), "loopback")
	demand(os.WriteFile(filepath.Join(os.Args[1], "fetched-by-go"), data, 0o600), "WriteFile")
}
