package registry

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"imza/policy"
)

// The hash of an entry is SHA-256 of this, one after the other:
//
//	field     octets
//	domain    4 + 18   "imza audit entry 1"
//	previous  4 + 32   the hash of the entry before; of the first, 4 + 0
//	sequence  8
//	at        8        ms since 1970
//	actor     4 + n    UTF-8; and so the others, in the order of chainTexts
//	…
//
// Numbers are big-endian; the four octets before what varies are its length, so
// that no two entries have the same octets.
//
// Its seal is HMAC-SHA-256 of the hash, and that of the head of
//
//	"head", sequence (8), hash (32)
//
// under a key that is not in the database: who can write there but does not
// have it makes no entry that passes for one of the gateway's, nor a head.
const chainDomain = "imza audit entry 1"

// chainTexts are an entry's texts, as columns, in the order of the hash.
var chainTexts = [...]string{"actor", "role", "source", "action", "subject", "voen", "fin", "provider", "before", "after"}

// link is an entry as it is stored. Its slices may be valid only until the next
// one is read.
type link struct {
	sequence, at         int64
	texts                [len(chainTexts)][]byte
	previous, hash, seal []byte
}

// hasher hashes links, one after the other.
type hasher struct{ octets []byte }

func (h *hasher) sum(l *link) [sha256.Size]byte {
	b := lengthPrefixed(h.octets[:0], []byte(chainDomain))
	b = lengthPrefixed(b, l.previous)
	b = binary.BigEndian.AppendUint64(b, uint64(l.sequence))
	b = binary.BigEndian.AppendUint64(b, uint64(l.at))
	for _, text := range l.texts {
		b = lengthPrefixed(b, text)
	}
	h.octets = b
	return sha256.Sum256(b)
}

func lengthPrefixed(b, text []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

// sealer makes seals, and knows them again.
type sealer struct{ key []byte }

func (r *Registry) sealer() (sealer, error) {
	key, err := hkdf.Key(sha256.New, r.pepper, nil, "imza audit", sha256.Size)
	return sealer{key}, err
}

func (s sealer) seal(parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// head is the last entry; of an empty log, the zero value.
type head struct {
	sequence   int64
	hash, seal []byte
}

func (s sealer) sealHead(h head) []byte {
	return s.seal([]byte("head"), binary.BigEndian.AppendUint64(nil, uint64(h.sequence)), h.hash)
}

// made tells whether the gateway wrote this head.
func (s sealer) made(h head) bool {
	if h.sequence == 0 {
		return len(h.hash) == 0 && len(h.seal) == 0 // before the first entry, as the migration left it
	}
	return hmac.Equal(h.seal, s.sealHead(h))
}

// AuditEntry is a change as it is on record.
type AuditEntry struct {
	Sequence int64           `json:"sequence"` // 1, 2, 3 …
	At       time.Time       `json:"at"`       // to the millisecond, UTC
	Actor    string          `json:"actor"`
	Role     string          `json:"role"`
	Source   string          `json:"source"`
	Action   string          `json:"action"`
	Subject  string          `json:"subject"`
	VOEN     policy.VOEN     `json:"voen"`
	FIN      policy.FIN      `json:"fin"`
	Provider policy.Provider `json:"provider"`
	Before   json.RawMessage `json:"before"`
	After    json.RawMessage `json:"after"`
	Previous string          `json:"previous"` // the hash of the entry before, hexadecimal; of the first, empty
	Hash     string          `json:"hash"`     // hexadecimal
}

func (l *link) entry() AuditEntry {
	t := func(i int) string { return string(l.texts[i]) }
	return AuditEntry{Sequence: l.sequence, At: time.UnixMilli(l.at).UTC(),
		Actor: t(0), Role: t(1), Source: t(2), Action: t(3), Subject: t(4), VOEN: policy.VOEN(t(5)), FIN: policy.FIN(t(6)), Provider: policy.Provider(t(7)),
		Before: asJSON(l.texts[8]), After: asJSON(l.texts[9]), Previous: hex.EncodeToString(l.previous), Hash: hex.EncodeToString(l.hash)}
}

// asJSON shows as text what somebody put into the database that is no JSON, so
// that an export does not end there; its hash tells.
func asJSON(text []byte) json.RawMessage {
	if json.Valid(text) {
		return append(json.RawMessage(nil), text...)
	}
	quoted, _ := json.Marshal(string(text)) // a string always can
	return quoted
}

func (e AuditEntry) link() (*link, error) {
	previous, err := hex.DecodeString(e.Previous)
	if err != nil {
		return nil, errors.New("previous is not hexadecimal")
	}
	hash, err := hex.DecodeString(e.Hash)
	if err != nil {
		return nil, errors.New("hash is not hexadecimal")
	}
	l := &link{sequence: e.Sequence, at: e.At.UnixMilli(), previous: previous, hash: hash}
	for i, text := range []string{e.Actor, e.Role, e.Source, e.Action, e.Subject, string(e.VOEN), string(e.FIN), string(e.Provider), string(e.Before), string(e.After)} {
		l.texts[i] = []byte(text)
	}
	return l, nil
}
