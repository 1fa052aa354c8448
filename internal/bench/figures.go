package main

// figure is one thing measured, of one or several subjects. The subjects are
// servers for most figures.
type figure struct {
	name, unit string
	// subject is who must meet the targets; SandTrap when empty.
	subject string
	targets []target
}

// target is what docs/performance.md promises of a figure.
type target struct {
	kind    kind
	against string // the other subject, of ratio and growth
	limit   float64
}

// kind says which number of the samples a limit is for.
type kind int

const (
	ratioAtMost  kind = iota // median relative to another subject's median
	ratioAtLeast             // the same, for figures where more is better
	growthAtMost             // median less another subject's median
	medianAtMost
	worstAtMost // the largest sample
	tailAtMost  // 99th percentile relative to the median
)

// The figures, in the order of the table.
var (
	loginTime     = &figure{name: "TCP connect to auth ok", unit: "ms"}
	authToPrompt  = &figure{name: "auth ok to prompt", unit: "ms", targets: []target{{ratioAtMost, host, 0.35}, {ratioAtMost, inside, 0.8}}}
	connectPrompt = &figure{name: "TCP connect to prompt", unit: "ms"}
	execStatus    = &figure{name: "exec true: request to status", unit: "ms", targets: []target{{ratioAtMost, host, 1.5}, {tailAtMost, "", 5}}}
	authToStatus  = &figure{name: "auth ok to status of exec true", unit: "ms"}
	furtherExec   = &figure{name: "further exec on a connection", unit: "ms", targets: []target{{ratioAtMost, host, 1.5}, {tailAtMost, "", 5}}}
	echo          = &figure{name: "echo of a key", unit: "ms", targets: []target{{ratioAtMost, host, 1.5}}}
	burstPrompt   = &figure{name: "8 clients: auth ok to prompt", unit: "ms", targets: []target{{ratioAtMost, host, 0.5}}}
	down          = &figure{name: "download", unit: "MB/s", targets: []target{{ratioAtLeast, host, 0.5}}}
	up            = &figure{name: "upload", unit: "MB/s", targets: []target{{ratioAtLeast, host, 0.5}}}
	ptyOut        = &figure{name: "output on a pty", unit: "MB/s", targets: []target{{ratioAtLeast, host, 0.5}}}

	readyMemory   = &figure{name: "memory of a ready target", unit: "MB", targets: []target{{medianAtMost, "", 1.5}}}
	readyPrograms = &figure{name: "  its processes (RssAnon)", unit: "MB"}
	readyKernel   = &figure{name: "  kernel (slab, stacks, page tables, per CPU)", unit: "MB"}
	readyCaches   = &figure{name: "    of it reclaimable slab", unit: "MB"}
	liveMemory    = &figure{name: "memory of a live session", unit: "MB", targets: []target{{medianAtMost, "", 2.5}}}
	livePrograms  = &figure{name: "  its processes (RssAnon)", unit: "MB"}
	liveKernel    = &figure{name: "  kernel (slab, stacks, page tables, per CPU)", unit: "MB"}
	liveCaches    = &figure{name: "    of it reclaimable slab", unit: "MB"}
	liveServices  = &figure{name: "  growth of sandtrap and podman", unit: "MB"}
	restMemory    = &figure{name: "front end at rest (RssAnon)", unit: "MB", targets: []target{{medianAtMost, "", 40}}}
	restWhole     = &figure{name: "front end at rest (RSS with its binary)", unit: "MB"}

	fillTime    = &figure{name: "20 ready from an idle start", unit: "s", targets: []target{{medianAtMost, "", 1}}}
	fillService = &figure{name: "  from the service's start", unit: "s"}
	aloneRate   = &figure{name: "containers made and removed in a second", unit: "", subject: alone}
	leaseWait   = &figure{name: "10 sessions/s, 16 ready: lease wait", unit: "ms", targets: []target{{worstAtMost, "", 50}}}
	leaseStatus = &figure{name: "  auth ok to status of exec true", unit: "ms"}
	leaseLost   = &figure{name: "  sessions not served", unit: "", targets: []target{{worstAtMost, "", 0}}}

	// Real servers come to terms with the former, and not with the latter.
	crowd  = stormOf(100, target{ratioAtLeast, host, 1})
	throng = stormOf(500)

	liveExec  = &figure{name: "exec with many live sessions", unit: "ms", subject: manyLive, targets: []target{{ratioAtMost, oneLive, 1.3}}}
	liveFirst = &figure{name: "auth ok to status, many live sessions", unit: "ms", subject: manyLive}

	leftRunning     = &figure{name: "running containers", unit: "", subject: after, targets: []target{{growthAtMost, before, 0}}}
	leftConmons     = &figure{name: "conmons", unit: "", subject: after, targets: []target{{growthAtMost, before, 0}}}
	leftDescriptors = &figure{name: "descriptors of sandtrap", unit: "", subject: after, targets: []target{{growthAtMost, before, 8}}}
	leftThreads     = &figure{name: "threads of sandtrap", unit: "", subject: after, targets: []target{{growthAtMost, before, 8}}}
	leftMemory      = &figure{name: "RssAnon of sandtrap", unit: "MB", subject: after}
	leftPodmanFDs   = &figure{name: "descriptors of podman's service", unit: "", subject: after, targets: []target{{growthAtMost, before, 8}}}
	leftPodmanTasks = &figure{name: "threads of podman's service", unit: "", subject: after, targets: []target{{growthAtMost, before, 8}}}
	leftPodmanMB    = &figure{name: "RssAnon of podman's service", unit: "MB", subject: after}
	leftStopped     = &figure{name: "stopped containers kept", unit: "", subject: after}

	failures = &figure{name: "sessions refused or failed", unit: "", targets: []target{{worstAtMost, "", 0}}}
)

// The subjects of figures that do not compare servers.
const (
	oneLive  = "1 live"
	manyLive = "many live"
	before   = "before"
	after    = "after"
	alone    = "podman" // without SandTrap
)

// allFigures is the order of the table.
var allFigures = []*figure{
	loginTime, authToPrompt, connectPrompt, execStatus, authToStatus, furtherExec, echo, burstPrompt, down, up, ptyOut,
	readyMemory, readyPrograms, readyKernel, readyCaches, liveMemory, livePrograms, liveKernel, liveCaches, liveServices,
	restMemory, restWhole, fillTime, fillService, aloneRate, leaseWait, leaseStatus, leaseLost,
	crowd.answers, crowd.server, crowd.guess, crowd.refused, crowd.lost, crowd.login,
	throng.answers, throng.server, throng.guess, throng.refused, throng.lost, throng.login,
	liveExec, liveFirst,
	leftRunning, leftConmons, leftDescriptors, leftThreads, leftMemory, leftPodmanFDs, leftPodmanTasks, leftPodmanMB, leftStopped,
	failures,
}

func (f *figure) owner() string {
	if f.subject == "" {
		return sandtrap
	}
	return f.subject
}
