package event

// What sandtrap-events(7) and the journal's message catalogue say about the
// Catalog. Lines are broken by hand, for the catalogue prints them as they are.

var about = map[Kind]string{
	ServerStart:    "A target is warm and the listeners are open: from now on attackers are\nserved.",
	ServerReload:   "The configuration was read again. *applied* names the changed settings in\nforce now, *restart\\_needed* those that wait for a restart.",
	ServerStop:     "No new connections are taken. Those that are open may end by themselves for\nssh.drain\\_timeout and are then closed.",
	PoolReady:      "The first target since the start is warm.",
	PoolWarm:       "A container was made and started, and waits for an attacker.",
	PoolFail:       "Podman refused or did not answer, or a container is not usable. The pool goes\non trying. While no target is warm, sessions that need one are turned away.",
	PoolRemove:     "A container is gone for good. It was never used, and *reason* tells why it is\nno longer wanted, or it was evidence beyond what the settings retain.",
	PoolEmpty:      "Sessions wait for a target, because none is warm or because pool.max\\_leases\nare in use. They wait for pool.lease\\_timeout. Reported every ten seconds at most.",
	ConnectionOpen: "A client has connected. Every connection ends with *connection.close*. What is\nknown of its source is told as far as enrich finds something.",
	ConnectionDeny: "The connection is not served: *reason* says which list or limit was against it,\n*answer* what it got. Of all that are refused in a minute as many are told as\nevents.max\\_repeats allows one connection; *events.omit* counts the others.",
	ConnectionEnd:  "The TCP connection is over, or has left the tarpit.",
	ClientVersion:  "The client sent its identification line, or what it took for one.",
	ClientKexInit:  "The client said which algorithms it can do, its KEXINIT message (RFC 4253,\nsection 7.1). Lists are as it sent them, their first 8192 bytes.",
	AuthAttempt:    "A credential was tried. For a public key there may be two events: the key was\noffered, then the client proved that it holds the private key.",
	HoneytokenUse:  "A credential was tried that nobody has who did not steal it: one of\nauth.honeytokens, or a bait that was planted in the target of *bait\\_session*. It\nmakes no difference whether it was *accepted*.",
	SessionOpen:    "A client has logged in and its evidence directory exists. The connection's\nidentifier is the session's.",
	SessionLease:   "The session has a container of its own, which carries the session's identifier\nas its name. If it is that of an earlier session, *previous\\_session* names it.\nIt is removed in the end if no program was asked for.",
	SessionFail:    "Something that the attacker asked for could not be done on our side, or could\nnot be recorded. The client saw an ordinary failure.",
	SessionClose:   "The connection is gone, the container is stopped and the evidence is complete.",
	SessionRecover: "At the start a session was found open that a crash had cut off. Its evidence\nwas closed with what was on disk.",
	SessionSeal:    "The evidence of a closed session was compressed, summed and signed, and its place\nin the chain is on disk, see docs/evidence.md. Kept elsewhere, this event shows\nlater whether the end of the chain was cut off.",
	SessionRemove:  "A sealed session was removed on purpose. The chain has said so before.",
	ChannelOpen:    "The client opened a session channel.",
	ChannelDeny:    "The client asked for a channel of a type that nobody knows, or for more sessions\nthan allowed. With *reason* malformed the connection is ended.",
	ChannelTimeout: "Nothing went through a session channel for so long as ssh.channel\\_timeout\nallows one of its type. It was closed, and what ran on it has lost its streams.",
	ChannelRequest: "A request on a channel that starts no program: a terminal, an environment\nvariable, or something that is not served.",
	GlobalRequest:  "A request about the whole connection, such as a proof that we have the private\nhost keys. All are refused that sshd does not know either.",
	ForwardRequest: "The client wants a connection made from here: to an address, a socket or a\ntunnel. None ever is. *policy* is what the configuration says, and *accepted* that\nthe client was told it had the connection; *forward* is there only then.",
	ForwardListen:  "The client wants connections from here: it asked for a port or a socket to be\nlistened on, or for an end of that. *accepted* is what it was told; nothing is\nlistened on.",
	ForwardClose:   "An accepted forward is over and its recording is complete. It holds what the\nclient sent; it was never sent anything.",
	ShellStart:     "A login shell runs in the session's container.",
	ExecStart:      "A command runs in the session's container.",
	SubsystemStart: "A subsystem runs in the session's container, usually sftp.",
	CommandInput:   "A line was entered at a terminal, or sent to a shell without one. See\ndocs/commands.md for what can be told.",
	ProgramExit:    "The program of a channel has ended. If a signal ended it, *exit\\_signal* names\nthat; in targets without a session leader only a status above 128 hints at it.",
	RecordingStop:  "The recording of a channel has reached recording.max\\_bytes, those of its session\nrecording.max\\_session\\_bytes, or less than recording.min\\_free is free: *setting*\nnames which. The channel was ended with it; nothing went on unrecorded.",
	TransferFile:   "A file went through SFTP or scp, whole or in part. It was closed, or its channel\nended. See docs/transfers.md.",
	TransferChange: "A client of SFTP or scp changed a file in another way than by its content, or\ntried to, or was refused a file.",
	TransferGap:    "Something that a client does with files is not told from here on; *reason* says\nwhat. The transfer itself goes on and is recorded.",
	ChannelClose:   "A channel on which a program ran is over and its recording is complete.",
	FileCapture:    "A file was found in the target when its session ended, and its content kept. See\ndocs/capture.md.",
	CaptureEnd:     "What the session left in its target was captured. *volatile* and *layer* say\ncomplete, or what kept it from being that.",
	TargetReturn:   "A source for which the container of an earlier session is reserved has opened a\nsession. If that container could not be had, *reason* tells why, and the session\ngot another.",
	TargetStop:     "The container of a session was stopped. It is kept as evidence under the\nsession's identifier.",
	StorageLow:     "Less than recording.min\\_free is free where recordings go, or it cannot be told:\n*error* is there only then. No program starts and channels end until *storage.ok*.\nReported once, and not for each that is refused. Make room.",
	StorageOK:      "There is room for recordings again; programs start.",
	ControlAct:     "Somebody has asked the running service for something by its control socket, see\n**sandtrap**(1). It is done after this event.",
	EventsOmit:     "A connection has caused more events of some kinds than events.max\\_repeats, or more\ntext in them than events.max\\_text. These were left out; the last event of the\nconnection but one.",
	ArtifactRemove: "An artifact was removed on purpose. The chain has said so before.",
	EventsRemove:   "All event files together would have taken more than events.max\\_bytes. The oldest\nis gone.",
	APIRefuse:      "The filter before Podman's API has refused a request that no pool makes. The\nSSH server may be in the wrong hands: look at what it did before. In the journal\nonly, and sixty a minute at most.",
}

// hostile begins the meaning of a field that a client fills.
const hostile = "Hostile. "

var meanings = map[string]string{
	"action":                "What was asked for: **terminate**, **reload**, **gc**, **drain** or **refill**.",
	"operator_pid":          "Process that asked.",
	"operator_uid":          "User that asked, as a number; 65534 also stands for those whom systemd before 257 hides from the service.",
	"terminated_session":    "Identifier of the session that is to end.",
	"answer":                "**closed** without a word, **told** what sshd tells, or held in the **tarpit**.",
	"asn":                   "Number of the autonomous system that announces the source.",
	"balancer":              "Address of the load balancer that the connection came through, see admission.proxy\\_protocol in **sandtrap.yaml**(5).",
	"country":               "Country of the source, ISO 3166-1 alpha-2.",
	"lists":                 "Names of the lists in enrich.lists that have the source, separated by spaces.",
	"organisation":          hostile + "Who runs the autonomous system, its first 256 bytes; from a database that strangers fill.",
	"accepted":              "Whether it was granted.",
	"account":               "Account inside the target.",
	"address":               hostile + "Address or path to listen on, its first 1024 bytes.",
	"applied":               "Names of settings, separated by spaces.",
	"channel":               "Number of the channel in its connection, from 0.",
	"channel_type":          hostile + "Type of channel the client asked for, see RFC 4254; in channel.timeout as ssh.channel\\_timeout has it.",
	"channels":              "Number of channels on which a program ran.",
	"client_version":        hostile + "The client's identification line.",
	"ciphers":               hostile + "What it would encrypt with, by preference; to the client too unless the next field says otherwise.",
	"ciphers_to_client":     hostile + "What the server may encrypt with, where that differs.",
	"compression":           hostile + "How it would compress.",
	"compression_to_client": hostile + "How the server may compress, where that differs.",
	"hassh":                 "Fingerprint of the client's software: the MD5 of its *kex\\_algorithms*, *ciphers*, *macs* and *compression*, as HASSH has it.",
	"host_key_algorithms":   hostile + "Kinds of host keys that it knows, by preference.",
	"kex_algorithms":        hostile + "Key exchange algorithms, by preference.",
	"languages":             hostile + "Languages that it asks for; hardly any client does.",
	"macs":                  hostile + "Message authentication codes that it would send, by preference.",
	"macs_to_client":        hostile + "Those that the server may send, where they differ.",
	"columns":               "Width of the terminal in characters, as the client claims.",
	"command":               hostile + "Command line of an exec request; in command.input the line as the terminal showed it when it was entered, at most 16 KiB of it.",
	"container":             "Podman's identifier of the container.",
	"core_dumped":           "Whether it left a core dump; only with exit\\_signal.",
	"destination":           hostile + "Name, address or path that the client wants to be connected with, its first 1024 bytes. Empty for a tunnel.",
	"destination_port":      "Port there, or the number of the tunnel, as the client claims.",
	"duration_ms":           "How long it took or lasted, in milliseconds.",
	"echoed":                "Whether the terminal showed the line. If not, it is what was typed, such as a password.",
	"error":                 hostile + "What went wrong. The text may quote a client.",
	"exit_signal":           "Signal that ended the program, without SIG as in RFC 4254, or SIG and its number where that has no name for it.",
	"exit_status":           "Exit status of the program.",
	"fingerprint":           "SHA-256 fingerprint of the key, as ssh-keygen -l prints it.",
	"forward":               "Number of the forward among the accepted ones of its connection, from 0.",
	"forward_type":          "**direct-tcpip**, **direct-streamlocal@openssh.com** or **tun@openssh.com**.",
	"file":                  "Name of the file that was removed, in the directory of events.",
	"free_bytes":            "What is free on the file system, in bytes.",
	"kinds":                 "Kinds of events with how many of each were left out, such as channel.request=9000, separated by spaces.",
	"setting":               "The setting whose limit it was.",
	"silence_ms":            "How long nothing went through, in milliseconds.",
	"image_digest":          "Identifier of the image the container was made from.",
	"input_bytes":           "Recorded bytes from the client.",
	"bait_session":          "The session in whose target the password was planted.",
	"honeytoken":            "Name of the honeytoken, **bait** for what was planted in a target.",
	"rule":                  "Name or number of the rule of auth.rules that has decided; missing where none has.",
	"since_previous_ms":     "Time since the connection's attempt before, or since it was opened, in milliseconds.",
	"key_state":             "**offered** (the client asked whether the key would do) or **verified** (it holds the private key).",
	"key_type":              "Type of the public key.",
	"leased":                "Targets in use, those being stopped included.",
	"limit_bytes":           "The limit in bytes.",
	"listeners":             "Addresses listened on, separated by spaces.",
	"method":                "none, password, keyboard-interactive, publickey, hostbased, gssapi-with-mic, or unknown for any other.",
	"name":                  hostile + "Name of an environment variable, its first 1024 bytes.",
	"omitted":               "How many events were left out: before this one of its kind, or in all in events.omit.",
	"operation":             "What was tried. Of a target: prepare, make, login, rename, stop, remove, measure or retain. Of a file: open (only when refused), setstat, lsetstat, remove, mkdir, rmdir, rename, link, symlink, copy, or directory (in scp).",
	"originator":            hostile + "Where the client says that the connection comes from, its first 1024 bytes.",
	"originator_port":       "Port there, as the client claims.",
	"output_bytes":          "Recorded bytes to the client, standard error included.",
	"password":              hostile + "The password that was tried.",
	"http_method":           hostile + "Method of an HTTP request.",
	"http_path":             hostile + "Path of an HTTP request, its first 1024 bytes.",
	"payload":               hostile + "The first 1024 bytes of what is not decoded.",
	"policy":                "**deny** or **sink**, see forwarding in **sandtrap.yaml**(5).",
	"port":                  "Port to listen on; where the client left it to the server and was accepted, the one it was told.",
	"previous_session":      "Identifier of the session that had the container before.",
	"pty":                   "Whether the program has a terminal.",
	"public_key":            "The key as one line of an authorized\\_keys file.",
	"reason":                hostile + "Why. A failed handshake may quote the client; other reasons are fixed words.",
	"recording":             "File name in the session's directory: of the cast, for a forward of the raw log.",
	"recovered_session":     "Identifier of the session that was recovered.",
	"request":               hostile + "Type of the request, see RFC 4254.",
	"restart_needed":        "Names of settings, separated by spaces.",
	"returned":              "Whether the session got the container of an earlier one.",
	"rows":                  "Height of the terminal in characters, as the client claims.",
	"stage":                 "What was being done: open, shell, exec, subsystem, forward, record, capture, close or seal.",
	"subsystem":             hostile + "Name of the subsystem.",
	"target":                "The configured name of the target.",
	"term":                  hostile + "Type of the terminal, the TERM variable, its first 1024 bytes.",
	"user":                  hostile + "Login name.",
	"value":                 hostile + "Value of an environment variable, its first 1024 bytes.",
	"version":               "Version of SandTrap.",
	"wait_ms":               "Time between asking for a target and having it, in milliseconds.",
	"waiting":               "Sessions that wait for a target.",
	"warm":                  "Targets that are warm now.",
	"added":                 "Names in the layer that the image has not.",
	"changed":               "Names that the image has, too.",
	"deleted":               "Names of the image that are gone.",
	"files":                 "Regular files that were told.",
	"processes":             "Processes that ran.",
	"artifacts":             "Files of which content was kept.",
	"entries_omitted":       "What is known of and was not told.",
	"volatile":              hostile + "Processes and files in memory: **complete**, or why not.",
	"layer":                 hostile + "What was written over the image: **complete**, or why not.",
	"where":                 "**layer** (over the image), **tmpfs** (in memory) or **process** (held by one, without a name).",
	"change":                "**added** or **changed**, in the layer.",
	"uid":                   "User id in the target.",
	"gid":                   "Group id in the target.",
	"content_type":          "MIME type by content.",
	"artifact":              "SHA-256 of what was captured, which is its name in the state directory.",
	"sequence":              "Number of the entry in the chain.",
	"chain_sha256":          "SHA-256 of the entry in the chain, a line with its newline.",
	"captured_bytes":        "Bytes of the file's content that were captured.",
	"complete":              "Whether all of the file was captured.",
	"direction":             "**upload** (the client sends the file) or **download**.",
	"mode":                  "Permissions, octal; in a transfer as they were sent.",
	"new_path":              hostile + "Second name of a rename, link, symlink or copy.",
	"offset":                "Where in the file the content that was transferred begins.",
	"path":                  hostile + "Name of a file; in a transfer as it was sent.",
	"protocol":              "**sftp** or **scp**.",
	"sha256":                "SHA-256 of all that was transferred of the file; missing where not all of it is known. In file.capture of what was captured, its name in the state directory; of a session, of its SHA256SUMS.",
	"size_bytes":            "Size of the file in bytes.",
	"transferred_bytes":     "Bytes of the file's content that went through.",
}

// inJournal lists what the message catalogue shows beside the identity: fields
// that the kind always has and that attackers do not write.
var inJournal = map[Kind][]string{
	ServerStart:    {"version", "listeners"},
	PoolReady:      {"target"},
	PoolWarm:       {"target", "container"},
	PoolFail:       {"target", "operation"},
	PoolRemove:     {"target", "container"},
	PoolEmpty:      {"target", "waiting"},
	ConnectionDeny: {"answer"},
	AuthAttempt:    {"method", "accepted"},
	HoneytokenUse:  {"honeytoken", "method", "accepted"},
	SessionLease:   {"target", "container"},
	SessionClose:   {"channels", "input_bytes", "output_bytes"},
	SessionRecover: {"recovered_session"},
	SessionSeal:    {"sequence", "chain_sha256"},
	SessionRemove:  {"sequence", "chain_sha256"},
	ArtifactRemove: {"artifact", "sequence"},
	ForwardRequest: {"forward_type", "policy", "accepted"},
	ForwardListen:  {"policy", "accepted"},
	ForwardClose:   {"forward", "recording"},
	ShellStart:     {"channel", "account"},
	ExecStart:      {"channel", "account"},
	SubsystemStart: {"channel", "account"},
	ProgramExit:    {"channel"},
	RecordingStop:  {"channel", "limit_bytes", "setting"},
	ChannelTimeout: {"channel", "silence_ms"},
	StorageLow:     {"free_bytes", "limit_bytes"},
	StorageOK:      {"free_bytes", "limit_bytes"},
	ControlAct:     {"action", "operator_uid", "operator_pid"},
	EventsOmit:     {"omitted", "kinds"},
	EventsRemove:   {"file", "size_bytes"},
	TransferFile:   {"channel", "protocol", "direction", "captured_bytes", "complete"},
	TransferChange: {"channel", "protocol", "operation", "accepted"},
	TransferGap:    {"channel", "protocol"},
	ChannelClose:   {"channel", "recording"},
	FileCapture:    {"where", "size_bytes", "captured_bytes", "complete"},
	CaptureEnd:     {"processes", "artifacts", "entries_omitted"},
	TargetReturn:   {"target", "container", "returned"},
	TargetStop:     {"target", "container"},
}

const aboutCowrie = `**sandtrap events --format cowrie** prints these names for those who have tools for
Cowrie's JSON log. Each has *session*, *src_ip*, *src_port*, *dst_ip*, *dst_port*,
*protocol*, *sensor*, *message* and *timestamp* besides. Of several that fit, the first
counts; other events have no counterpart.

Cowrie puts what a client claims as the origin of a forward in *src_ip*; here that is
always where the client connects from. A file that a client takes out of a target has no
counterpart: a download of Cowrie's is one into the honeypot. *hasshAlgorithms* is made
of the lists. Durations are in seconds. *outfile* is the name of the artifact.
`

const manualHead = `sandtrap-events 7 "SandTrap" "Miscellaneous"
============================================

[//]: # (Generated from internal/event. Do not edit.)

# NAME

sandtrap-events - what the SandTrap SSH honeypot reports

# DESCRIPTION

An event is one thing that happened: a connection, a password that was tried, a
command. Every event has a kind, the identity of the connection it belongs to,
and fields of its own. Kinds, field names and MESSAGE_IDs are stable: a released
one keeps its meaning, new ones may be added.

Events are not diagnostics. What the service has to say about itself goes to
the log that *log.level* and *log.format* of **sandtrap.yaml**(5) describe.

Events go to two places at once, before the attacker gets an answer:

the event files
: *events/events-YYYY-MM-DD.jsonl* in the state directory, one JSON object a
line, a file for each day (UTC). This is the complete record. A file that has
events.max\_file\_bytes becomes *events-YYYY-MM-DD.NNNN.jsonl*, so that names sort
by age. Beyond events.max\_bytes in all the oldest are removed.

the journal
: as native fields, where the service runs under systemd. Elsewhere events are
printed on standard error, as text or JSON.

A client can cause many events. Beyond events.max\_repeats of one kind, or
events.max\_text in those, events of one connection are only counted; *events.omit*
tells then how many of which kind, before the last event of the connection.

If an event cannot be written everywhere, new sessions and programs are refused
until one can be.

# COMMON FIELDS

The first name is that in JSON, the second that in the journal. An event of the
service itself has no identity, that is none of the fields from **session** on:
these are **server.\***, **pool.\***, **control.\*** and **session.recover**. **target.\***
have a session and no addresses.

**time**
: UTC with nanoseconds. The journal has its own time.

**seq**, **SANDTRAP_SEQ**
: Counts up by one with each event of a running service, from 1. A gap is a lost
event.

**event**, **SANDTRAP_EVENT**
: The kind.

**severity**, **PRIORITY**
: error, warning, notice or info; in the journal 3, 4, 5 or 6.

**message**, **MESSAGE**
: A summary. In the journal the fields follow it, hostile values quoted and cut
to 256 bytes.

**session**, **SANDTRAP_SESSION**
: The connection's identifier, a ULID. From login on it is the session's, and
the name of the container. A connection that never logs in has one too.

**src_ip**, **SANDTRAP_SRC_IP**, **src_port**, **SANDTRAP_SRC_PORT**
: Where the client connects from.

**dst_ip**, **SANDTRAP_DST_IP**, **dst_port**, **SANDTRAP_DST_PORT**
: The address and port it connected to.

A field *name* of a kind is **SANDTRAP\_**_NAME_ in the journal, in capitals and
cut to 64 KiB. In JSON bytes that are not UTF-8 appear as U+FFFD, and a member
*name*_base64 next to it holds the exact value.

`

const manualFoot = `
# SECURITY

Attackers choose much of what is in an event. The files hold such values as JSON
strings, in which control characters below U+0020 are escaped and those above are
not. In the journal's **MESSAGE** they are quoted in ASCII; its other fields hold
them as they came. A program that prints either must escape what is left. The message catalogue
(**journalctl -x**) shows no hostile field.

Passwords are recorded in full. People sometimes type a real one by mistake, so
keep the events as confidential as the recordings.

# EXAMPLES

All about one session, and the passwords tried since midnight:

    journalctl SANDTRAP_SESSION=01KC5MV6Q2B3N9T7W8X4Y5Z6A7
    journalctl SANDTRAP_EVENT=auth.attempt --since today --output=json \
        --output-fields=SANDTRAP_USER,SANDTRAP_PASSWORD,SANDTRAP_SRC_IP

The ten most frequent commands in the event files, with **jq**(1):

    jq -r 'select(.event == "exec.start") | .command | @json' \
        /var/lib/sandtrap/events/*.jsonl | sort | uniq -c | sort -rn | head

What a message means:

    journalctl -x SANDTRAP_EVENT=pool.fail

# FILES

*/var/lib/sandtrap/events/events-YYYY-MM-DD.jsonl*
: The event files.

*/var/lib/sandtrap/events/events-YYYY-MM-DD.NNNN.jsonl*
: Those that are full, by number.

*/usr/lib/systemd/catalog/sandtrap.catalog*
: The message catalogue.

# SEE ALSO

**sandtrap**(1), **sandtrap.service**(8), **sandtrap.yaml**(5),
**journalctl**(1), **systemd.journal-fields**(7)
`
