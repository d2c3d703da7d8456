package emulator

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/toolkit"
)

// BenchmarkChallenge is a card's own work on one challenge, from ENVELOPE to
// the last message of its answer, with a memory that costs nothing. Little is
// of the terminal: it reads each command's number and type where they stand.
func BenchmarkChallenge(b *testing.B) {
	for name, key := range map[string]crypto.Signer{"P-256": testP256(), "RSA-2048": testRSA()} {
		b.Run(name, func(b *testing.B) {
			c := newCard(b, key)
			sim, err := NewSIM(c.profile, func(*Profile) error { return nil })
			if err != nil {
				b.Fatal(err)
			}
			envelope := simcard.Command{CLA: 0x80, INS: 0xC2, Data: toolkit.SMSDownload(nil, deliver(b, c.segments(b, recorded())[0]))}.Append(nil)
			done := simcard.Command{CLA: 0x80, INS: 0x14, Data: unhex(b, "8103000000 82028281 830100")}.Append(nil)
			pin := simcard.Command{CLA: 0x80, INS: 0x14, Data: unhex(b, "8103000000 82028281 830100 8d06043836343230")}.Append(nil)
			b.ReportAllocs()
			for b.Loop() {
				c.profile.Counter = 0 // so that the same packet is new each time
				next := envelope
				for commands := 0; ; commands++ {
					answer, err := sim.Transmit(next)
					if err != nil {
						b.Fatal(err)
					}
					if answer[0] != 0x91 {
						if commands < 4 || answer[0] != 0x90 {
							b.Fatalf("%x after %d commands", answer, commands)
						}
						break
					}
					if answer, err = sim.Transmit([]byte{0x80, 0x12, 0, 0, answer[1]}); err != nil {
						b.Fatal(err)
					}
					details := bytes.Index(answer[:5], []byte{0x81, 0x03})
					if next = done; commands == 1 {
						next = pin
					}
					copy(next[7:], answer[details+2:details+5])
				}
			}
		})
	}
}

// BenchmarkRefusal is a packet with a wrong checksum: what an attacker costs.
func BenchmarkRefusal(b *testing.B) {
	c := newCard(b, nil)
	asked := recorded()
	ud := c.segments(b, asked)[0]
	ud[len(ud)-1] ^= 1
	envelope := simcard.Command{CLA: 0x80, INS: 0xC2, Data: toolkit.SMSDownload(nil, deliver(b, ud))}
	x := &terminal{TB: b, card: c}
	b.ReportAllocs()
	for b.Loop() {
		if r := x.do(envelope); r.SW != simcard.SWOK {
			b.Fatal(r.SW)
		}
	}
}

// BenchmarkBareSign is the signature alone, which a card cannot do without.
func BenchmarkBareSign(b *testing.B) {
	for name, key := range map[string]crypto.Signer{"P-256": testP256(), "RSA-2048": testRSA()} {
		b.Run(name, func(b *testing.B) {
			digest := digestOf(applet.SHA256, document)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
