package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asSandtrap in the environment makes the test's program the program itself, for tests
// that need it as a process.
const asSandtrap = "RUN_AS_SANDTRAP"

// Whatever a test starts, the whole daemon included, leaves no goroutine behind.
// The connections that the bindings' HTTP client keeps for later calls are theirs.
func TestMain(m *testing.M) {
	if os.Getenv(asSandtrap) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}
