package main

import (
	"fmt"
	"net"
	"os/exec"
	"sync"
)

// Goroutines, a child and a connection: what a small server does.
func main() {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	var group sync.WaitGroup
	for range [8]int{} {
		group.Add(1)
		go func() {
			defer group.Done()
			connection, err := net.Dial("tcp4", listener.Addr().String())
			if err != nil {
				panic(err)
			}
			connection.Close()
		}()
	}
	for range [8]int{} {
		if connection, err := listener.Accept(); err != nil {
			panic(err)
		} else {
			connection.Close()
		}
	}
	group.Wait()
	said, err := exec.Command("echo", "hello").Output()
	if err != nil {
		panic(err)
	}
	fmt.Print(string(said))
}
