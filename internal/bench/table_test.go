package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	var raw bytes.Buffer
	s := newSamples(&raw)
	for i := range 10 {
		s.add(execStatus, inside, 2)
		s.add(execStatus, host, 4+float64(i%2))
		s.add(execStatus, sandtrap, 10)
	}
	s.add(readyMemory, sandtrap, 1.25)
	want := `
one
two

figure                            who        p50    p95    p99    IQR   n   result  target          met
exec true: request to status, ms  sandtrap   10.00  10.00  10.00  0.00  10  1.00    p99 <= 5 x p50  yes
                                  sshd-host  4.50   5.00   5.00   1.00  10  2.22    <= 1.5 x        NO
                                  sshd-ctr   2.00   2.00   2.00   0.00  10  5.00                    
memory of a ready target, MB      sandtrap   1.25                       1   1.25    p50 <= 1.5      yes

targets met: 2, missed: 1
`
	if diff := cmp.Diff(want, "\n"+report([]string{"one", "two"}, s)); diff != "" {
		t.Errorf("the table differs (-want +got):\n%s", diff)
	}
	var first sample
	if err := json.NewDecoder(&raw).Decode(&first); err != nil {
		t.Fatal(err)
	}
	if first.Figure != execStatus.name || first.Subject != inside || first.Value != 2 || first.Unit != "ms" || first.Time.IsZero() {
		t.Errorf("the first line of samples is %+v", first)
	}
}

// A reference that answered nothing leaves its target missed, not out.
func TestReportWithoutReference(t *testing.T) {
	s := newSamples(&bytes.Buffer{})
	s.add(echo, sandtrap, 1)
	if got := report(nil, s); !strings.Contains(got, "NaN") || !strings.Contains(got, "missed: 1\n") {
		t.Errorf("got:\n%s", got)
	}
}

func TestEveryFigureIsInTheTable(t *testing.T) {
	names := map[string]int{}
	for _, f := range allFigures {
		names[f.name]++
		for _, target := range f.targets {
			if (target.kind <= growthAtMost) != (target.against != "") {
				t.Errorf("%s: a target compares with %q", f.name, target.against)
			}
		}
	}
	if names[failures.name] != 1 || names[loginTime.name] != 1 {
		t.Error("figures are missing or there twice")
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestSamplesKeepTheFirstError(t *testing.T) {
	s := newSamples(fullDisk{})
	s.add(echo, sandtrap, 1)
	if s.err == nil {
		t.Error("the error of writing is lost")
	}
}
