# Sourced by the scripts of the virtual machine, beside those of the disposable
# system, whose helpers they use.

disposable=$(cd "$(dirname "${BASH_SOURCE[0]}")/../disposable" && pwd)
# shellcheck source=../disposable/paths.sh
. "$disposable/paths.sh"
here=$checkout/packaging/vm

kind_of vm
# The machine's files; their names change with everything that goes into them.
machine=$cache/vm-$suite-$({ package_names "${lists[@]}"; cat "$bootstrap" "$here/build"; } | sha256sum | cut -c1-16)

# use_machine NAME: sets the variables that describe one machine.
use_machine() {
	use_guest "vm-$1"
	options=(-q -F none -i "$machine/key" -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no
		-o ControlMaster=auto -o "ControlPath=$state/ssh" -o ControlPersist=600 -o LogLevel=ERROR
		-o ServerAliveInterval=30 -o ServerAliveCountMax=10)
}
