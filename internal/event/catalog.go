package event

// Kind names what happened. Names are dotted and stable: what a defender greps
// for today keeps matching.
type Kind string

// The kinds of events, in the order in which a session meets them.
const (
	ServerStart    Kind = "server.start"
	ServerReload   Kind = "server.reload"
	ServerStop     Kind = "server.stop"
	PoolReady      Kind = "pool.ready"
	PoolWarm       Kind = "pool.warm"
	PoolFail       Kind = "pool.fail"
	PoolRemove     Kind = "pool.remove"
	PoolEmpty      Kind = "pool.empty"
	ConnectionOpen Kind = "connection.open"
	ConnectionDeny Kind = "connection.deny"
	ConnectionEnd  Kind = "connection.close"
	ClientVersion  Kind = "client.version"
	ClientKexInit  Kind = "client.kexinit"
	AuthAttempt    Kind = "auth.attempt"
	HoneytokenUse  Kind = "honeytoken.use"
	SessionOpen    Kind = "session.open"
	SessionLease   Kind = "session.lease"
	SessionFail    Kind = "session.fail"
	SessionClose   Kind = "session.close"
	SessionRecover Kind = "session.recover"
	SessionSeal    Kind = "session.seal"
	SessionRemove  Kind = "session.remove"
	ChannelOpen    Kind = "channel.open"
	ChannelDeny    Kind = "channel.deny"
	ChannelTimeout Kind = "channel.timeout"
	ChannelRequest Kind = "channel.request"
	GlobalRequest  Kind = "global.request"
	ForwardRequest Kind = "forward.request"
	ForwardListen  Kind = "forward.listen"
	ForwardClose   Kind = "forward.close"
	ShellStart     Kind = "shell.start"
	ExecStart      Kind = "exec.start"
	SubsystemStart Kind = "subsystem.start"
	CommandInput   Kind = "command.input"
	ProgramExit    Kind = "program.exit"
	RecordingStop  Kind = "recording.truncate"
	TransferFile   Kind = "transfer.file"
	TransferChange Kind = "transfer.change"
	TransferGap    Kind = "transfer.gap"
	ChannelClose   Kind = "channel.close"
	FileCapture    Kind = "file.capture"
	CaptureEnd     Kind = "capture.end"
	TargetReturn   Kind = "target.return"
	TargetStop     Kind = "target.stop"
	APIRefuse      Kind = "api.refuse"
	StorageLow     Kind = "storage.low"
	StorageOK      Kind = "storage.ok"
	ControlAct     Kind = "control.act"
	EventsOmit     Kind = "events.omit"
	EventsRemove   Kind = "events.remove"
	ArtifactRemove Kind = "artifact.remove"
)

// Severity is the syslog priority an event is logged with; see syslog(3).
type Severity int

// The severities in use.
const (
	Critical Severity = 2
	Error    Severity = 3
	Warning  Severity = 4
	Notice   Severity = 5
	Info     Severity = 6
)

// Definition describes one kind of event: the single source of the journal's
// message catalogue and of sandtrap-events(7).
type Definition struct {
	Kind Kind
	// MessageID is the journal's MESSAGE_ID, 32 lower-case hex digits; see
	// systemd.journal-fields(7). It never changes once released.
	MessageID string
	Severity  Severity
	// Text is the one-line summary.
	Text string
	// Fields are the names an event of this kind may carry beside the identity.
	Fields []string
}

// Catalog lists every kind. An event whose kind or field is not in it is a
// programming error, which the tests of every emitting package would meet.
var Catalog = []Definition{
	{ServerStart, "f4badf4541f440a592eadf9ee15aaa85", Notice, "SSH service started", []string{"version", "listeners"}},
	{ServerReload, "c02ee24ba014467ea21bf33b0e3b6a31", Notice, "Configuration reloaded", []string{"applied", "restart_needed"}},
	{ServerStop, "e906ce5febd94b509a149bd49adec7b6", Notice, "SSH service stopping", []string{"reason"}},
	{PoolReady, "58239c2ead7e4f72b1e1dd90df40c8fa", Notice, "Pool holds warm targets", []string{"target", "warm"}},
	{PoolWarm, "f6e35f8902d948ffb4300fc9e69bdd0b", Info, "Target warmed", []string{"target", "container", "image_digest", "duration_ms", "warm"}},
	{PoolFail, "536389feda49456f815b41b9a18ddd3f", Error, "Target could not be made, stopped or removed", []string{"target", "container", "operation", "error"}},
	{PoolRemove, "7e85252dccaa4009b10abdfbc7b2f8ed", Info, "Container removed", []string{"target", "container", "reason"}},
	{PoolEmpty, "1315a337cf7b6785e2a2c2adac3c365d", Warning, "No target is free", []string{"target", "waiting", "leased"}},
	{ConnectionOpen, "b9fe10e13a5648d0a691fef805c9fcf5", Info, "Connection opened", []string{"country", "asn", "organisation", "lists", "balancer"}},
	{ConnectionDeny, "d2ca74d62f5b49ae97fab4af8c724ffb", Notice, "Connection refused", []string{"reason", "answer", "balancer"}},
	{ConnectionEnd, "90b27e9fb5ba4ac5ae2ca945ed541017", Info, "Connection closed", []string{"duration_ms", "reason"}},
	{ClientVersion, "6683ad25d6c940f1a430d3d870f6bcd9", Info, "Client identified itself", []string{"client_version"}},
	{ClientKexInit, "24f202dd7636453b960b0fb49a9aa2a4", Info, "Client offered algorithms", []string{"hassh", "kex_algorithms", "host_key_algorithms", "ciphers", "macs", "compression", "ciphers_to_client", "macs_to_client", "compression_to_client", "languages"}},
	{AuthAttempt, "70e67341c3d14f11b5f7662974601f3a", Notice, "Authentication attempt", []string{"user", "method", "password", "key_type", "fingerprint", "public_key", "key_state", "accepted", "reason", "rule", "since_previous_ms"}},
	{HoneytokenUse, "eacb16f3622c4a55ae47653242086d85", Critical, "Honeytoken used", []string{"user", "method", "password", "key_type", "fingerprint", "public_key", "key_state", "accepted", "honeytoken", "bait_session"}},
	{SessionOpen, "2a0116531bd948d5b2d24e03cabd791c", Notice, "Session opened", []string{"user", "method"}},
	{SessionLease, "fe52cf89bb4b4259a86304de4a286d79", Info, "Target leased", []string{"target", "container", "image_digest", "wait_ms", "previous_session", "returned"}},
	{SessionFail, "a1941bdcdb6a4b999c0e80e7564ddbcc", Error, "Session could not be served", []string{"stage", "error"}},
	{SessionClose, "11217afb5e8f4686ace7d76587580e78", Notice, "Session closed", []string{"duration_ms", "channels", "input_bytes", "output_bytes", "container", "reason"}},
	{SessionRecover, "988d1e8220a14f2ab47a6a1142bebd98", Warning, "Session left open by a crash was recovered", []string{"recovered_session"}},
	{SessionSeal, "7dd2fa088cd24ff2af381d17bfd60c28", Info, "Session sealed", []string{"sequence", "sha256", "chain_sha256"}},
	{SessionRemove, "b1faa4e6b6df424da756ae40d01c742b", Notice, "Session removed", []string{"reason", "sequence", "sha256", "chain_sha256"}},
	{ChannelOpen, "2c1ea9270acb4687b3d14ea25d16d2fb", Info, "Channel opened", []string{"channel", "channel_type"}},
	{ChannelDeny, "a306a457e39a4c0e84f75e33cfd104f5", Notice, "Channel refused", []string{"channel_type", "reason", "payload"}},
	{ChannelTimeout, "44c456d811ac414e868a35d0d70f04a9", Notice, "Channel closed after silence", []string{"channel", "channel_type", "silence_ms"}},
	{ChannelRequest, "a93f5fd21627460f92b243e0ca4b8c7f", Info, "Channel request", []string{"channel", "forward", "request", "accepted", "term", "columns", "rows", "name", "value", "payload"}},
	{GlobalRequest, "9d02c18a3fbf46a3b60f835e86db4d74", Info, "Global request", []string{"request", "accepted", "payload"}},
	{ForwardRequest, "5dfc8c88f625484984998c4c154bf5ac", Notice, "Forward requested", []string{"forward", "forward_type", "destination", "destination_port", "originator", "originator_port", "policy", "accepted", "reason"}},
	{ForwardListen, "2874f55112ef412f92bec9db743f2d11", Notice, "Remote forward requested", []string{"request", "address", "port", "policy", "accepted"}},
	{ForwardClose, "e2babe0ab09e48a6a171da87ee26206c", Info, "Forward closed", []string{"forward", "forward_type", "destination", "destination_port", "duration_ms", "input_bytes", "recording", "reason"}},
	{ShellStart, "f5055f53dca14fec945d558e85e1ad5c", Notice, "Shell started", []string{"channel", "account", "pty"}},
	{ExecStart, "111524e3b10d46d8a6e63f0c8525c52f", Notice, "Command started", []string{"channel", "account", "pty", "command"}},
	{SubsystemStart, "d1d630d4f9f74ce2b5aed8c82eb223a1", Notice, "Subsystem started", []string{"channel", "account", "subsystem"}},
	{CommandInput, "bf9112bc7e864d7aa184409ca37934c8", Notice, "Command line entered", []string{"channel", "command", "echoed"}},
	{ProgramExit, "8ee31b5f447d4416a72d5bf0d4cc499c", Info, "Program ended", []string{"channel", "exit_status", "exit_signal", "core_dumped"}},
	{RecordingStop, "8e9eed7476f94008b0633b4e6f7e6bfd", Warning, "Recording reached its limit", []string{"channel", "limit_bytes", "setting"}},
	{TransferFile, "9d0caf157fc144bba6c02392de808edf", Notice, "File transferred", []string{"channel", "protocol", "direction", "path", "size_bytes", "transferred_bytes", "offset", "mode", "sha256", "artifact", "captured_bytes", "complete", "reason"}},
	{TransferChange, "fa73b26b39844aa4bae746715c5d6fa4", Info, "File changed or refused", []string{"channel", "protocol", "operation", "path", "new_path", "mode", "size_bytes", "accepted"}},
	{TransferGap, "9a9e9d352a2e4399a1de4638160dc2ed", Warning, "Transfers are not told completely", []string{"channel", "protocol", "reason"}},
	{ChannelClose, "c3f8bafa16c74b289f98e57a20af016f", Info, "Channel closed", []string{"channel", "duration_ms", "input_bytes", "output_bytes", "recording", "reason"}},
	{FileCapture, "18bf0f65b1e44daeba5708e39fbbdee3", Notice, "File captured", []string{"where", "change", "path", "size_bytes", "mode", "uid", "gid", "content_type", "sha256", "captured_bytes", "complete", "reason"}},
	{CaptureEnd, "8233e5d64d5d46f2a5c4e4edfe8d4bf4", Info, "Capture of a target ended", []string{"volatile", "layer", "processes", "files", "added", "changed", "deleted", "artifacts", "captured_bytes", "entries_omitted", "duration_ms"}},
	{TargetReturn, "57acdfbe1fa0d147836cc08f6d4811e5", Notice, "Source came back to its target", []string{"target", "container", "previous_session", "returned", "reason", "duration_ms"}},
	{TargetStop, "f62b02c844cf4376844c867b9e4562d3", Info, "Target stopped and kept", []string{"target", "container", "duration_ms"}},
	{APIRefuse, "2afbb8864eb542a28876dfffa5106c70", Error, "Request to Podman refused", []string{"http_method", "http_path", "reason", "omitted"}},
	{StorageLow, "b22069c2bc304f538fbed5497036f375", Error, "Too little space for recordings", []string{"free_bytes", "limit_bytes", "error"}},
	{StorageOK, "b94d8c85b69a46a6a97d6fe68536843b", Notice, "Enough space for recordings again", []string{"free_bytes", "limit_bytes"}},
	{ControlAct, "9b1f9a683a114811bd12ebf71527a0ca", Notice, "Operator acts", []string{"action", "operator_uid", "operator_pid", "terminated_session"}},
	{EventsOmit, "75880b0a4d724502a156b9de3e56eb99", Warning, "Events were left out", []string{"omitted", "kinds"}},
	{EventsRemove, "a8274756177947949c4718adcb934881", Warning, "Old event file removed", []string{"file", "size_bytes"}},
	{ArtifactRemove, "ee56829f2190494597680844a66ad7ac", Notice, "Artifact removed", []string{"artifact", "reason", "sequence", "chain_sha256"}},
}

var definitions = func() map[Kind]*Definition {
	m := make(map[Kind]*Definition, len(Catalog))
	for i := range Catalog {
		m[Catalog[i].Kind] = &Catalog[i]
	}
	return m
}()

// Define returns the definition of a kind, or nil for an unknown one.
func Define(k Kind) *Definition { return definitions[k] }
