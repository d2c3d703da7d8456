package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/emulator"
	"imza/pki"
	"imza/pki/cms"
	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/smpp"
)

// messages counts what was captured of a number: messages to it, messages from
// it, and receipts.
func (c *capture) messages(t *testing.T, number simcard.MSISDN) (to, from, receipts int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pdus {
		command := smpp.Command(binary.BigEndian.Uint32(p[4:8]))
		if command != smpp.SubmitSM && command != smpp.DeliverSM {
			continue
		}
		m, err := smpp.ParseShortMessage(p[16:])
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case command == smpp.SubmitSM && m.Dest.Addr == number.Digits():
			to++
		case command == smpp.DeliverSM && m.Source.Addr == number.Digits() && m.IsReceipt():
			receipts++
		case command == smpp.DeliverSM && m.Source.Addr == number.Digits():
			from++
		}
	}
	return to, from, receipts
}

// A short answer is one message where a full one is several, and a provider
// cannot tell which of the two the card gave.
func TestShortAnswers(t *testing.T) {
	var c capture
	p := boot(t, upCommand{dial: func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		return &wiretap{Conn: conn, capture: &c}, err
	}, Think: time.Millisecond})
	shapes := make(map[int]string)
	for _, test := range []struct{ n, to, least, most int }{
		{1, 1, 1, 1}, // P-256, short
		{2, 1, 2, 3}, // RSA-2048, short
		{4, 1, 4, 5}, // P-256, of an old card
	} {
		in := document(t)
		status, out, said := p.imza(t, "sign", "--in", in, "--msisdn", string(demoMSISDN(test.n)), "--user-id", demoUserID(test.n))
		if status != exitOK {
			t.Fatalf("status %d, %s%s", status, out, said)
		}
		opensslVerify(t, p, in+".p7s", in)
		to, from, receipts := c.messages(t, demoMSISDN(test.n))
		t.Logf("subscriber %d: %d submit_sm, %d deliver_sm, %d receipts", test.n, to, from, receipts)
		if to != test.to || from < test.least || from > test.most {
			t.Errorf("subscriber %d: %d submit_sm and %d deliver_sm, want %d and %d to %d", test.n, to, from, test.to, test.least, test.most)
		}
		signature, err := os.ReadFile(in + ".p7s")
		if err != nil {
			t.Fatal(err)
		}
		shapes[test.n] = strings.Join(shape(t, signature, 0), "\n")
	}
	if shapes[1] != shapes[4] {
		t.Errorf("a short answer's signature is\n%s\nand a full one's\n%s", shapes[1], shapes[4])
	}
	if shapes[1] == shapes[2] {
		t.Error("shapes show nothing: ECDSA's is RSA's")
	}
}

// shape is DER with whatever the signer's name, the serial number and chance
// may make different left out: identifiers as they are, other elements by tag
// and length, and by the length of the length alone where chance decides.
func shape(t *testing.T, der []byte, depth int) (lines []string) {
	t.Helper()
	for rest := der; len(rest) > 0; {
		var e asn1.RawValue
		whole := rest
		var err error
		if rest, err = asn1.Unmarshal(rest, &e); err != nil {
			t.Fatal(err)
		}
		header := len(whole) - len(rest) - len(e.Bytes)
		line := fmt.Sprintf("%*sclass %d tag %d", 2*depth, "", e.Class, e.Tag)
		certificates := depth == 3 && e.Class == asn1.ClassContextSpecific
		byChance := e.Tag == asn1.TagInteger || e.Tag == asn1.TagOctetString && bytes.HasPrefix(e.Bytes, []byte{0x30})
		switch {
		case e.Class == asn1.ClassUniversal && e.Tag == asn1.TagOID:
			line += fmt.Sprintf(" %x", e.Bytes)
		case e.IsCompound || byChance:
			line += fmt.Sprintf(" header of %d", header)
		default:
			line += fmt.Sprintf(" %d octets", len(e.Bytes))
		}
		lines = append(lines, line)
		if e.IsCompound && !certificates {
			lines = append(lines, shape(t, e.Bytes, depth+1)...)
		}
	}
	return lines
}

// certifiedCard makes a card with an RSA key that is certified, and returns its
// profile.
func certifiedCard(t *testing.T) (profile string) {
	t.Helper()
	dir := t.TempDir()
	authority, err := pki.OpenAuthority(filepath.Join(dir, "ca"), "http://127.0.0.1", now())
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "master.key")
	write(t, key, strings.Repeat("0F", 16))
	profile = personalise(t, key, "--key", "RSA-2048:sign")
	memory, err := emulator.OpenMemory(profile)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	sim, err := memory.Card()
	if err != nil {
		t.Fatal(err)
	}
	card := signer{sim}
	if _, err := card.open(); err != nil {
		t.Fatal(err)
	}
	if err := card.admit(memory.Profile.ADM.Digits); err != nil {
		t.Fatal(err)
	}
	iccid := memory.Profile.ICCID
	request, err := card.makeKey(applet.KeyRecord{Number: 1, Operation: applet.Sign, Kind: applet.RSA2048})
	if err != nil {
		t.Fatal(err)
	}
	holder := pki.Holder{FIN: string(demoFIN(1)), GivenName: "Aysel", Surname: "Məmmədova", VOEN: string(firstVOEN), Organisation: demoOrganisations[firstVOEN]}
	cert, err := authority.IssueFor(request, string(iccid), holder, pki.Signing, now())
	if err != nil {
		t.Fatal(err)
	}
	if err := card.putCertificate(1, cert.Raw); err != nil {
		t.Fatal(err)
	}
	return profile
}

// answers has a card in a handset answer a challenge, whose person types the
// right PIN.
func answers(t *testing.T, memory *emulator.Memory, asked applet.Challenge) applet.Answer {
	t.Helper()
	counter := memory.Profile.Counter + 1
	sim, err := memory.Card()
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan []byte, 10)
	handset := &emulator.Handset{Card: sim, Person: &emulator.Actor{PIN2: strangerPIN2, Behaviour: emulator.Signs}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Send: func(tpdu []byte) error { sent <- slices.Clone(tpdu); return nil }}
	if err := handset.SwitchOn(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer handset.SwitchOff()
	channel, err := ota.NewChannel(applet.TAR, ota.Signing, memory.Profile.OTA)
	if err != nil {
		t.Fatal(err)
	}
	octets, err := asked.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	packet, err := channel.SealCommand(counter, octets)
	if err != nil {
		t.Fatal(err)
	}
	segments, err := sms.Segment(sms.CommandPacket, packet, byte(counter))
	if err != nil {
		t.Fatal(err)
	}
	for _, ud := range segments {
		d := sms.Deliver{Originator: sms.Address{Type: sms.International, Digits: "7777"}, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary,
			Timestamp: now(), UDHI: true, UserData: ud}
		tpdu, err := d.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := handset.Deliver(tpdu); err != nil {
			t.Fatal(err)
		}
	}
	var parts []sms.Part
	for len(parts) == 0 || len(parts) < int(parts[0].Total) {
		select {
		case tpdu := <-sent:
			submit, err := sms.ParseSubmit(tpdu)
			if err != nil {
				t.Fatal(err)
			}
			part, err := sms.ParseUserData(submit.UserData)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, part)
		case <-time.After(10 * time.Second):
			t.Fatal("the card does not answer")
		}
	}
	message, err := sms.Join(parts)
	if err != nil {
		t.Fatal(err)
	}
	response, err := channel.OpenResponse(message.Payload)
	if err != nil || response.Status != ota.StatusOK || response.Counter != counter {
		t.Fatalf("%+v, %v", response, err)
	}
	answer, err := applet.ParseAnswer(response.Data)
	if err != nil || answer.Result != applet.Signed || answer.Short != asked.Short {
		t.Fatalf("%v, %v", answer.Result, err)
	}
	return answer
}

// RSA signs the same octets in the same way each time: what the gateway writes
// around a short answer is, octet for octet, what an old card with the same key
// sends in full.
func TestShortAnswerIsTheFullOne(t *testing.T) {
	profile := certifiedCard(t)
	oldProfile := filepath.Join(t.TempDir(), "old.json")
	copyFile(t, profile, oldProfile)
	var cards [2]*emulator.Memory
	for i, path := range []string{profile, oldProfile} {
		memory, err := emulator.OpenMemory(path)
		if err != nil {
			t.Fatal(err)
		}
		defer memory.Close()
		cards[i] = memory
	}
	cards[1].Profile.FullOnly = true
	certified, err := cards[0].Card()
	if err != nil {
		t.Fatal(err)
	}
	card := signer{certified}
	if _, err := card.open(); err != nil {
		t.Fatal(err)
	}
	cert, err := card.certificate(1)
	if err != nil || cert == nil {
		t.Fatal(err)
	}
	for i, algorithm := range []applet.Algorithm{applet.SHA256, applet.SHA384, applet.SHA512} {
		for _, at := range []time.Time{time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)} {
			text := "Müqavilə № 7: 250 ₼"
			digest := algorithm.Hash().New()
			digest.Write([]byte("document"))
			asked := applet.Challenge{Short: true, Reference: applet.Reference{1, byte(i)}, Operation: applet.Sign, Key: 1, Algorithm: algorithm,
				Digest: digest.Sum(nil), Time: at, Language: applet.Azerbaijani, Text: text}
			short := answers(t, cards[0], asked)
			asked.Short = false
			full := answers(t, cards[1], asked)
			want := &cms.Expectation{Certificate: cert, Hash: algorithm.Hash(), Digest: asked.Digest, SigningTime: at, ShownText: sha256.Sum256([]byte(text))}
			assembled, err := cms.Assemble(short.Signature, want)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(assembled, full.Signature) {
				t.Errorf("%v, %v: the gateway writes\n%x\nand the card\n%x", algorithm.Hash(), at, assembled, full.Signature)
			}
			if err := cms.Verify(assembled, want); err != nil {
				t.Error(err)
			}
			if len(short.Signature) != 256 || len(full.Signature) < 2*256 {
				t.Errorf("%d octets are short, and %d full", len(short.Signature), len(full.Signature))
			}
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
