package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/enrich"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/tarpit"
)

// newAdmission makes what decides who is served.
func (s *service) newAdmission() error {
	limits, err := admissionLimits(s.cfg)
	if err != nil {
		return err
	}
	s.gate = admission.New(limits, s.cfg.Admission.MaxSources, time.Now())
	s.tarpit = tarpit.New(s.cfg.Admission.TarpitConnections, s.cfg.Admission.TarpitInterval)
	s.enrich(s.cfg.Enrich)
	return nil
}

// admissionLimits reads the lists that a checked configuration names.
func admissionLimits(c config.Config) (admission.Limits, error) {
	l := admission.Limits{MaxConnections: c.SSH.MaxConnections, PerSourceMaxConnections: c.Admission.PerSourceMaxConnections, PerSourceMaxStartups: c.SSH.PerSourceMaxStartups}
	var errs [9]error
	l.MaxStartups, errs[0] = admission.ParseStartups(c.SSH.MaxStartups)
	l.NetBlock4, l.NetBlock6, errs[1] = admission.ParseNetBlockSize(c.SSH.PerSourceNetBlockSize)
	l.Penalties, errs[2] = admission.ParsePenalties(c.SSH.PerSourcePenalties)
	l.Rate, errs[3] = admission.ParseRate(c.Admission.Rate)
	l.PerSourceRate, errs[4] = admission.ParseRate(c.Admission.PerSourceRate)
	l.Allow, errs[5] = addressSet("admission.allow_files", c.Admission.Allow, c.Admission.AllowFiles)
	l.Deny, errs[6] = addressSet("admission.deny_files", c.Admission.Deny, c.Admission.DenyFiles)
	l.Balancers, errs[7] = addressSet("", c.Admission.ProxyProtocol, nil)
	l.Tarpit = map[admission.Reason]bool{}
	for _, name := range c.Admission.Tarpit {
		for _, reason := range tarpitReasons[name] {
			l.Tarpit[reason] = true
		}
	}
	return l, errors.Join(errs[:]...)
}

var tarpitReasons = map[string][]admission.Reason{
	config.TarpitDeny:    {admission.DenyListed},
	config.TarpitPenalty: {admission.Penalised},
	config.TarpitRate:    {admission.OverRate, admission.OverSourceRate},
}

// addressSet is what a list and files have.
func addressSet(key string, inline, files []string) (admission.Set, error) {
	var all []netip.Prefix
	for _, text := range inline {
		p, err := admission.ParsePrefix(text)
		if err != nil {
			return admission.Set{}, fmt.Errorf("%q %w", text, err)
		}
		all = append(all, p)
	}
	for _, path := range files {
		list, err := admission.ReadPrefixFile(path)
		if errors.Is(err, fs.ErrPermission) {
			return admission.Set{}, hint.Wrap(fmt.Errorf("%s: %w", key, err), "the file must be readable for user sandtrap, see sandtrap.yaml(5)")
		}
		if err != nil {
			return admission.Set{}, fmt.Errorf("%s: %w", key, err)
		}
		all = append(all, list...)
	}
	return admission.NewSet(all), nil
}

// enrich reads what is known of sources. What is of no use stops nothing.
func (s *service) enrich(c config.Enrich) {
	var lists []enrich.List
	for _, text := range c.Lists {
		if name, path, err := config.ParseSourceList(text); err == nil { // it has been checked
			lists = append(lists, enrich.List{Name: name, Path: path})
		}
	}
	db, err := enrich.Open(c.GeoIP, lists)
	if err != nil {
		s.log.Warn("some of what is known of sources is of no use", "error", oneLine(err), "hint", "see enrich in sandtrap.yaml(5)")
	}
	s.sources.Store(db)
}

// aboutSource is what is known of a source, for its connection's event.
func (s *service) aboutSource(addr netip.Addr) []event.Field {
	known := s.sources.Load().Lookup(addr)
	var fields []event.Field
	if known.Country != "" {
		fields = append(fields, event.F("country", known.Country))
	}
	if known.ASN != 0 {
		fields = append(fields, event.F("asn", known.ASN))
	}
	if known.Organisation != "" {
		fields = append(fields, event.F("organisation", known.Organisation))
	}
	if len(known.Lists) > 0 {
		fields = append(fields, event.F("lists", strings.Join(known.Lists, " ")))
	}
	return fields
}

// originOf is the same for a session's record.
func (s *service) originOf(addr netip.Addr) *evidence.Origin {
	known := s.sources.Load().Lookup(addr)
	if !known.Known() {
		return nil
	}
	return &evidence.Origin{Country: known.Country, ASN: known.ASN, Organisation: evidence.Text(known.Organisation), Lists: known.Lists}
}

// reloadable reports whether a running service takes a changed setting over.
func reloadable(key string) bool {
	switch key {
	case "log.level", "ssh.max_connections", "ssh.max_startups", "ssh.per_source_max_startups", "ssh.per_source_net_block_size", "ssh.per_source_penalties":
		return true
	case "admission.max_sources", "admission.tarpit_interval":
		return false
	}
	return strings.HasPrefix(key, "auth.") || strings.HasPrefix(key, "admission.") || strings.HasPrefix(key, "enrich.") || strings.HasPrefix(key, "retention.")
}
