// SPDX-License-Identifier: Apache-2.0

// A static Go program, which makes its system calls itself: goprobe FOLDER prints what it sees. Under
// vos-load it must print the same.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

func demand(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data))[:12] }

func at(file *os.File) int64 {
	place, err := file.Seek(0, io.SeekCurrent)
	demand(err)
	return place
}

func files(folder string) {
	name := filepath.Join(folder, "go-file")
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(i*7 ^ i>>8)
	}
	demand(os.WriteFile(name, data, 0o644))
	read, err := os.ReadFile(name)
	demand(err)
	fmt.Println("file", len(read), sum(read))
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	demand(err)
	part := make([]byte, 1000)
	_, err = io.ReadFull(file, part)
	demand(err)
	_, err = file.ReadAt(part, 299_500)
	fmt.Println("end", err, at(file))
	_, err = file.WriteAt([]byte("there"), 299_990)
	demand(err)
	_, err = file.Write(data[:70_000])
	demand(err)
	place, err := file.Seek(-20, io.SeekEnd)
	fmt.Println("at", place, err)
	rest, err := io.ReadAll(file)
	demand(err)
	fmt.Println("tail", len(rest), sum(rest), at(file))
	// A child that reads on where we are, and we where it stopped.
	_, err = file.Seek(100, io.SeekStart)
	demand(err)
	_, err = file.Read(part[:10])
	demand(err)
	command := exec.Command("dd", "bs=7", "count=3", "status=none")
	command.Stdin = file
	said, err := command.Output()
	fmt.Println("child", len(said), sum(said), err, at(file))
	_, err = file.Read(part[:10])
	fmt.Println("after it", sum(part[:10]), err, at(file))
	demand(file.Close())
	_, err = file.Read(part)
	fmt.Println("closed", err)
	demand(os.Remove(name))
}

// Descriptor numbers that are used again at once, by many threads.
func many(folder string) {
	var group sync.WaitGroup
	results := make([]string, 16)
	for i := range results {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			name := filepath.Join(folder, fmt.Sprint("go-", i))
			data := bytes.Repeat([]byte{byte(i), byte(i * 3)}, 10_000+i)
			for turn := 0; turn < 20; turn++ {
				demand(os.WriteFile(name, data, 0o600))
				read, err := os.ReadFile(name)
				demand(err)
				if !bytes.Equal(read, data) {
					fmt.Println("differs", i, turn)
				}
				results[i] = sum(read)
			}
			demand(os.Remove(name))
		}(i)
	}
	group.Wait()
	fmt.Println("many", results)
}

// What is echoed by a server of this process, while signals come.
func sockets() {
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, syscall.SIGUSR1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	demand(err)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(connection, connection)
				connection.Close()
			}()
		}
	}()
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			connection, err := net.Dial("tcp", listener.Addr().String())
			demand(err)
			data := bytes.Repeat([]byte{byte(i)}, 200_000)
			go func() {
				connection.Write(data)
				connection.(*net.TCPConn).CloseWrite()
			}()
			syscall.Kill(os.Getpid(), syscall.SIGUSR1)
			read, err := io.ReadAll(connection)
			if err != nil || !bytes.Equal(read, data) {
				fmt.Println("echo differs", i, len(read), err)
			}
			connection.Close()
		}(i)
	}
	group.Wait()
	demand(listener.Close())
	fmt.Println("signal", <-signals)
}

// Goroutines with little stack, whose memory moves while they call.
func deep(file *os.File, depth int) int {
	var room [64]byte
	room[depth%64] = byte(depth)
	if depth == 0 {
		count, _ := file.ReadAt(room[:], 5)
		return count
	}
	return deep(file, depth-1) + int(room[depth%64])&0
}

func stacks(folder string) {
	name := filepath.Join(folder, "go-stacks")
	demand(os.WriteFile(name, bytes.Repeat([]byte{1}, 100), 0o600))
	file, err := os.Open(name)
	demand(err)
	var group sync.WaitGroup
	total := make(chan int, 200)
	for i := 0; i < 200; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			total <- deep(file, i)
			runtime.GC()
		}(i)
	}
	group.Wait()
	close(total)
	all := 0
	for one := range total {
		all += one
	}
	fmt.Println("stacks", all)
	file.Close()
	os.Remove(name)
}

func main() {
	own, err := os.Executable()
	fmt.Println("own name", own, err)
	files(os.Args[1])
	many(os.Args[1])
	sockets()
	stacks(os.Args[1])
	fmt.Println("descriptors", len(list("/proc/self/fd")) < 20)
}

func list(folder string) []os.DirEntry {
	entries, err := os.ReadDir(folder)
	demand(err)
	return entries
}
