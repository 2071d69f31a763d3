// gVisor's containerd shim, also for machines on which nobody may lower an oom_score_adj.
//
// The shim gives itself the value -999 and gives up where that is refused, as it is without
// CAP_SYS_RESOURCE. containerd's library, which it asks, forgives that inside a user namespace. So
// where the capability is missing, the library is told that it is inside one; it is asked nothing
// else by the short-lived `start`, and only `start` is told.
package main

import (
	"os"
	"slices"
	_ "unsafe"

	_ "github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/shim/v1/cli"
)

//go:linkname inUserNS github.com/moby/sys/userns.inUserNS
var inUserNS func() bool

func main() {
	if slices.Contains(os.Args, "start") && !mayLower() {
		inUserNS = func() bool { return true }
	}
	cli.Main()
}

func mayLower() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return false
	}
	return sets[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}
