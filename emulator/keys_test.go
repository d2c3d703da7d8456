package emulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"math/big"
	"os/exec"
	"strings"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
)

const admCode = "11223344"

// issuersCard is a card whose issuer has selected the applet and given the ADM
// code.
func issuersCard(t testing.TB) *card {
	t.Helper()
	c := newCard(t, nil)
	c.profile.ADM = NewPUK(admCode)
	atIssuers(t, c)
	return c
}

// atIssuers begins a card anew, for its issuer.
func atIssuers(t testing.TB, c *card) {
	t.Helper()
	c.Reset()
	done(t, c, selectsSigner)
	done(t, c, gives(0x0A, admCode))
}

// generates is GENERATE KEY PAIR (docs/card.md).
func generates(template string) string {
	template = strings.ReplaceAll(template, " ", "")
	return fmt.Sprintf("00470000%02X%s", len(template)/2, template)
}

// writes are the commands that write a file from an offset on, in pieces of a
// size.
func writes(content []byte, offset, size int) (all []string) {
	for len(content) > 0 {
		n := min(size, len(content))
		all = append(all, fmt.Sprintf("00D6%04X%02X%X", offset, n, content[:n]))
		content, offset = content[n:], offset+n
	}
	return all
}

// certified makes a certificate of the key that the card has made with a number.
func certified(t testing.TB, c *card, number byte) *x509.Certificate {
	t.Helper()
	done(t, c, selectsSigner)
	raw, err := simcard.ReadFile(c, simcard.EFRequest+uint16(number))
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	return issue(request.PublicKey)
}

// reads is the whole of a file of the applet.
func reads(t testing.TB, c *card, id uint16) []byte {
	t.Helper()
	done(t, c, selectsSigner)
	content, err := simcard.ReadFile(c, id)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestKeysAreMadeForTheIssuerOnly(t *testing.T) {
	good := generates("B606 840109 800101")
	for name, s := range map[string]struct {
		before []string
		apdu   string
		want   string
	}{
		"the applet is not selected":       {[]string{selectsMF, gives(0x0A, admCode)}, good, "6985"},
		"the USIM is selected":             {[]string{selectsUSIM, gives(0x0A, admCode)}, good, "6985"},
		"the ADM code was not given":       {[]string{selectsSigner}, good, "6982"},
		"other codes were given":           {[]string{selectsSigner, gives(0x02, testPIN1), gives(0x82, testPIN2), gives(0x01, "0000")}, good, "6982"},
		"a file of the applet is selected": {[]string{selectsSigner, "00A4000C026F01", gives(0x0A, admCode)}, good, "9000"},
		"P1":                               {[]string{selectsSigner, gives(0x0A, admCode)}, "00470100" + good[8:], "6A86"},
		"P1 of ISO 7816-8":                 {[]string{selectsSigner, gives(0x0A, admCode)}, "00478000" + good[8:], "6A86"},
		"P2":                               {[]string{selectsSigner, gives(0x0A, admCode)}, "00470001" + good[8:], "6A86"},
		"no data":                          {[]string{selectsSigner, gives(0x0A, admCode)}, "00470000", "6A80"},
		"a key that is there":              {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B606 840101 800101"), "6985"},
		"the same of another kind":         {[]string{selectsSigner, gives(0x0A, admCode)}, generates("A406 840101 800102"), "6985"},
		"number 0":                         {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B606 840100 800101"), "6A80"},
		"kind 0":                           {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B606 840109 800100"), "6A80"},
		"kind 4":                           {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B606 840109 800104"), "6A80"},
		"another template":                 {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B806 840109 800101"), "6A80"},
		"another tag of the number":        {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B606 830109 800101"), "6A80"},
		"another tag of the kind":          {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B606 840109 810101"), "6A80"},
		"a number of two octets":           {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B607 84020009 800101"), "6A80"},
		"an octet behind it":               {[]string{selectsSigner, gives(0x0A, admCode)}, generates("B606 840109 800101 00"), "6A80"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCard(t, nil)
			c.profile.ADM, c.profile.Telephone.Asks = NewPUK(admCode), true
			c.Reset()
			for _, command := range s.before {
				done(t, c, command)
			}
			saves, keys := c.saves, len(c.profile.Keys)
			if s.want == "9000" {
				keys++
			}
			data, sw := answered(t, c, s.apdu)
			if sw.String() != s.want || len(data) > 0 {
				t.Errorf("%X %s, want %s", data, sw, s.want)
			}
			if len(c.profile.Keys) != keys || s.want != "9000" && c.saves != saves {
				t.Errorf("%d keys, %d times stored", len(c.profile.Keys), c.saves-saves)
			}
		})
	}
	c := issuersCard(t)
	whole := unhex(t, "B606840109800101")
	for n := 1; n < len(whole); n++ {
		if _, sw := answered(t, c, generates(fmt.Sprintf("%X", whole[:n]))); sw != simcard.SWWrongData {
			t.Errorf("the first %d octets of a template: %s", n, sw)
		}
	}
	if len(c.profile.Keys) != 1 {
		t.Errorf("%d keys", len(c.profile.Keys))
	}
}

// A card makes keys of each kind; the request that it gives is good by openssl,
// and says nothing but the card's number.
func TestRequestsAreGoodByOpenSSL(t *testing.T) {
	c := issuersCard(t)
	kinds := map[byte]struct {
		kind   applet.KeyKind
		use    byte // template
		record string
		text   string // of openssl
	}{
		2:   {applet.P256, 0xB6, "02010100", "prime256v1"},
		16:  {applet.P384, 0xA4, "10020200", "secp384r1"},
		255: {applet.RSA2048, 0xB6, "FF010300", "(2048 bit)"},
	}
	for number, k := range kinds {
		if _, sw := answered(t, c, generates(fmt.Sprintf("%02X06 8401%02X 8001%02X", k.use, number, byte(k.kind)))); sw != simcard.SWOK {
			t.Fatalf("%s: %s", k.kind, sw)
		}
	}
	publics := map[string]byte{}
	for number, k := range kinds {
		raw := reads(t, c, simcard.EFRequest+uint16(number))
		text, good := verifiedByOpenSSL(t, raw)
		if !good || !strings.Contains(text, "subject=serialNumber="+string(c.profile.ICCID)+"\n") || !strings.Contains(text, k.text) {
			t.Errorf("key %d: openssl reads %s", number, text)
		}
		// The judge does judge.
		broken := bytes.Clone(raw)
		broken[len(broken)-1] ^= 1
		if text, good := verifiedByOpenSSL(t, broken); good {
			t.Errorf("key %d: openssl takes a broken request: %s", number, text)
		}
		request, err := x509.ParseCertificateRequest(raw)
		if err != nil || request.CheckSignature() != nil {
			t.Fatalf("key %d: %v", number, err)
		}
		public, err := x509.MarshalPKIXPublicKey(request.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := publics[string(public)]; twice {
			t.Errorf("keys %d and %d are one", number, other)
		}
		publics[string(public)] = number
		if got := reads(t, c, simcard.EFCert+uint16(number)); len(got) != 0 {
			t.Errorf("key %d has a certificate: %X", number, got)
		}
	}
	// The record file tells of all, in the order in which they were made.
	records, err := simcard.ReadRecords(c, simcard.EFKeys)
	if err != nil || len(records) != 4 || fmt.Sprintf("%X", records[0]) != "01010101" {
		t.Fatalf("records %X %v", records, err)
	}
	for _, record := range records[1:] {
		if k := kinds[record[0]]; fmt.Sprintf("%X", record) != k.record {
			t.Errorf("record %X, want %s", record, k.record)
		}
	}
	// They are stored, private half and all, and are the same after the power was
	// off.
	p, err := ParseProfile(c.stored[len(c.stored)-1])
	if err != nil {
		t.Fatal(err)
	}
	before := c.profile
	c.powerOn(t, p)
	for number := range kinds {
		now, was := c.profile.key(number), before.key(number)
		if !bytes.Equal(now.Private, was.Private) || !now.signer.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(was.signer.Public()) {
			t.Errorf("key %d comes back as another", number)
		}
		if got := reads(t, c, simcard.EFRequest+uint16(number)); !bytes.Equal(got, was.Request) {
			t.Errorf("the request of key %d comes back as %X", number, got)
		}
	}
	// The private halves are in no file that can be read.
	secret, err := before.key(2).signer.(*ecdsa.PrivateKey).Bytes()
	if err != nil || len(secret) != 32 || !bytes.Contains(before.key(2).Private, secret) {
		t.Fatalf("%d octets, %v", len(secret), err)
	}
	for _, id := range []uint16{simcard.EFRequest + 2, simcard.EFCert + 2, simcard.EFApplet} {
		if content := reads(t, c, id); bytes.Contains(content, secret) {
			t.Errorf("%04X has the private half", id)
		}
	}
}

// verifiedByOpenSSL is what openssl says of a request, and whether its signature
// is good: that is in words only.
func verifiedByOpenSSL(t *testing.T, request []byte) (text string, good bool) {
	t.Helper()
	command := exec.Command("openssl", "req", "-inform", "DER", "-verify", "-noout", "-subject", "-text", "-nameopt", "RFC2253")
	command.Stdin = bytes.NewReader(request)
	out, err := command.CombinedOutput()
	return string(out), err == nil && bytes.Contains(out, []byte("verify OK")) && !bytes.Contains(out, []byte("verify failure"))
}

func TestCardHasRoomForSixteenKeys(t *testing.T) {
	c := issuersCard(t)
	for number := byte(2); number <= 16; number++ {
		k := Key{Number: number, Private: c.profile.Keys[0].Private, signer: testP256(), kind: applet.P256}
		c.profile.Keys = append(c.profile.Keys, k)
	}
	if _, sw := answered(t, c, generates("B606 840111 800101")); sw != simcard.SWConditions {
		t.Errorf("the seventeenth key: %s", sw)
	}
	c.profile.Keys = c.profile.Keys[:15]
	if _, sw := answered(t, c, generates("B606 840111 800101")); sw != simcard.SWOK {
		t.Errorf("the sixteenth key: %s", sw)
	}
}

// A key whose memory fails is none: afterwards its number is free.
func TestKeysThatAreNotStoredAreNone(t *testing.T) {
	c := issuersCard(t)
	c.cut = cut{at: c.saves + 1}
	if _, sw := answered(t, c, generates("B606 840109 800101")); sw != simcard.SWMemory {
		t.Errorf("%s", sw)
	}
	c.cut = cut{}
	if _, sw := answered(t, c, "00A4000C024D09"); sw != simcard.SWFileNotFound {
		t.Errorf("its request: %s", sw)
	}
	done(t, c, generates("B606 840109 800101"))
}

// The certificate is written in pieces of any size, and counts from the last one
// on: the key signs, and the record says so.
func TestCertificatesAreWrittenInPieces(t *testing.T) {
	for _, size := range []int{255, 254, 100, 7, 1} {
		c := issuersCard(t)
		done(t, c, generates("B606 840109 800102"))
		cert := certified(t, c, 9)
		done(t, c, "00A4000C024C09")
		pieces := writes(cert.Raw, 0, size)
		for i, piece := range pieces {
			before := len(c.profile.key(9).Certificate)
			if _, sw := answered(t, c, piece); sw != simcard.SWOK || before != 0 {
				t.Fatalf("piece %d of %d octets: %s, and before it %d are there", i, size, sw, before)
			}
		}
		if got := reads(t, c, simcard.EFCert+9); !bytes.Equal(got, cert.Raw) {
			t.Errorf("in pieces of %d: %X", size, got)
		}
		if c.saves != 4 { // the ADM code's try, twice, the key, the certificate
			t.Errorf("stored %d times", c.saves)
		}
		if size != 255 {
			continue
		}
		// What the key signs is by this certificate, after the power was off, too.
		for range 2 {
			records, err := simcard.ReadRecords(c, simcard.EFKeys)
			if err != nil || len(records) != 2 || fmt.Sprintf("%X", records[1]) != "09010201" {
				t.Errorf("records %X %v", records, err)
			}
			c.boot(t)
			x := &terminal{TB: t, card: c}
			asked := challenge()
			asked.Key, asked.Digest = 9, digestOf(applet.SHA256, document)
			x.sign(c.segments(t, asked), testPIN2)
			a := x.answer(c)
			if a.Result != applet.Signed {
				t.Fatalf("%s", a.Result)
			}
			if verdict, err := judge(t, a.Signature, document, cert); err != nil {
				t.Errorf("openssl: %s", verdict)
			}
			p, err := ParseProfile(c.stored[len(c.stored)-1])
			if err != nil {
				t.Fatal(err)
			}
			c.powerOn(t, p)
		}
	}
}

// Whatever goes wrong on the way, the certificate that was there stays.
func TestOldCertificateStays(t *testing.T) {
	fresh := issue(testP256().Public()).Raw // of the same key
	half := len(fresh) / 2
	first, second := writes(fresh[:half], 0, 255), writes(fresh[half:], half, 255)
	selects := "00A4000C024C01"
	const good, refused = "9000", "6B00"
	type write struct{ apdu, want string }
	all := func(apdus []string, want string) (w []write) {
		for _, apdu := range apdus {
			w = append(w, write{apdu, want})
		}
		return w
	}
	join := func(parts ...[]write) (w []write) {
		for _, part := range parts {
			w = append(w, part...)
		}
		return w
	}
	long := append([]byte{0x30, 0x82, 0x20, 0x00}, make([]byte, 5000)...)
	foreign := issue(testP384().Public()).Raw
	for name, script := range map[string][]write{
		"the second half only":           all(second, refused),
		"the second half first":          join(all(second[:1], refused), all(first, good)),
		"a gap":                          join(all(first, good), []write{{fmt.Sprintf("00D6%04X01AA", half+1), refused}}),
		"an octet twice":                 join(all(first, good), []write{{fmt.Sprintf("00D6%04X01%02X", half-1, fresh[half-1]), refused}}),
		"the first half twice":           join(all(first, good), all(first, good)),
		"cut off by another file":        join(all(first, good), []write{{"00A4000C026F01", good}, {selects, good}}, all(second, refused)),
		"cut off by the same file":       join(all(first, good), []write{{selects, good}}, all(second, refused)),
		"cut off by a short id":          join(all(first, good), []write{{"00B0810001", "809000"}, {selects, good}}, all(second, refused)),
		"cut off by a record's short id": join(all(first, good), []write{{"00B2011404", "010101019000"}, {selects, good}}, all(second, refused)),
		"cut off by another application": join(all(first, good), []write{{selectsUSIM, good}, {selectsSigner, good}, {selects, good}}, all(second, refused)),
		"cut off by a wrong ADM code":    join(all(first, good), []write{{gives(0x0A, "11223345"), "63C9"}}, all(second, "6982")),
		"another key's certificate":      join(all(writes(foreign, 0, 200)[:len(writes(foreign, 0, 200))-1], good), all(writes(foreign, 0, 200)[len(writes(foreign, 0, 200))-1:], "6A80")),
		"a certificate with an end":      join(all(writes(append(bytes.Clone(fresh), 0), 0, 255)[:1], good), all(writes(append(bytes.Clone(fresh), 0), 0, 255)[1:], "6A80")),
		"junk":                           {{"00D6000004DEADBEEF", "6A80"}},
		"junk in the form of one":        {{"00D6000006308200020500", "6A80"}},
		"of a short length":              {{"00D600000430020500", "6A80"}},
		"empty":                          {{"00D6000004308200 00", "6A80"}},
		"no data":                        {{"00D60000", "6700"}, {"00D6000000", "6700"}},
		"too long":                       join(all(writes(long[:4080], 0, 255), good), all(writes(long[4080:], 4080, 255), refused)),
		"by a short id":                  {{"00D6810001AA", "6A82"}, {"00D69F0001AA", "6A82"}},
		"the request":                    {{"00A4000C024D01", good}, {"00D6000001AA", "6982"}},
		"the applet's file":              {{"00A4000C026F01", good}, {"00D6000001AA", "6982"}},
		"the keys' records":              {{"00A4000C026F02", good}, {"00D6000001AA", "6981"}},
		"nothing is selected":            {{selectsSigner, good}, {"00D6000001AA", "6986"}},
		"a key that is not there":        {{"00A4000C024C02", "6A82"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := issuersCard(t)
			before := c.profile.Keys[0]
			done(t, c, selects)
			for _, w := range script {
				data, sw := answered(t, c, w.apdu)
				if got := fmt.Sprintf("%X%s", data, sw); got != w.want {
					t.Fatalf("%.40s: %s, want %s", w.apdu, got, w.want)
				}
			}
			now := c.profile.Keys[0]
			if !bytes.Equal(now.Certificate, before.Certificate) || !bytes.Equal(now.sid, before.sid) || now.hash != before.hash {
				t.Error("the certificate is another")
			}
			if got := reads(t, c, simcard.EFCert+1); !bytes.Equal(got, c.cert.Raw) {
				t.Errorf("its file is %X", got)
			}
			// And a new one is taken from its beginning on.
			atIssuers(t, c)
			done(t, c, selects)
			for _, piece := range writes(fresh, 0, 255) {
				done(t, c, piece)
			}
			if got := reads(t, c, simcard.EFCert+1); !bytes.Equal(got, fresh) {
				t.Errorf("the new one is %X", got)
			}
		})
	}
	// The power goes between two pieces, or with the last.
	c := issuersCard(t)
	done(t, c, selects)
	for _, piece := range first {
		done(t, c, piece)
	}
	atIssuers(t, c)
	done(t, c, selects)
	if _, sw := answered(t, c, second[0]); sw != simcard.SWOffset {
		t.Errorf("after a reset: %s", sw)
	}
	for _, piece := range first {
		done(t, c, piece)
	}
	c.cut = cut{at: c.saves + 1}
	sw := simcard.SWOK
	for _, piece := range second {
		_, sw = answered(t, c, piece)
	}
	if sw != simcard.SWMemory || !bytes.Equal(c.profile.Keys[0].Certificate, c.cert.Raw) {
		t.Errorf("%s, and the certificate is %X", sw, c.profile.Keys[0].Certificate)
	}
	// Who is not the issuer writes nothing.
	c = newCard(t, nil)
	done(t, c, selects)
	for _, piece := range first {
		if _, sw := answered(t, c, piece); sw != simcard.SWSecurityStatus {
			t.Errorf("without the ADM code: %s", sw)
		}
	}
}

// What a command in between reads does not disturb the pieces.
func TestPiecesMayHaveOthersBetween(t *testing.T) {
	c := issuersCard(t)
	fresh := issue(testP256().Public()).Raw
	done(t, c, "00A4000C024C01")
	for _, piece := range writes(fresh, 0, 50) {
		done(t, c, piece)
		done(t, c, "80F2000C")
		answered(t, c, "00B0000000") // still the old one
		answered(t, c, asksPIN(0x0A))
	}
	if got := reads(t, c, simcard.EFCert+1); !bytes.Equal(got, fresh) {
		t.Errorf("%X", got)
	}
}

func TestADMCodeHasTenTries(t *testing.T) {
	c := issuersCard(t)
	for left := 9; left >= 1; left-- {
		if _, sw := answered(t, c, gives(0x0A, "00000000")); sw != simcard.SWTries(left) {
			t.Fatalf("%s, want %s", sw, simcard.SWTries(left))
		}
		if left == 5 { // resets and power cuts give none back
			p, err := ParseProfile(c.stored[len(c.stored)-1])
			if err != nil {
				t.Fatal(err)
			}
			c.powerOn(t, p)
		}
	}
	done(t, c, gives(0x0A, admCode)) // the right one does
	if _, sw := answered(t, c, asksPIN(0x0A)); sw.String() != "63CA" {
		t.Errorf("%s", sw)
	}
	for range 10 {
		answered(t, c, gives(0x0A, "00000000"))
	}
	for range 2 {
		for _, command := range []string{gives(0x0A, admCode), asksPIN(0x0A)} {
			if _, sw := answered(t, c, command); sw != simcard.SWPINBlocked {
				t.Errorf("%s: %s", command, sw)
			}
		}
		if _, sw := answered(t, c, generates("B606 840109 800101")); sw != simcard.SWSecurityStatus {
			t.Errorf("a key: %s", sw)
		}
		c.powerOn(t, parse(t, c.stored[len(c.stored)-1]))
	}
	c.boot(t)
	(&terminal{TB: t, card: c}).signs(c) // the holder's card is as it was
	// A card that was given no ADM code has none that could be guessed.
	c = newCard(t, nil)
	for _, digits := range []string{"", "00000000", admCode} {
		if _, sw := answered(t, c, gives(0x0A, digits)); sw != simcard.SWPINBlocked {
			t.Errorf("%q: %s", digits, sw)
		}
	}
}

// A card's keys and what it stores of them, for each kind: JSON has all that is
// needed, and nothing that was parsed.
func TestKeysAreStoredWhole(t *testing.T) {
	for _, private := range []crypto.Signer{testP256(), testP384(), testRSA()} {
		c := newCard(t, private)
		raw, err := json.Marshal(c.profile)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseProfile(raw)
		if err != nil {
			t.Fatal(err)
		}
		was, now := c.profile.Keys[0], p.Keys[0]
		if now.kind != was.kind || !bytes.Equal(now.sid, was.sid) || now.hash != was.hash {
			t.Errorf("%T: %+v comes back as %+v", private, was, now)
		}
		var name struct {
			Issuer asn1.RawValue
			Serial *big.Int
		}
		if rest, err := asn1.Unmarshal(now.sid, &name); err != nil || len(rest) > 0 || name.Serial.Cmp(c.cert.SerialNumber) != 0 || !bytes.Equal(name.Issuer.FullBytes, c.cert.RawIssuer) {
			t.Errorf("%T: issuer and serial number %X %v", private, now.sid, err)
		}
	}
	for _, bad := range []crypto.PublicKey{&ecdsa.PublicKey{}, &rsa.PublicKey{N: big.NewInt(3)}, "no key"} {
		if kind, err := kindOf(bad); err == nil {
			t.Errorf("%T is of kind %s", bad, kind)
		}
	}
}
