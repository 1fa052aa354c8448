# Sourced by the scripts of the disposable system: where things are, and how
# its processes are told from everybody else's.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
bootstrap=$checkout/packaging/libexec/debian-bootstrap
cache=${DISPOSABLE_CACHE:-${HOME:-/root}/.cache/sandtrap}
state_home=${DISPOSABLE_RUN:-$checkout/build/disposable}

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# package_names FILE...: the names in package lists, without comments.
package_names() {
	sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$@"
}

# kind_of KIND: sets the suite and the package lists of an archive.
kind_of() {
	case $1 in
	guest) suite=trixie lists=("$here/guest.packages") ;;
	target) suite=bookworm lists=("$checkout/containerfiles/debian/packages") ;;
	web) suite=bookworm lists=("$checkout"/containerfiles/{debian,web}/packages) ;;
	vm) suite=trixie lists=("$checkout/packaging/vm/vm.packages") ;;
	*) die "no such archive: $1" ;;
	esac
}

# archive_of KIND: the path of a cached base archive (guest, target or web). Its
# name changes with everything that goes into it.
archive_of() {
	local key
	kind_of "$1"
	key=$({ package_names "${lists[@]}" | sort; grep -v '^[[:space:]]*#' "$bootstrap"; } | sha256sum | cut -c1-16)
	printf '%s/%s-%s-%s.tar.zst\n' "$cache" "$1" "$suite" "$key"
}

# use_guest NAME: sets the variables that describe one guest.
use_guest() {
	[[ $1 =~ ^[a-z][a-z0-9-]{0,20}$ ]] || die "guest names are lower case letters, digits and dashes: $1"
	guest=$1
	state=$state_home/$guest
	root=$state/root
	# Two checkouts may run guests of one name: the cgroup carries the path.
	group=sandtrap-$guest-$(printf %s "$state" | cksum | cut -d' ' -f1)
}

# start_time PID: when a process started, in ticks; empty when there is none.
# With the pid it names one process for good, as pids are used again.
start_time() {
	sed -e 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

remember() { # FILE PID
	printf '%s %s\n' "$2" "$(start_time "$2")" >"$1"
}

# recorded FILE: prints the pid kept in FILE if that very process still runs.
recorded() {
	local pid started
	[ -s "$1" ] || return 1
	read -r pid started <"$1"
	[ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] || return 1
	echo "$pid"
}

# init_of NSPAWN: the host's pid of the guest's own pid 1. It changes when the
# guest reboots, so it is looked up each time.
init_of() {
	local child
	child=$(pgrep -o -P "$1" 2>/dev/null) || return 1
	grep -qx systemd "/proc/$child/comm" 2>/dev/null || return 1
	echo "$child"
}

# enter INIT CMD...: runs a command inside the guest as root.
enter() {
	local init=$1
	shift
	nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --wdns=/root \
		env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# cgroup_dirs: the guest's own cgroup in every hierarchy systemd uses.
cgroup_dirs() {
	local hierarchy
	for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
		[ -d "$hierarchy" ] && echo "$hierarchy/$group"
	done
	[ ! -e /sys/fs/cgroup/cgroup.procs ] || echo "/sys/fs/cgroup/$group"
}
