package sshd

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// KexInit is what a client says it can do; RFC 4253, section 7.1. All lists are as
// the client sent them: hostile, and bounded only by the length of a packet.
type KexInit struct {
	Cookie                [16]byte `sshtype:"20"`
	KexAlgorithms         []string
	HostKeyAlgorithms     []string
	CiphersClientToServer []string
	CiphersServerToClient []string
	MACsClientToServer    []string
	MACsServerToClient    []string
	CompressionToServer   []string
	CompressionToClient   []string
	LanguagesToServer     []string
	LanguagesToClient     []string
	FirstKexPacketFollows bool
	Reserved              uint32
}

// parseKexInit reads the payload of a KEXINIT message.
func parseKexInit(payload []byte) (*KexInit, error) {
	var k KexInit
	if err := ssh.Unmarshal(payload, &k); err != nil {
		return nil, fmt.Errorf("parse KEXINIT: %w", err)
	}
	return &k, nil
}

// HASSH is the fingerprint of a client's lists by the method of that name, which
// defenders exchange: MD5 over the key exchange algorithms and what the client would
// send with, in hexadecimal.
func (k *KexInit) HASSH() string {
	lists := [][]string{k.KexAlgorithms, k.CiphersClientToServer, k.MACsClientToServer, k.CompressionToServer}
	var text []string
	for _, l := range lists {
		text = append(text, strings.Join(l, ","))
	}
	sum := md5.Sum([]byte(strings.Join(text, ";")))
	return hex.EncodeToString(sum[:])
}

// maxList bounds each list in an event, in bytes: no client has as much to offer.
const maxList = 8 << 10

// fields are what an event tells of it. What the two directions have in common is
// told once.
func (k *KexInit) fields() []event.Field {
	list := func(names []string) string {
		all := strings.Join(names, ",")
		return all[:min(len(all), maxList)]
	}
	fields := []event.Field{
		event.F("hassh", k.HASSH()),
		event.F("kex_algorithms", list(k.KexAlgorithms)), event.F("host_key_algorithms", list(k.HostKeyAlgorithms)),
		event.F("ciphers", list(k.CiphersClientToServer)), event.F("macs", list(k.MACsClientToServer)),
		event.F("compression", list(k.CompressionToServer)),
	}
	for _, one := range []struct {
		name        string
		there, ours []string
	}{
		{"ciphers_to_client", k.CiphersServerToClient, k.CiphersClientToServer},
		{"macs_to_client", k.MACsServerToClient, k.MACsClientToServer},
		{"compression_to_client", k.CompressionToClient, k.CompressionToServer},
		{"languages", k.LanguagesToServer, nil},
	} {
		if there := list(one.there); there != list(one.ours) {
			fields = append(fields, event.F(one.name, there))
		}
	}
	return fields
}
