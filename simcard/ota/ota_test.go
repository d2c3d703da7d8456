package ota

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// vector is a packet made by another implementation (testdata/ota.json).
type vector struct {
	Source  string
	SPI     string
	KIcByte string `json:"kic_byte"`
	KIDByte string `json:"kid_byte"`
	TAR     string
	Counter string
	KIc     string
	KID     string
	Status  string
	Data    string
	Packet  string
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v vector) channel(t testing.TB) *Channel {
	t.Helper()
	security := Security{SPI: SPI(unhex(t, v.SPI)), KIc: unhex(t, v.KIcByte)[0], KID: unhex(t, v.KIDByte)[0]}
	channel, err := NewChannel(TAR(unhex(t, v.TAR)), security, v.keys(t))
	if err != nil {
		t.Fatalf("%s: %v", v.Source, err)
	}
	return channel
}

func (v vector) keys(t testing.TB) Keys { return Keys{KIc: unhex(t, v.KIc), KID: unhex(t, v.KID)} }

func (v vector) counter(t testing.TB) uint64 {
	n, err := strconv.ParseUint(v.Counter, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func vectors(t testing.TB) (commands, responses []vector) {
	t.Helper()
	raw, err := os.ReadFile("testdata/ota.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Commands, Responses []vector }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Commands) == 0 || len(file.Responses) == 0 {
		t.Fatal("testdata/ota.json is empty")
	}
	return file.Commands, file.Responses
}

func TestCommandsOfOtherImplementations(t *testing.T) {
	commands, _ := vectors(t)
	for _, v := range commands {
		packet, err := v.channel(t).SealCommand(v.counter(t), unhex(t, v.Data))
		if err != nil || hex.EncodeToString(packet) != v.Packet {
			t.Errorf("%s: sealed %x (%v), want %s", v.Source, packet, err, v.Packet)
		}
		counter, data, err := v.channel(t).OpenCommand(unhex(t, v.Packet))
		if err != nil || counter != v.counter(t) || hex.EncodeToString(data) != v.Data {
			t.Errorf("%s: opened %d %x %v", v.Source, counter, data, err)
		}
		seen, err := InspectCommand(unhex(t, v.Packet), v.keys(t))
		if err != nil || seen.TAR.String() != v.TAR || seen.Security.SPI.String() != v.SPI || hex.EncodeToString(seen.Data) != v.Data {
			t.Errorf("%s: inspected %+v %v", v.Source, seen, err)
		}
	}
}

func TestResponsesOfOtherImplementations(t *testing.T) {
	_, responses := vectors(t)
	for _, v := range responses {
		packet := unhex(t, v.Packet)[len(responseUDH):]
		sealed, err := v.channel(t).SealResponse(Response{Counter: v.counter(t), Status: Status(unhex(t, v.Status)[0]), Data: unhex(t, v.Data)})
		if err != nil || !bytes.Equal(sealed, packet) {
			t.Errorf("%s: sealed %x (%v), want %x", v.Source, sealed, err, packet)
		}
		got, err := v.channel(t).OpenResponse(packet)
		if err != nil || got.Counter != v.counter(t) || hex.EncodeToString(got.Data) != v.Data {
			t.Errorf("%s: opened %+v %v", v.Source, got, err)
		}
		seen, err := InspectResponse(unhex(t, v.Packet), v.keys(t))
		if err != nil || seen.TAR.String() != v.TAR || hex.EncodeToString(seen.Data) != v.Data {
			t.Errorf("%s: inspected %+v %v", v.Source, seen, err)
		}
	}
}

func TestEveryPrefixAndEveryFlippedBitIsRefused(t *testing.T) {
	commands, responses := vectors(t)
	refuse := func(source string, packet []byte, open func([]byte) error) {
		for n := range packet {
			if open(packet[:n]) == nil {
				t.Errorf("%s: its first %d octets were accepted", source, n)
			}
		}
		for bit := range 8 * len(packet) {
			forged := bytes.Clone(packet)
			forged[bit/8] ^= 1 << (bit % 8)
			if open(forged) == nil {
				t.Errorf("%s: accepted with bit %d flipped", source, bit)
			}
		}
		if open(append(bytes.Clone(packet), 0)) == nil {
			t.Errorf("%s: accepted with an octet behind it", source)
		}
	}
	for _, v := range commands {
		channel := v.channel(t)
		refuse(v.Source, unhex(t, v.Packet), func(b []byte) error { _, _, err := channel.OpenCommand(b); return err })
	}
	for _, v := range responses {
		channel := v.channel(t)
		refuse(v.Source, unhex(t, v.Packet)[3:], func(b []byte) error { _, err := channel.OpenResponse(b); return err })
	}
}

// A packet that is perfectly sealed at another level than the one agreed must
// not be opened: the level belongs to the TAR, not to the packet.
func TestDowngradeIsRefused(t *testing.T) {
	keys := Keys{KIc: bytes.Repeat([]byte{1}, 16), KID: bytes.Repeat([]byte{2}, 16)}
	tar := TAR{0xB0, 0x00, 0x11}
	agreed, err := NewChannel(tar, Signing, keys)
	if err != nil {
		t.Fatal(err)
	}
	for spi1 := range 0x20 {
		for _, octet := range []byte{0x12, 0x22, 0x15, 0x25, 0x02} {
			security := Security{SPI: SPI{byte(spi1), Signing.SPI[1]}, KIc: octet, KID: octet}
			if security == Signing {
				continue
			}
			weaker, err := NewChannel(tar, security, keys)
			if err != nil {
				continue
			}
			packet, err := weaker.SealCommand(1, []byte("data"))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := agreed.OpenCommand(packet); err == nil {
				t.Errorf("a packet at level %s was opened under %s", security, Signing)
			}
		}
	}
}

func TestSingleDESIsNotKnown(t *testing.T) {
	for _, octet := range []byte{0x11, 0x1D, 0x10} {
		_, err := NewChannel(TAR{}, Security{SPI: SPI{0x06, 0}, KIc: octet, KID: octet}, Keys{KIc: make([]byte, 8), KID: make([]byte, 8)})
		if err == nil || !strings.Contains(err.Error(), "KIc") {
			t.Errorf("octet %02x: %v, want an error that names KIc", octet, err)
		}
	}
}

// TS 102 225 §5.1.3 gives 47 0B 99 F4 and 22 EC for 01 02 03 04 05.
func TestRedundancyChecks(t *testing.T) {
	for want, kid := range map[string]byte{"470b99f4": crcKID32, "22ec": crcKID16} {
		m, err := newCRC(kid)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(m.sum(nil, []byte{1, 2}, []byte{3, 4, 5})); got != want {
			t.Errorf("KID %02x: %s, want %s", kid, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	channel, err := NewChannel(TAR{}, Signing, Keys{KIc: make([]byte, 16), KID: make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := channel.SealCommand(MaxCounter+1, nil); err == nil {
		t.Error("a counter of 41 bits was sealed")
	}
	if _, err := channel.SealCommand(1, make([]byte, MaxData+1)); err == nil {
		t.Error("more data than a packet holds was sealed")
	}
	for _, n := range []int{0, 1, 15, 16, 17, 300, MaxData} {
		packet, err := channel.SealCommand(MaxCounter, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		counter, data, err := channel.OpenCommand(packet)
		if err != nil || counter != MaxCounter || len(data) != n {
			t.Errorf("%d octets: %d octets, counter %d, %v", n, len(data), counter, err)
		}
	}
}

// OpenSSL's KBKDF is the other implementation of SP 800-108.
func TestDeriveKeysAgreesWithOpenSSL(t *testing.T) {
	master := unhex(t, "000102030405060708090a0b0c0d0e0f")
	iccid := "8999401000000000017"
	keys, err := DeriveKeys(master, iccid)
	if err != nil {
		t.Fatal(err)
	}
	for label, got := range map[string][]byte{"imza KIc": keys.KIc, "imza KID": keys.KID} {
		out, err := exec.Command("openssl", "kdf", "-keylen", "16", "-binary",
			"-kdfopt", "mode:counter", "-kdfopt", "mac:CMAC", "-kdfopt", "cipher:AES-128-CBC",
			"-kdfopt", "hexkey:"+hex.EncodeToString(master),
			"-kdfopt", "salt:"+label, "-kdfopt", "info:"+iccid, "KBKDF").Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, got) {
			t.Errorf("%s: %x, OpenSSL says %x", label, got, out)
		}
	}
	if _, err := DeriveKeys(master[:5], iccid); err == nil {
		t.Error("a master key of 5 octets was taken")
	}
	out, err := exec.Command("openssl", "kdf", "-keylen", "16", "-binary", "-kdfopt", "mode:counter", "-kdfopt", "mac:CMAC", "-kdfopt", "cipher:AES-128-CBC",
		"-kdfopt", "hexkey:"+hex.EncodeToString(master), "-kdfopt", "salt:imza ADM", "-kdfopt", "info:"+iccid, "KBKDF").Output()
	if err != nil {
		t.Fatal(err)
	}
	rest := uint64(0) // of the number modulo 10^8, by hand
	for _, octet := range out {
		rest = (rest<<8 | uint64(octet)) % 1e8
	}
	if adm, err := DeriveADM(master, iccid); err != nil || adm != fmt.Sprintf("%08d", rest) {
		t.Errorf("ADM %s %v, want %08d", adm, err, rest)
	}
}

// NIST SP 800-38B, appendix D.1 (AES-128): no octets, one block, 40 octets.
func TestCMAC(t *testing.T) {
	block, err := newBlock("KID", 0x12, unhex(t, "2b7e151628aed2a6abf7158809cf4f3c"))
	if err != nil {
		t.Fatal(err)
	}
	message := unhex(t, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411")
	for n, want := range map[int]string{0: "bb1d6929e95937287fa37d129b756746", 16: "070a16b46b4d4144f79bdd9dd04a287c", 40: "dfa66747de9ae63030ca32611497c827"} {
		for cut := range n + 1 {
			if got := newCMAC(block).full(message[:cut], message[cut:n]); hex.EncodeToString(got[:]) != want {
				t.Errorf("%d octets cut at %d: %x, want %s", n, cut, got, want)
			}
		}
	}
}

func TestInspectResponseWithOtherKeys(t *testing.T) {
	_, responses := vectors(t)
	keys := Keys{KIc: make([]byte, 16), KID: make([]byte, 16)}
	if _, err := InspectResponse(unhex(t, responses[0].Packet), keys); !errors.Is(err, ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}

func FuzzOpen(f *testing.F) {
	commands, responses := vectors(f)
	for _, v := range append(commands, responses...) {
		f.Add(unhex(f, v.Packet))
	}
	keys := Keys{KIc: unhex(f, commands[0].KIc), KID: unhex(f, commands[0].KID)}
	f.Fuzz(func(t *testing.T, packet []byte) {
		if seen, err := InspectCommand(packet, keys); err == nil {
			channel, err := commandChannel(seen.TAR, seen.Security, keys)
			if err != nil {
				t.Fatal(err)
			}
			again, err := channel.SealCommand(seen.Counter, seen.Data)
			if err != nil {
				t.Fatalf("what was opened cannot be sealed: %v", err)
			}
			// Padding need not be zeros or shortest; all else is canonical.
			if counter, data, err := channel.OpenCommand(again); err != nil || counter != seen.Counter || !bytes.Equal(data, seen.Data) {
				t.Fatalf("sealed again it opens as %d %x %v", counter, data, err)
			}
		}
		_, _ = InspectResponse(packet, keys)
	})
}

func BenchmarkSealOpen(b *testing.B) {
	channel, err := NewChannel(TAR{}, Signing, Keys{KIc: make([]byte, 16), KID: make([]byte, 16)})
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 90)
	b.ReportAllocs()
	for b.Loop() {
		packet, _ := channel.SealCommand(7, data)
		if _, _, err := channel.OpenCommand(packet); err != nil {
			b.Fatal(err)
		}
	}
}
