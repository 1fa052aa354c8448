package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/seal"
	safe "github.com/sandtrap/sandtrap/internal/term"
)

// errUnverified means that evidence is not what it was.
var errUnverified = errors.New("verification failed")

// verifyOptions are the flags and arguments of verify.
type verifyOptions struct {
	ids     []string
	all     bool
	strict  bool
	format  string // text or json
	signers string
	head    string
	state   string // the state directory
	// progress is where it is told how far it is; nil for nowhere.
	progress io.Writer
}

func newVerify(g *globals) *cobra.Command {
	var (
		o    verifyOptions
		back sessionsBack
	)
	cmd := &cobra.Command{
		Use:   "verify ID... | --all",
		Short: "Check that evidence is complete and was not altered",
		Long: `Check the seals of sessions: every file against its checksum, the checksums against
their signature and against the chain of all seals. With --all, also whether a sealed
session is missing, and the whole chain. An ID is as in "sandtrap show".

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there is no
such session, 6 if something is not as it was sealed, 130 if interrupted.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.ids = args; back.digits != "" {
				o.ids = append(o.ids, back.id(nil))
			}
			return withStore(g, func(s *evidence.Store) error {
				o.state = s.Path()
				if f, ok := g.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
					o.progress = g.err
				}
				return runVerify(cmd.Context(), s, o, g.out)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.all, "all", false, "all sessions, and the chain")
	flags.BoolVar(&o.strict, "strict", false, "fail for closed sessions that are not sealed")
	flags.StringVar(&o.format, "format", formatText, "text or json")
	flags.StringVar(&o.signers, "allowed-signers", "", "file of public keys that may have sealed (default "+allowedSigners+")")
	flags.StringVar(&o.head, "head", "", "an entry that the chain must have, `SEQUENCE:SHA256`, as session.seal events tell them")
	back.addFlags(cmd)
	return cmd
}

func runVerify(ctx context.Context, s *evidence.Store, o verifyOptions, out io.Writer) error {
	if err := checkFormat(o.format, formatText, formatJSON); err != nil {
		return err
	}
	if o.all == (len(o.ids) > 0) {
		return usageError{errors.New("want session ids, or --all")}
	}
	v := seal.VerifyOptions{Store: s, Strict: o.strict}
	if o.head != "" {
		head, err := seal.ParseHead(o.head)
		if err != nil {
			return usageError{err}
		}
		v.Head = head
	}
	for _, name := range o.ids {
		id, err := sealedID(s, name)
		if err != nil {
			return err
		}
		v.IDs = append(v.IDs, id)
	}
	var err error
	if v.Signers, err = readSigners(o); err != nil {
		return err
	}
	findings := []seal.Finding{}
	tell := newProgress(o.progress)
	v.Progress = tell.at
	v.Report = func(f seal.Finding) {
		if o.format == formatJSON {
			findings = append(findings, f)
			return
		}
		tell.clear()
		fmt.Fprintln(out, findingWords(f))
	}
	sum, err := seal.Verify(ctx, v)
	tell.clear()
	if err != nil {
		return err
	}
	if o.format == formatJSON {
		b, err := json.MarshalIndent(struct {
			Summary  seal.Summary   `json:"summary"`
			Findings []seal.Finding `json:"findings"`
		}{sum, findings}, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", safe.Document(b))
	} else {
		fmt.Fprintf(out, "%d sessions: %d sealed, %d open; %d entries in the chain; %d failures, %d notices\n",
			sum.Sessions, sum.Sealed, sum.Open, sum.Entries, sum.Failures, sum.Notices)
	}
	if sum.Failures > 0 {
		return fmt.Errorf("%w: %d failures", errUnverified, sum.Failures)
	}
	return nil
}

// sealedID is the id that a name stands for. A whole id may be that of a session that is
// gone, of which the chain knows.
func sealedID(s *evidence.Store, name string) (string, error) {
	session, _, err := s.Find(name)
	if id := strings.ToUpper(name); errors.Is(err, evidence.ErrNotFound) {
		if _, bad := evidence.PathOf(id); bad == nil {
			return id, nil
		}
	}
	return session.ID, err
}

// readSigners reads the public keys. Those of the package go before those of a service
// that made its key itself: the account of the service could add to the latter.
func readSigners(o verifyOptions) (*seal.Signers, error) {
	if o.signers != "" {
		return seal.ReadSigners(o.signers)
	}
	signers, err := seal.ReadSigners(allowedSigners)
	if errors.Is(err, fs.ErrNotExist) {
		if own, ownErr := seal.ReadSigners(filepath.Join(o.state, seal.AllowedSigners)); ownErr == nil {
			return own, nil
		}
	}
	return signers, err
}

// findingWords is a finding on one line.
func findingWords(f seal.Finding) string {
	where := f.Session
	if f.File != "" {
		if where != "" {
			where += " "
		}
		where += safe.Safe(f.File)
	}
	return fmt.Sprintf("%s: %s: %s", f.Level, where, safe.Safe(f.Text))
}

// progressEvery is how often it is told how far a verb is.
const progressEvery = 500 * time.Millisecond

// progress is a line on a terminal that is written again and again.
type progress struct {
	w     io.Writer // nil for nowhere
	last  time.Time
	shown bool
}

func newProgress(w io.Writer) *progress { return &progress{w: w, last: time.Now()} }

func (p *progress) at(done int) {
	if p.w == nil || time.Since(p.last) < progressEvery {
		return
	}
	p.last, p.shown = time.Now(), true
	fmt.Fprintf(p.w, "\r%d sessions", done)
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
