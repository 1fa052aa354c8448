package escape

// scenario is what somebody does to the session itself, as root of the target. The
// program for it is in the tests that need a system; in each the machine stays as it
// was, the session's evidence is closed as usual, and the other session goes on.
type scenario struct {
	name string
	then string // what is looked at beside that
}

var scenarios = []scenario{
	{"the home directory is a symbolic link to /var/lib/sandtrap", "a login afterwards reads nothing of the machine's"},
	{"/etc/passwd is a symbolic link to a file of the machine", "a login afterwards, and one from the same source in the same target"},
	{"/etc/passwd is a FIFO", "a login afterwards, and one from the same source in the same target"},
	{"/etc/group is a FIFO", "a login afterwards, and one from the same source in the same target"},
	{"/etc/passwd is endless", "a login afterwards, and one from the same source in the same target"},
	{"an upload to a symbolic link to a file of the machine", "the file of the machine is as it was"},
	{"a download of a symbolic link to a file of the machine", "there is no such file"},
	{"files are left with names, links and modes that mean harm", "what is kept is theirs alone"},
	{"all processes are killed, the session leader included", "the connection ends"},
	{"all processes are stopped, the session leader included", "the session ends with its connection"},
	{"garbage is written to every descriptor of every process", "the session ends with its connection"},
	{"as many processes as there may be, then a new one", "an answer, whatever it is"},
	{"all shells are a symbolic link to /dev/zero", "an answer, whatever it is"},
	{"/dev/ptmx and /dev/pts are something else, then a terminal", "an answer, whatever it is"},
	{"files of four hundred GiB with nothing in them", "only its own container goes, those of other sessions stay"},
	{"the session leader's program is another", "a login from the same source in the same target"},
}
