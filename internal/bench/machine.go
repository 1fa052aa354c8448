package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// describe is what stands above the table: when and where it was measured, and
// the lines of the file notes, if there is one.
func describe(notes string) []string {
	lines := []string{
		"SandTrap beside OpenSSH, " + time.Now().UTC().Format("2006-01-02 15:04 MST"),
		fmt.Sprintf("%d processors (%s), kernel %s", runtime.NumCPU(), processor(), oneLine("/proc/sys/kernel/osrelease")),
		"load average before: " + loadAverage(),
	}
	if text, err := os.ReadFile(notes); err == nil {
		lines = append(lines, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	}
	return append(lines,
		"Times in ms unless said otherwise, MB = 10^6 bytes. p95 and p99 from 10 samples on; IQR: interquartile range.",
		"result: SandTrap's p50 divided by that of the row's server (x), or the number that the row's target is for.")
}

// processor is the model of the first processor.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// loadAverage is that of one, five and fifteen minutes, see proc_loadavg(5).
func loadAverage() string {
	fields := strings.Fields(oneLine("/proc/loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func oneLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// ticksPerSecond is the unit of /proc/stat, USER_HZ.
const ticksPerSecond = 100

// busyTicks is how long the processors have worked, all together; see proc_stat(5).
func busyTicks() int64 {
	line, _, _ := strings.Cut(oneLine("/proc/stat"), "\n")
	var user, nice, system, idle, wait, irq, softirq int64
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq); err != nil {
		return 0 // everything is at rest
	}
	return user + nice + system + irq + softirq
}
