// Package config turns files, environment and flags into one checked Config.
//
// Built-in defaults flow in first, then a persona, the main file, its drop-ins, the
// environment and the command line; each layer overrides the one before, and a
// list replaces a list. What comes out is either a Config that every other
// package may rely on without checking again, or Problems: one line each, with
// the file, line and key to blame.
package config

import (
	"time"

	"github.com/sandtrap/sandtrap/internal/persona"
)

// DefaultPath is where the main file is looked for when none is named.
const DefaultPath = "/etc/sandtrap/sandtrap.yaml"

// Config is the whole configuration. It is a value: nobody changes it after
// Load; a reload makes a new one. The keys are described in sandtrap.yaml(5).
type Config struct {
	SSH        SSH           `koanf:"ssh"`
	Session    Session       `koanf:"session"`
	Admission  Admission     `koanf:"admission"`
	Auth       Auth          `koanf:"auth"`
	Forwarding Forwarding    `koanf:"forwarding"`
	Pool       Pool          `koanf:"pool"`
	Podman     Podman        `koanf:"podman"`
	Target     Target        `koanf:"target"`
	Targets    []TargetEntry `koanf:"targets"` // none for the one of Target; see AllTargets
	Limits     Limits        `koanf:"limits"`
	Recording  Recording     `koanf:"recording"`
	Retention  Retention     `koanf:"retention"`
	Transfers  Transfers     `koanf:"transfers"`
	Capture    Capture       `koanf:"capture"`
	Events     Events        `koanf:"events"`
	Enrich     Enrich        `koanf:"enrich"`
	StateDir   string        `koanf:"state_dir"` // absolute path
	Control    Control       `koanf:"control"`
	Log        Log           `koanf:"log"`
}

// SSH says what the server looks like on the wire. Keys shared with
// sshd_config(5) keep its words and its meaning.
type SSH struct {
	Listen                       []string      `koanf:"listen"`         // "address:port", used only without socket activation
	Persona                      string        `koanf:"persona"`        // sets the defaults of the keys below; one of package persona's, or an absolute path
	Version                      string        `koanf:"version"`        // what follows "SSH-2.0-", RFC 4253 section 4.2
	HostKeys                     []string      `koanf:"host_keys"`      // of KeyEd25519, KeyECDSA, KeyRSA
	KexAlgorithms                []string      `koanf:"kex_algorithms"` // in the order offered, as Ciphers and MACs
	Ciphers                      []string      `koanf:"ciphers"`
	MACs                         []string      `koanf:"macs"`
	LoginGraceTime               time.Duration `koanf:"login_grace_time"`
	PasswordTime                 time.Duration `koanf:"password_time"` // of the check of a password, about
	FailDelay                    time.Duration `koanf:"fail_delay"`    // of the answer to a wrong password, about; see pam_fail_delay(3)
	MaxAuthTries                 int           `koanf:"max_auth_tries"`
	PasswordAuthentication       bool          `koanf:"password_authentication"`
	KbdInteractiveAuthentication bool          `koanf:"kbd_interactive_authentication"`
	PubkeyAuthentication         bool          `koanf:"pubkey_authentication"`
	Banner                       string        `koanf:"banner"`                    // absolute path of a text sent before authentication, or BannerNone
	MaxSessions                  int           `koanf:"max_sessions"`              // session channels open at once on one connection
	MaxConnections               int           `koanf:"max_connections"`           // connections at once
	MaxStartups                  string        `koanf:"max_startups"`              // what admission.ParseStartups takes: connections that have not logged in
	PerSourceMaxStartups         int           `koanf:"per_source_max_startups"`   // of these; 0 for no bound
	PerSourceNetBlockSize        string        `koanf:"per_source_net_block_size"` // what admission.ParseNetBlockSize takes
	PerSourcePenalties           []string      `koanf:"per_source_penalties"`      // what admission.ParsePenalties takes
	AcceptEnv                    []string      `koanf:"accept_env"`                // patterns with * and ?
	DrainTimeout                 time.Duration `koanf:"drain_timeout"`             // how long a stop waits for connections to end by themselves
	ClientAliveInterval          time.Duration `koanf:"client_alive_interval"`     // of silence, before a client is asked; 0 never asks
	ClientAliveCountMax          int           `koanf:"client_alive_count_max"`    // questions without an answer; 0 never ends a connection
	ChannelTimeout               []string      `koanf:"channel_timeout"`           // what ParseChannelTimeout takes; the first that matches counts
	UnusedConnectionTimeout      time.Duration `koanf:"unused_connection_timeout"` // without an open channel; 0 for ever
}

// BannerNone is SSH.Banner where nothing is sent.
const BannerNone = "none"

// The names that SSH.HostKeys may hold.
const (
	KeyEd25519 = "ed25519"
	KeyECDSA   = "ecdsa"
	KeyRSA     = "rsa"
)

// Session bounds a session as a whole.
type Session struct {
	MaxTime time.Duration `koanf:"max_time"` // from the login on
}

// Forwarding says what becomes of what a client wants forwarded. Nothing ever is:
// no address is dialled, no port listened on.
type Forwarding struct {
	TCPLocal          Forward       `koanf:"tcp_local"`          // ssh -L, -D, -W: AllowTcpForwarding local
	TCPRemote         Forward       `koanf:"tcp_remote"`         // ssh -R: AllowTcpForwarding remote
	StreamlocalLocal  Forward       `koanf:"streamlocal_local"`  // -L to a socket: AllowStreamLocalForwarding local
	StreamlocalRemote Forward       `koanf:"streamlocal_remote"` // -R of a socket: AllowStreamLocalForwarding remote
	X11               Forward       `koanf:"x11"`                // ssh -X: X11Forwarding
	Agent             Forward       `koanf:"agent"`              // ssh -A: AllowAgentForwarding
	Tunnel            Forward       `koanf:"tunnel"`             // ssh -w: PermitTunnel
	MaxBytes          Bytes         `koanf:"max_bytes"`          // of the recording of one forward
	MaxChannels       int           `koanf:"max_channels"`       // forwards open at once on one connection
	MaxTime           time.Duration `koanf:"max_time"`           // of one forward in all
}

// Forward is the value of forwarding.tcp_local and its like.
type Forward string

// What to do about a forward: refuse it as an sshd whose configuration forbids it,
// or accept it and answer nothing.
const (
	ForwardDeny Forward = "deny"
	ForwardSink Forward = "sink"
)

// Pool says how many targets are kept and how long anything waits for one.
type Pool struct {
	Min          int           `koanf:"min"`           // warm targets at rest
	Max          int           `koanf:"max"`           // warm targets at most, when many are leased
	Burst        int           `koanf:"burst"`         // targets made at the same time at most
	MaxLeases    int           `koanf:"max_leases"`    // targets in use at once
	MaxAge       time.Duration `koanf:"max_age"`       // how long a target may stay warm
	LeaseTimeout time.Duration `koanf:"lease_timeout"` // a session's wait for a target
	StartTimeout time.Duration `koanf:"start_timeout"` // the service's wait for the first warm target
	Sticky       Sticky        `koanf:"sticky"`        // who gets the target of an earlier session again
	StickyWindow time.Duration `koanf:"sticky_window"` // for how long after that session
	Retain       int           `koanf:"retain"`        // stopped containers kept as evidence
	RetainAge    time.Duration `koanf:"retain_age"`    // how long they are kept; 0 is no bound
	RetainBytes  Bytes         `koanf:"retain_bytes"`  // what they have written in all; 0 is no bound
}

// Sticky is the value of pool.sticky.
type Sticky string

// Who comes back to the target of an earlier session: nobody, the same address,
// or the same address with the same credential.
const (
	StickyOff                 Sticky = "off"
	StickySource              Sticky = "source"
	StickySourceAndCredential Sticky = "source-and-credential"
)

// Podman says where the container engine answers.
type Podman struct {
	Socket   string `koanf:"socket"`   // absolute path of a unix(7) socket
	Handover string `koanf:"handover"` // that of the helper that hands out streams to targets
	Layer    string `koanf:"layer"`    // that of the helper that tells what targets have written
	// StoreSize is that of the file system which holds images and containers; 0 is half
	// of what is free when it is made.
	StoreSize Bytes `koanf:"store_size"`
}

// Limits says what happens when the kernel cannot hold a target to its limits.
type Limits struct {
	Enforcement Enforcement `koanf:"enforcement"`
}

// Enforcement is the value of limits.enforcement.
type Enforcement string

// What to do without delegated cgroup controllers: refuse to serve, or serve
// and say so loudly.
const (
	EnforcementRequired   Enforcement = "required"
	EnforcementBestEffort Enforcement = "best-effort"
)

// Retention says how much evidence is kept; 0 is no bound. That of containers is the
// pool's.
type Retention struct {
	SessionsAge    time.Duration `koanf:"sessions_age"` // since their start
	SessionsBytes  Bytes         `koanf:"sessions_bytes"`
	SessionsCount  int           `koanf:"sessions_count"`
	ArtifactsAge   time.Duration `koanf:"artifacts_age"` // since they were brought last
	ArtifactsBytes Bytes         `koanf:"artifacts_bytes"`
	ArtifactsCount int           `koanf:"artifacts_count"`
}

// Recording bounds the evidence of one channel and of one session, and says how much
// must be free for there to be any.
type Recording struct {
	MaxBytes        Bytes `koanf:"max_bytes"`
	MaxSessionBytes Bytes `koanf:"max_session_bytes"` // channels and forwards together
	MinFree         Bytes `koanf:"min_free"`          // of the file system of StateDir; 0 for any
}

// Transfers bounds the content that is kept of transferred files. Nothing is kept
// with 0.
type Transfers struct {
	MaxFileBytes    Bytes `koanf:"max_file_bytes"`
	MaxSessionBytes Bytes `koanf:"max_session_bytes"`
}

// Capture says what is kept of what an attacker leaves in a target.
type Capture struct {
	Enabled         bool          `koanf:"enabled"`
	MaxFileBytes    Bytes         `koanf:"max_file_bytes"`    // of the content of one file; 0 keeps none
	MaxSessionBytes Bytes         `koanf:"max_session_bytes"` // of all files of a session
	MaxFiles        int           `koanf:"max_files"`         // entries of a session
	MaxTime         time.Duration `koanf:"max_time"`          // of one session's
}

// Events bounds what one connection may cause, and the event files.
type Events struct {
	MaxRepeats   int   `koanf:"max_repeats"`    // events of one kind that a connection may cause
	MaxText      Bytes `koanf:"max_text"`       // text in those of one kind
	MaxFileBytes Bytes `koanf:"max_file_bytes"` // of one file
	MaxBytes     Bytes `koanf:"max_bytes"`      // of all files; the oldest are removed
}

// Control says where operators talk to the running service.
type Control struct {
	Socket string `koanf:"socket"` // absolute path of a unix(7) socket
}

// Log says how diagnostics are written. Events do not take this way.
type Log struct {
	Level  LogLevel  `koanf:"level"`
	Format LogFormat `koanf:"format"`
}

// LogLevel is the value of log.level; the names are those of hclog.
type LogLevel string

// The levels, most talkative first.
const (
	LogTrace LogLevel = "trace"
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// LogFormat is the value of log.format.
type LogFormat string

// The formats; auto is the journal under systemd and text elsewhere.
const (
	FormatAuto    LogFormat = "auto"
	FormatText    LogFormat = "text"
	FormatJSON    LogFormat = "json"
	FormatJournal LogFormat = "journal"
)

// Default returns the configuration of a host without any file, with what its
// persona sets.
func Default() Config {
	return Config{
		SSH: SSH{
			Listen:   []string{"0.0.0.0:2222", "[::]:2222"},
			Persona:  persona.Default,
			Version:  "OpenSSH_9.2p1 Debian-2+deb12u10",
			HostKeys: []string{KeyRSA, KeyECDSA, KeyEd25519},
			KexAlgorithms: []string{
				"curve25519-sha256", "curve25519-sha256@libssh.org",
				"diffie-hellman-group16-sha512", "diffie-hellman-group-exchange-sha256",
			},
			Ciphers: []string{
				"chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr",
				"aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
			},
			MACs:                   []string{"hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"},
			LoginGraceTime:         2 * time.Minute,
			PasswordTime:           60 * time.Millisecond,
			FailDelay:              2 * time.Second,
			MaxAuthTries:           6,
			PasswordAuthentication: true,
			PubkeyAuthentication:   true,
			Banner:                 BannerNone,
			MaxSessions:            10,
			MaxConnections:         3072,
			MaxStartups:            "1024:30:2048",
			PerSourceMaxStartups:   100,
			PerSourceNetBlockSize:  "32:64",
			PerSourcePenalties:     []string{},
			AcceptEnv:              []string{"LANG", "LC_*"},
			DrainTimeout:           5 * time.Second,
			ClientAliveInterval:    2 * time.Minute,
			ClientAliveCountMax:    3,
			ChannelTimeout:         []string{"session*=30m", "direct-*=2m", "tun=2m"},

			UnusedConnectionTimeout: 10 * time.Minute,
		},
		Session: Session{MaxTime: 4 * time.Hour},
		Admission: Admission{
			PerSourceMaxConnections: 128,
			Rate:                    "none",
			PerSourceRate:           "1200/1m",
			MaxSources:              65536,
			Allow:                   []string{},
			AllowFiles:              []string{},
			Deny:                    []string{},
			DenyFiles:               []string{},
			ProxyProtocol:           []string{},
			Tarpit:                  []string{},
			TarpitConnections:       4096,
			TarpitInterval:          10 * time.Second,
		},
		Auth: Auth{Mode: AuthAcceptAll, Credentials: []Credential{}, Rules: []Rule{}, Honeytokens: []Honeytoken{}, Bait: BaitOff},
		Forwarding: Forwarding{
			TCPLocal:          ForwardSink,
			TCPRemote:         ForwardDeny,
			StreamlocalLocal:  ForwardDeny,
			StreamlocalRemote: ForwardDeny,
			X11:               ForwardDeny,
			Agent:             ForwardDeny,
			Tunnel:            ForwardDeny,
			MaxBytes:          64 * KiB,
			MaxChannels:       100,
			MaxTime:           10 * time.Minute,
		},
		Pool: Pool{
			Min:          4,
			Max:          16,
			Burst:        4,
			MaxLeases:    64,
			MaxAge:       time.Hour,
			LeaseTimeout: 10 * time.Second,
			StartTimeout: 2 * time.Minute,
			Sticky:       StickySource,
			StickyWindow: 10 * time.Minute,
			Retain:       200,
			RetainAge:    0,
			RetainBytes:  10 * GiB,
		},
		Podman: Podman{Socket: "/run/sandtrap-pods/filter.sock", Handover: "/run/sandtrap-pods/handover.sock", Layer: "/run/sandtrap-pods/layer.sock"},
		Target: Target{
			Name:     "debian",
			Image:    "localhost/sandtrap-target-debian:latest",
			Hostname: "srv01",
			LoginAs:  LoginExisting,
			Account:  "root",
			Memory:   256 * MiB,
			Disk:     512 * MiB,
			PIDs:     128,
			CPUs:     1,
		},
		Targets:   []TargetEntry{},
		Limits:    Limits{Enforcement: EnforcementRequired},
		Recording: Recording{MaxBytes: 256 * MiB, MaxSessionBytes: GiB, MinFree: GiB},
		Transfers: Transfers{MaxFileBytes: 64 * MiB, MaxSessionBytes: 256 * MiB},
		Capture:   Capture{Enabled: true, MaxFileBytes: 64 * MiB, MaxSessionBytes: 256 * MiB, MaxFiles: 10000, MaxTime: 30 * time.Second},
		Events:    Events{MaxRepeats: 1000, MaxText: 256 * KiB, MaxFileBytes: 64 * MiB, MaxBytes: GiB},
		Enrich:    Enrich{GeoIP: []string{"/usr/share/GeoIP", "/var/lib/GeoIP"}, Lists: []string{}},
		StateDir:  "/var/lib/sandtrap",
		Control:   Control{Socket: "/run/sandtrap/control.sock"},
		Log:       Log{Level: LogInfo, Format: FormatAuto},
	}
}
