package evidence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Problem is something below the sessions directory that could not be used.
type Problem struct {
	Path string // below the state directory; its last part may be anybody's
	Err  error
}

// Error says what is wrong where.
func (p Problem) Error() string { return fmt.Sprintf("%q: %v", p.Path, p.Err) }

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

var errForeign = errors.New("does not belong here")

// Directories visits the directories of the sessions, the newest first, until visit
// returns false; dir is below the state directory and ends in the session's id. Days
// wholly before since or after until are passed over; zero is no bound. What does not
// belong there goes to problem, which may be nil.
func (s *Store) Directories(ctx context.Context, since, until time.Time, problem func(Problem), visit func(dir string) bool) error {
	if err := s.walk(ctx, since, until, problem, visit); err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	return nil
}

// walk visits the sessions' directories, the newest first, until visit returns
// false. What does not belong there goes to problem, which may be nil. Days, months
// and years that are wholly before since or after until are skipped; zero skips none.
func (s *Store) walk(ctx context.Context, since, until time.Time, problem func(Problem), visit func(dir string) bool) error {
	if s.root == nil {
		return nil
	}
	if problem == nil {
		problem = func(Problem) {}
	}
	first, last := "", "9999/99/99"
	if !since.IsZero() {
		first = dayOf(since)
	}
	if !until.IsZero() {
		last = dayOf(until)
	}
	var descend func(dir, date string, depth int) (bool, error)
	descend = func(dir, date string, depth int) (bool, error) {
		names, err := s.names(dir, depth, problem)
		switch {
		case err != nil && depth == 0:
			return false, err
		case errors.Is(err, os.ErrNotExist):
			return true, nil // removed meanwhile
		case err != nil:
			problem(Problem{dir, err})
			return true, nil
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			sub := dir + "/" + name
			var more bool
			if depth == 3 {
				more = visit(sub)
			} else {
				subDate := path.Join(date, name)
				if subDate < first[:min(len(first), len(subDate))] {
					return true, nil
				}
				if subDate > last[:len(subDate)] {
					continue
				}
				more, err = descend(sub, subDate, depth+1)
			}
			if err != nil || !more {
				return false, err
			}
		}
		return true, nil
	}
	_, err := descend(sessionsDir, "", 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// dayOf is the directory of a day below that of all sessions.
func dayOf(t time.Time) string { return t.UTC().Format("2006/01/02") }

// names lists the entries of a directory that belong there, last first. At
// depth 0 these are years, then months, days and sessions.
func (s *Store) names(dir string, depth int, problem func(Problem)) ([]string, error) {
	d, err := s.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if depth == 3 {
		return s.sessionNames(d, dir, problem)
	}
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || !isNumber(name, [...]int{4, 2, 2}[depth]) {
			problem(Problem{path.Join(dir, name), errForeign})
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// sessionNames lists the sessions in the directory of a day, last first, by their names
// alone: what each is would cost a system call, and who opens it finds out.
func (s *Store) sessionNames(d *os.File, dir string, problem func(Problem)) ([]string, error) {
	all, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	names := all[:0]
	for _, name := range all {
		if !isID(name) {
			problem(Problem{path.Join(dir, name), errForeign})
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

func isNumber(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789") == ""
}

// Dirs visits the paths of all sessions below the state directory, the newest first,
// until visit returns false. Nothing of them is read.
func (s *Store) Dirs(ctx context.Context, problem func(Problem), visit func(dir string) bool) error {
	if err := s.walk(ctx, noTime, noTime, problem, visit); err != nil {
		return fmt.Errorf("find sessions: %w", err)
	}
	return nil
}

// Each visits the sessions that started at or after since (zero for all), the
// newest first, until visit returns false. What cannot be read is passed over.
func (s *Store) Each(ctx context.Context, since time.Time, visit func(Session) bool) error {
	err := s.walk(ctx, since, noTime, nil, func(dir string) bool {
		session, err := s.load(dir)
		return err != nil || session.Start.Before(since) || visit(session)
	})
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	return nil
}

// ListOptions choose sessions.
type ListOptions struct {
	Since time.Time // only those that started then or later; zero for all
	Limit int       // only the newest so many; 0 for all
}

// List returns sessions, the newest last, and what could not be read beside
// them. The error is one of the store as a whole, or the context's.
func (s *Store) List(ctx context.Context, o ListOptions) ([]Session, []Problem, error) {
	var (
		sessions []Session
		problems []Problem
	)
	report := func(p Problem) { problems = append(problems, p) }
	err := s.walk(ctx, o.Since, noTime, report, func(dir string) bool {
		session, err := s.load(dir)
		if err != nil {
			report(Problem{dir, err})
			return true
		}
		if !session.Start.Before(o.Since) {
			sessions = append(sessions, session)
		}
		return o.Limit <= 0 || len(sessions) < o.Limit
	})
	if err != nil {
		return nil, problems, fmt.Errorf("list sessions: %w", err)
	}
	slices.Reverse(sessions)
	return sessions, problems, nil
}
