//go:build appliance || vm

package escape

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// onMachine are groups whose attempts are made on the machine itself to see them
// succeed: what they look for is there. All others have namespaces of their own, in
// which they may do as they like.
var onMachine = []string{"Other processes", "Addresses, and sockets of the machine", "Other sessions"}

// TestRowsCanFail makes the attempts as root of the machine, outside of any target,
// and wants an answer that would fail TestAttempts. So no row is one that cannot
// fail, but for those that say why they are not shown.
func TestRowsCanFail(t *testing.T) {
	o := newOutside(t)
	program := filepath.Join(t.TempDir(), programName)
	if err := copyProgram(program); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ESCAPE_TAME", "1")
	w := o.facts.Witness
	t.Cleanup(func() { _, _, _ = os.Remove(w.Canary), os.Remove(w.Shared), os.Remove("/tmp/attempt") })
	witness := converse(t, exec.Command(program, "witness"), o.facts)
	if got, err := witness.hear(); got != "ready" {
		t.Fatalf("the witness says %q, %v", got, err)
	}
	t.Cleanup(func() { removeQueue(w.Queue) })
	machine := converse(t, exec.Command(program, "serve"), o.facts)
	apart := converse(t, exec.Command("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--mount-proc", program, "serve"), o.facts)
	shown, all := 0, 0
	for _, g := range table {
		inside := apart
		if slices.Contains(onMachine, g.title) {
			inside = machine
		}
		for _, r := range g.rows {
			answer, err := inside.ask(r.name)
			if err != nil {
				t.Fatalf("%s: %v", r.name, err)
			}
			all++
			refused := accepted(answer, r.want) && accepted(answer, r.wanted("debian"))
			switch {
			case !refused:
				shown++
				t.Logf("%s: %s", r.name, answer)
			case r.unshown == "" && answer == noCalls:
				t.Logf("%s: not shown (%s): this kernel runs no 32-bit programs", r.name, answer)
			case r.unshown == "":
				t.Errorf("%s: %s outside of a target as well", r.name, answer)
			default:
				t.Logf("%s: not shown (%s): %s", r.name, answer, r.unshown)
			}
		}
	}
	t.Logf("%d of %d rows are seen to fail", shown, all)
}
