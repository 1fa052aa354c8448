package escape

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Opening a socket makes the kernel load the module behind it, whoever asks.
var socketRows = append(familyRows(), []row{
	{name: "socket: packets", try: sockets(unix.AF_PACKET, unix.SOCK_RAW, 0), want: "EPERM", outside: "modules"},
	{name: "socket: raw ICMP", try: sockets(unix.AF_INET, unix.SOCK_RAW, 1), want: "EPERM", outside: "modules"},
	{name: "socket: raw IP", try: sockets(unix.AF_INET, unix.SOCK_RAW, 255), want: "EPERM", outside: "modules"},
	{name: "socket: raw ICMPv6", try: sockets(unix.AF_INET6, unix.SOCK_RAW, 58), want: "EPERM", outside: "modules"},
	{name: "socket: SCTP", try: sockets(unix.AF_INET, unix.SOCK_STREAM, 132), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "socket: SCTP, IPv6", try: sockets(unix.AF_INET6, unix.SOCK_SEQPACKET, 132), want: "EPROTONOSUPPORT|ESOCKTNOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "socket: DCCP", try: sockets(unix.AF_INET, 6, 33), want: "EPROTONOSUPPORT|ESOCKTNOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "socket: DCCP by its type", try: sockets(unix.AF_INET, 6, 0), want: "ESOCKTNOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "socket: UDP-Lite", try: sockets(unix.AF_INET, unix.SOCK_DGRAM, 136), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "socket: L2TP", try: sockets(unix.AF_INET, unix.SOCK_DGRAM, 115), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "socket: MPTCP", try: sockets(unix.AF_INET, unix.SOCK_STREAM, 262), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "socket: SMC over IP", try: sockets(unix.AF_INET, unix.SOCK_STREAM, 256), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "netlink: usersock", try: sockets(unix.AF_NETLINK, unix.SOCK_RAW, 2), want: "EPROTONOSUPPORT", outside: "modules"},
	{name: "netlink: firewall", try: sockets(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "netlink: IPsec", try: sockets(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "netlink: device events", try: sockets(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT), want: "EPROTONOSUPPORT", outside: "modules"},
	{name: "netlink: generic", try: sockets(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC), want: "EPROTONOSUPPORT", outside: "modules"},
	{name: "netlink: crypto", try: sockets(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_CRYPTO), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "netlink: SCSI transport", try: sockets(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SCSITRANSPORT), want: "EPROTONOSUPPORT", outside: "modules", unshown: moduleMissing},
	{name: "netlink: make a device", try: makesLink, want: "EPERM", outside: "modules"},
	{name: "netlink: give lo an address", try: addsAddress, want: "EPERM", outside: "modules"},
	{name: "line discipline N_HDLC on a terminal", try: setsDiscipline(13), want: "EPERM|EINVAL", outside: "modules", unshown: moduleMissing},
	{name: "line discipline N_GSM0710 on a terminal", try: setsDiscipline(21), want: "EPERM|EINVAL", outside: "modules", unshown: moduleMissing},
	{name: "a congestion control by its name", try: setsCongestion, want: "EPERM|ENOENT", outside: "modules", unshown: moduleMissing},
	{name: "TLS in the kernel", try: setsProtocol, want: "EPERM|ENOENT|ENOTCONN", outside: "modules", unshown: moduleMissing},
	{name: "a program of an unknown format", try: runsUnknown, want: "ENOEXEC", outside: "modules", unshown: "no kernel runs it"},
}...)

const moduleMissing = "its module is not in every kernel"

// families are those that no server needs, by their numbers in socket(2).
var families = map[int]string{
	3: "AX25", 4: "IPX", 5: "APPLETALK", 6: "NETROM", 8: "ATMPVC", 9: "X25", 11: "ROSE", 12: "DECnet", 15: "KEY", 19: "ECONET",
	20: "ATMSVC", 21: "RDS", 22: "SNA", 23: "IRDA", 24: "PPPOX", 26: "LLC", 27: "IB", 28: "MPLS", 29: "CAN", 30: "TIPC",
	31: "BLUETOOTH", 32: "IUCV", 33: "RXRPC", 34: "ISDN", 35: "PHONET", 36: "IEEE802154", 37: "CAIF", 38: "ALG", 39: "NFC",
	40: "VSOCK", 41: "KCM", 42: "QIPCRTR", 43: "SMC", 44: "XDP", 45: "MCTP",
}

func familyRows() []row {
	var all []row
	for number := range 46 {
		if name, ok := families[number]; ok {
			all = append(all, row{name: "socket: AF_" + name, try: tries(number), want: "EAFNOSUPPORT", outside: "modules", unshown: moduleMissing})
		}
	}
	// The kernels of all test systems have these.
	for i := range all {
		if all[i].name == "socket: AF_VSOCK" || all[i].name == "socket: AF_XDP" {
			all[i].unshown = ""
		}
	}
	return all
}

func sockets(family, kind, protocol int) func(facts) string {
	return func(facts) string {
		_, err := unix.Socket(family, kind, protocol)
		return outcome(err)
	}
}

// tries tries all types of a family and answers with the first that is not refused.
func tries(family int) func(facts) string {
	return func(facts) string {
		last := ""
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET} {
			_, err := unix.Socket(family, kind, 0)
			if last = outcome(err); last != "EAFNOSUPPORT" {
				return last
			}
		}
		return last
	}
}

// makesLink asks for a dummy device by rtnetlink(7).
func makesLink(facts) string {
	return netlink(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, []byte{
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // struct ifinfomsg
		16, 0, unix.IFLA_LINKINFO, 0, 9, 0, unix.IFLA_INFO_KIND, 0, 'd', 'u', 'm', 'm', 'y', 0, 0, 0,
	})
}

func addsAddress(facts) string {
	return netlink(unix.RTM_NEWADDR, unix.NLM_F_CREATE, []byte{
		unix.AF_INET, 24, 0, 0, 1, 0, 0, 0, // struct ifaddrmsg
		8, 0, unix.IFA_LOCAL, 0, 192, 0, 2, 1,
	})
}

func netlink(kind, flags uint16, body []byte) string {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return outcome(err)
	}
	message := make([]byte, 16+len(body))
	*(*uint32)(unsafe.Pointer(&message[0])) = uint32(len(message))
	*(*uint16)(unsafe.Pointer(&message[4])) = kind
	*(*uint16)(unsafe.Pointer(&message[6])) = flags | unix.NLM_F_REQUEST | unix.NLM_F_ACK
	copy(message[16:], body)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return outcome(err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < 20 {
		return fmt.Sprintf("%d bytes, %v", n, err)
	}
	if code := *(*int32)(unsafe.Pointer(&answer[16])); code != 0 {
		return unix.ErrnoName(unix.Errno(-code))
	}
	return done
}

func setsDiscipline(number int32) func(facts) string {
	return func(facts) string {
		terminal, err := openTerminal()
		if err != nil {
			return outcome(err)
		}
		return call(unix.SYS_IOCTL, uintptr(terminal), unix.TIOCSETD, uintptr(unsafe.Pointer(&number)))
	}
}

// openTerminal makes a pseudo-terminal and opens its other end, not as one that
// controls anything.
func openTerminal() (int, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, err
	}
	var unlock int32
	if e := call(unix.SYS_IOCTL, uintptr(master), unix.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock))); e != done {
		return -1, fmt.Errorf("unlock a terminal: %s", e)
	}
	number, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, err
	}
	return unix.Open(fmt.Sprint("/dev/pts/", number), unix.O_RDWR|unix.O_NOCTTY, 0)
}

func setsCongestion(facts) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return outcome(err)
	}
	return outcome(unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "vegas"))
}

func setsProtocol(facts) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return outcome(err)
	}
	return outcome(unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP, "espintcp"))
}

func runsUnknown(facts) string {
	runtime.LockOSThread()
	dir, remove := scratch()
	defer remove()
	path := dir + "/unknown"
	if err := os.WriteFile(path, []byte("\x01\x02\xff\xfe none"), 0o755); err != nil {
		return err.Error()
	}
	return outcome(exec.Command(path).Run())
}
