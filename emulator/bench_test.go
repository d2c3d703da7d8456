package emulator

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/toolkit"
)

// signing puts one challenge through a card, from ENVELOPE to the last message
// of its answer. Little is of the terminal: it reads each command's number and
// type where they stand.
type signing struct {
	sim                 *SIM
	profile             *Profile
	envelope, done, pin []byte
	fetch               [5]byte
	messages            int // of the answer
}

func newSigning(b *testing.B, key crypto.Signer, short bool) *signing {
	c := newCard(b, key)
	sim, err := NewSIM(c.profile, func(*Profile) error { return nil }) // a memory that costs nothing
	if err != nil {
		b.Fatal(err)
	}
	boot(b, sim)
	asked := recorded()
	asked.Short = short
	return &signing{
		sim: sim, profile: c.profile,
		envelope: simcard.Command{CLA: 0x80, INS: 0xC2, Data: toolkit.SMSDownload(nil, deliver(b, c.segments(b, asked)[0]))}.Append(nil),
		done:     simcard.Command{CLA: 0x80, INS: 0x14, Data: unhex(b, "8103000000 82028281 830100")}.Append(nil),
		pin:      simcard.Command{CLA: 0x80, INS: 0x14, Data: unhex(b, "8103000000 82028281 830100 8d06043836343230")}.Append(nil),
		fetch:    [5]byte{0x80, 0x12},
	}
}

func (s *signing) run(b *testing.B) {
	s.profile.Counter = 0 // so that the same packet is new each time
	next := s.envelope
	for commands := 0; ; commands++ {
		answer, err := s.sim.Transmit(next)
		if err != nil {
			b.Fatal(err)
		}
		if answer[0] != 0x91 {
			if s.messages = commands - 2; s.messages < 1 || answer[0] != 0x90 {
				b.Fatalf("%x after %d commands", answer, commands)
			}
			return
		}
		s.fetch[4] = answer[1]
		if answer, err = s.sim.Transmit(s.fetch[:]); err != nil {
			b.Fatal(err)
		}
		details := bytes.Index(answer[:5], []byte{0x81, 0x03})
		if next = s.done; commands == 1 {
			next = s.pin
		}
		copy(next[7:], answer[details+2:details+5])
	}
}

// ciphers is the AES of a challenge and its answer, and nothing else: CBC and
// CMAC over as many blocks as either has.
func ciphers(b *testing.B, command, response int) func() {
	block, err := aes.NewCipher(testKeys.KIc)
	if err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, max(command, response)*aes.BlockSize)
	return func() {
		cipher.NewCBCDecrypter(block, buffer[:16]).CryptBlocks(buffer[:command*16], buffer[:command*16])
		cipher.NewCBCEncrypter(block, buffer[:16]).CryptBlocks(buffer[:response*16], buffer[:response*16])
		for range command + response + 1 { // headers in clear are under the checksum, too
			block.Encrypt(buffer[:16], buffer[:16])
		}
	}
}

// BenchmarkChallengeBesideBareSign takes a card's whole work on one challenge,
// the bare P-256 signature in it, and the AES in it, in turns, and prints the
// median of each. The difference is the card's own work.
func BenchmarkChallengeBesideBareSign(b *testing.B) {
	key := testP256()
	digest := digestOf(applet.SHA256, document)
	for name, short := range map[string]bool{"full": false, "short": true} {
		b.Run(name, func(b *testing.B) {
			s := newSigning(b, key, short)
			s.run(b)
			blocks := 7 // of a short answer, with all around it
			if !short {
				blocks = 29
			}
			cipher := ciphers(b, 7, blocks)
			var whole, bare, aes []time.Duration
			for b.Loop() {
				began := time.Now()
				s.run(b)
				signed := time.Now()
				if _, err := key.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
					b.Fatal(err)
				}
				ciphered := time.Now()
				cipher()
				ended := time.Now()
				whole, bare, aes = append(whole, signed.Sub(began)), append(bare, ciphered.Sub(signed)), append(aes, ended.Sub(ciphered))
			}
			median := func(all []time.Duration) float64 {
				slices.Sort(all)
				return float64(all[len(all)/2]) / float64(time.Microsecond)
			}
			w, sign, c := median(whole), median(bare), median(aes)
			b.ReportMetric(w, "µs/challenge")
			b.ReportMetric(sign, "µs/bare-sign")
			b.ReportMetric(c, "µs/AES")
			b.ReportMetric(w-sign-c, "µs/own")
			b.ReportMetric(float64(s.messages), "messages")
			b.ReportMetric(0, "ns/op") // of all three together, which says nothing
		})
	}
}

// BenchmarkChallenge is the same for what it allocates.
func BenchmarkChallenge(b *testing.B) {
	for name, key := range map[string]crypto.Signer{"P-256": testP256(), "RSA-2048": testRSA()} {
		for form, short := range map[string]bool{"full": false, "short": true} {
			b.Run(name+"/"+form, func(b *testing.B) {
				s := newSigning(b, key, short)
				b.ReportAllocs()
				for b.Loop() {
					s.run(b)
				}
			})
		}
	}
}

// BenchmarkSelect is a SELECT with its GET RESPONSE left out, as a terminal does
// that wants no answer, and with it.
func BenchmarkSelect(b *testing.B) {
	c := newCard(b, nil)
	for name, command := range map[string][]byte{
		"no data": {0x00, 0xA4, 0x00, 0x0C, 2, 0x3F, 0x00},
		"FCP":     {0x00, 0xA4, 0x00, 0x04, 2, 0x3F, 0x00},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if answer, err := c.Transmit(command); err != nil || answer[0] != 0x90 && answer[0] != 0x61 {
					b.Fatalf("%x %v", answer, err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "SELECT/s")
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
