package main

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever a test starts, the whole daemon included, leaves no goroutine behind.
// The connections that the bindings' HTTP client keeps for later calls are theirs.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}
