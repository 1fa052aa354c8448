package escape

import (
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

var networkRows = append([]row{
	{name: "interfaces and addresses", try: looksForAddresses, want: "lo 127.0.0.1/8 ::1/128|lo 127.0.0.1/8", outside: "canaries",
		unshown: "depends on the machine"},
	{name: "routes", try: looksForRoutes, want: "none", outside: "canaries", unshown: "a test system may have none"},
	{name: "a listener of the machine on 127.0.0.1", try: dialsMachine("127.0.0.1"), want: "ECONNREFUSED", outside: "canaries"},
	{name: "a listener of the machine on ::1", try: dialsMachine("::1"), want: "ECONNREFUSED|EADDRNOTAVAIL", outside: "canaries"},
	{name: "sshd of the machine, 127.0.0.1:2222", try: dials("tcp", "127.0.0.1:2222"), want: "ECONNREFUSED", outside: "canaries"},
	{name: "UDP to the machine's resolver", try: dials("udp", "10.0.2.3:53"), want: "ENETUNREACH", outside: "canaries", unshown: noNetwork},
	{name: "an address of the Internet", try: dials("tcp", "198.51.100.1:80"), want: "ENETUNREACH", outside: "canaries", unshown: noNetwork},
	{name: "an address of the Internet, IPv6", try: dials("tcp", "[2001:db8::1]:80"), want: "ENETUNREACH|EADDRNOTAVAIL", outside: "canaries", unshown: noNetwork},
	{name: "a private network", try: dials("tcp", "10.0.0.1:22"), want: "ENETUNREACH", outside: "canaries", unshown: noNetwork},
	{name: "metadata of a cloud, 169.254.169.254", try: dials("tcp", "169.254.169.254:80"), want: "ENETUNREACH", outside: "canaries", unshown: noNetwork},
	{name: "Podman's names for the machine", try: resolves, want: "none", outside: "canaries", unshown: noNetwork},
	{name: "multicast", try: dials("udp", "224.0.0.251:5353"), want: "ENETUNREACH", outside: "canaries", unshown: noNetwork},
	{name: "an abstract socket of the machine", try: dialsAbstract, want: "ECONNREFUSED", outside: "canaries"},
	{name: "abstract sockets that are listed", try: listsAbstract, want: confined, outside: "canaries"},
}, socketFileRows(
	"/run/podman/podman.sock", "/run/sandtrap-pods/podman.sock", "/run/sandtrap-pods/filter.sock", "/run/sandtrap-pods/handover.sock",
	"/run/user/0/podman/podman.sock", "/run/user/0/bus", "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock",
	"/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/notify", "/run/systemd/journal/socket", "/run/systemd/journal/stdout",
)...)

const noNetwork = "the test system has no such network either"

func socketFileRows(paths ...string) []row {
	all := []row{
		{name: "file /run/.containerenv", try: readsFile("/run/.containerenv"), want: "ENOENT|empty", outside: "files", unshown: "a machine has none"},
		{name: "file /.dockerenv", try: opens("/.dockerenv", os.O_RDONLY), want: "ENOENT", outside: "files", unshown: "a machine has none"},
		{name: "a file of the machine", try: func(f facts) string { return opens(f.Canary, os.O_RDONLY)(f) }, want: "ENOENT", outside: "canaries"},
		{name: "directory /var/lib/sandtrap", try: opens("/var/lib/sandtrap", os.O_RDONLY), want: "ENOENT", outside: "files"},
		{name: "directory /var/lib/pods", try: opens("/var/lib/pods", os.O_RDONLY), want: "ENOENT", outside: "files"},
		{name: "directory /etc/sandtrap", try: opens("/etc/sandtrap", os.O_RDONLY), want: "ENOENT", outside: "files"},
	}
	for _, p := range paths {
		r := row{name: "socket " + p, try: dials("unix", p), want: "ENOENT", outside: "files"}
		if !strings.Contains(p, "sandtrap") && !strings.HasPrefix(p, "/run/systemd/journal/std") && p != "/run/systemd/private" {
			r.unshown = "not every machine has it, or as another kind of socket"
		}
		all = append(all, r)
	}
	return all
}

func dials(network, address string) func(facts) string {
	return func(facts) string { return dial(network, address) }
}

// dial connects and says a word, since a datagram socket finds out only then.
func dial(network, address string) string {
	c, err := net.DialTimeout(network, address, 20*time.Second)
	if err != nil {
		return outcome(err)
	}
	defer c.Close()
	_, err = c.Write([]byte("attempt\n"))
	return outcome(err)
}

func dialsMachine(host string) func(facts) string {
	return func(f facts) string { return dial("tcp", net.JoinHostPort(host, strconv.Itoa(f.Port))) }
}

func dialsAbstract(f facts) string { return dial("unix", f.Abstract) }

func listsAbstract(f facts) string {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return outcome(err)
	}
	if strings.Contains(string(text), f.Abstract) || strings.Contains(string(text), f.Witness.Abstract) {
		return "they are listed"
	}
	return confined
}

func looksForAddresses(facts) string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return outcome(err)
	}
	var all []string
	for _, i := range interfaces {
		all = append(all, i.Name)
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			all = append(all, a.String())
		}
	}
	if len(all) > 1 {
		sort.Strings(all[1:])
	}
	return strings.Join(all, " ")
}

// looksForRoutes reads IPv4 routes; IPv6 has those of lo only.
func looksForRoutes(facts) string {
	text, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return outcome(err)
	}
	if n := strings.Count(strings.TrimSpace(string(text)), "\n"); n != 0 {
		return strconv.Itoa(n)
	}
	six, _ := os.ReadFile("/proc/net/ipv6_route")
	for line := range strings.Lines(string(six)) {
		if !strings.HasSuffix(strings.TrimSpace(line), " lo") {
			return line
		}
	}
	return "none"
}

func resolves(facts) string {
	text, _ := os.ReadFile("/etc/hosts")
	for _, name := range []string{"host.containers.internal", "host.docker.internal"} {
		if strings.Contains(string(text), name) {
			return name
		}
	}
	return "none"
}
