package cms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/pki/cms"
)

const notByKey = "cms: signature: is not by the key on record"

// signatureOf is what stands in the field signature.
func signatureOf(t testing.TB, der []byte) []byte {
	t.Helper()
	tree := parse(t, der)
	path := slices.Clone(pathSignature)
	if len(tree.at(1, 0).children) == 5 {
		path[2]++ // behind the certificates
	}
	return tree.at(path...).content
}

// bareValue is what a card sends in a short answer of what it would have sent
// in a full one.
func bareValue(t testing.TB, der []byte, want *cms.Expectation) []byte {
	t.Helper()
	signature := signatureOf(t, der)
	key, ok := want.Certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return signature
	}
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(signature, &sig); err != nil || len(rest) > 0 {
		t.Fatalf("%x: %v", signature, err)
	}
	size := key.Params().BitSize / 8
	return slices.Concat(sig.R.FillBytes(make([]byte, size)), sig.S.FillBytes(make([]byte, size)))
}

// rawValue is r and s, or an RSA signature, as encoding/asn1 writes it.
func rawValue(value []byte, key crypto.PublicKey) []byte {
	if _, ok := key.(*ecdsa.PublicKey); !ok {
		return value
	}
	half := len(value) / 2
	return encode(struct{ R, S *big.Int }{new(big.Int).SetBytes(value[:half]), new(big.Int).SetBytes(value[half:])})
}

// sameAsAssembled checks that a full answer and that made of its value are one.
func sameAsAssembled(t *testing.T, name string, der []byte, want *cms.Expectation) {
	t.Helper()
	got, err := cms.Assemble(bareValue(t, der, want), want)
	if err != nil || !bytes.Equal(got, der) {
		t.Errorf("%s: assembled\n%x (%v), want\n%x", name, got, err, der)
		return
	}
	if err := cms.Verify(got, want); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// plain leaves of the samples those in the form in which a card writes.
func plain(t testing.TB, all []sample) []sample {
	t.Helper()
	all = slices.DeleteFunc(all, func(s sample) bool {
		return strings.Contains(s.name, fmt.Sprint("parameters ", asn1.TagNull)) || strings.HasSuffix(s.name, oidRSA.String())
	})
	if len(all) != 3*3 {
		t.Fatalf("%d samples", len(all))
	}
	return all
}

func TestAssembledIsWhatTheCardWouldHaveSent(t *testing.T) {
	for _, s := range plain(t, samples(t, openAuthority(t))) {
		sameAsAssembled(t, s.name, s.der, s.want)
	}
}

// The stored ones do not change, so this does not depend on luck with r and s.
func TestAssembledStoredSignatures(t *testing.T) {
	file, want := readStored(t)
	sameAsAssembled(t, file.Good[0].Name, file.Good[0].Signature, want)
	for _, s := range file.Good {
		der, err := cms.Assemble(bareValue(t, s.Signature, want), want)
		if err != nil {
			t.Fatal(err)
		}
		if got, plain := withoutSignature(t, der), withoutSignature(t, file.Good[0].Signature); got != plain {
			t.Errorf("%s: assembled in another form: %x", s.Name, got)
		}
		if err := cms.Verify(der, want); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

func TestOpenSSLAcceptsWhatIsAssembled(t *testing.T) {
	authority := openAuthority(t)
	f := newFolder(t, authority.Anchors())
	for _, s := range plain(t, samples(t, authority)) {
		der, err := cms.Assemble(bareValue(t, s.der, s.want), s.want)
		if err != nil {
			t.Fatal(err)
		}
		complete, err := cms.AddCertificate(der, s.want.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.verify(t, complete); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if err := secondOpinion(der, s.want.Certificate); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		// It is the signature that convinces it: with a bit of s flipped it does not.
		complete[len(complete)-1] ^= 1
		if f.verify(t, complete) == nil {
			t.Errorf("%s: accepted with a bit flipped", s.name)
		}
	}
}

// A number has no leading zeros in DER but the one that keeps it positive.
func TestNumbersAreMinimal(t *testing.T) {
	authority := openAuthority(t)
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		s := issue(t, authority, ecKey(t, curve))
		want := expect(s.cert, crypto.SHA256)
		size := curve.Params().BitSize / 8
		order := curve.Params().N.Bytes()
		number := func(leading string, fill byte) []byte {
			return append([]byte(leading), bytes.Repeat([]byte{fill}, size-len(leading))...)
		}
		numbers := [][]byte{
			number("\x7F", 0), number("\x80", 0), number("\x00\x7F", 1), number("\x00\x80", 1), number("\x00\xFF", 0xFF), number("\x00\x00\x00\x80", 0),
			number("\x01", 0), number("", 0xFF), number("", 0x55), order,
			append(make([]byte, size-1), 1), append(make([]byte, size-1), 0x7F), append(make([]byte, size-1), 0x80), append(make([]byte, size-2), 1, 0),
		}
		for _, r := range numbers {
			for _, s := range numbers {
				value := slices.Concat(r, s)
				der, err := cms.Assemble(value, want)
				if err != nil {
					t.Fatalf("%x: %v", value, err)
				}
				if got, want := signatureOf(t, der), rawValue(value, want.Certificate.PublicKey); !bytes.Equal(got, want) {
					t.Errorf("%x, want %x", got, want)
				}
				// A number that is not below the order is Verify's to refuse.
				if err := cms.Verify(der, want); err == nil || err.Error() != notByKey {
					t.Errorf("%x: %v", value, err)
				}
			}
		}
	}
}

// notAssembled checks that an error names a field and says what is wrong.
func notAssembled(t *testing.T, name string, value []byte, want *cms.Expectation, says string) {
	t.Helper()
	if der, err := cms.Assemble(value, want); err == nil || der != nil || !strings.Contains(err.Error(), "cms: "+says) {
		t.Errorf("%s: %x, %v, want %s", name, der, err, says)
	}
}

func TestValuesOfAnotherLengthAreRefused(t *testing.T) {
	authority := openAuthority(t)
	for _, c := range []struct {
		key    crypto.Signer
		length int
		says   string
	}{
		{ecKey(t, elliptic.P256()), 64, "signature: %d octets, 64 are r and s on P-256"},
		{ecKey(t, elliptic.P384()), 96, "signature: %d octets, 96 are r and s on P-384"},
		{rsaKey(), 256, "signature: %d octets, the modulus has 256"},
	} {
		want := expect(issue(t, authority, c.key).cert, crypto.SHA256)
		for n := range 600 {
			value := bytes.Repeat([]byte{0x55}, n)
			if n != c.length {
				notAssembled(t, keyName(c.key), value, want, fmt.Sprintf(c.says, n))
			} else if _, err := cms.Assemble(value, want); err != nil {
				t.Error(err)
			}
		}
		notAssembled(t, keyName(c.key), nil, want, fmt.Sprintf(c.says, 0))
		notAssembled(t, keyName(c.key), make([]byte, 1<<20), want, fmt.Sprintf(c.says, 1<<20))
		der := signatureOf(t, good(signer{c.key, want.Certificate}, want))
		if _, ok := c.key.(*ecdsa.PrivateKey); ok {
			notAssembled(t, "the value in DER", der, want, "signature: ")
		}
	}
}

func TestZeroIsNeitherRNorS(t *testing.T) {
	authority := openAuthority(t)
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		want := expect(issue(t, authority, ecKey(t, curve)).cert, crypto.SHA256)
		size := curve.Params().BitSize / 8
		zero, one := make([]byte, size), append(make([]byte, size-1), 1)
		notAssembled(t, "r zero", slices.Concat(zero, one), want, "signature: r is zero")
		notAssembled(t, "s zero", slices.Concat(one, zero), want, "signature: s is zero")
		notAssembled(t, "both zero", slices.Concat(zero, zero), want, "signature: r is zero")
	}
	// To RSA zero is a number like others, and no signature of anything.
	want := expect(issue(t, authority, rsaKey()).cert, crypto.SHA256)
	der, err := cms.Assemble(make([]byte, 256), want)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "RSA zero", cms.Verify(der, want), "signature", "is not by the key")
}

func TestKeysAndHashesThatNobodyHasAreNotAssembled(t *testing.T) {
	s := p256Signer(t)
	value := bytes.Repeat([]byte{0x55}, 64)
	for name, key := range map[string]crypto.PublicKey{
		"on P-224": ecKey(t, elliptic.P224()).Public(), "on P-521": ecKey(t, elliptic.P521()).Public(),
		"of type ed25519.PublicKey": ed25519.PublicKey(make([]byte, 32)), "of type <nil>": nil, "of type *ecdsa.PrivateKey": s.key,
	} {
		cert := *s.cert
		cert.PublicKey = key
		notAssembled(t, name, value, expect(&cert, crypto.SHA256), "signatureAlgorithm: there is none for a key "+name)
	}
	for _, c := range []struct {
		hash crypto.Hash
		size int
	}{{crypto.SHA256, 0}, {crypto.SHA256, 31}, {crypto.SHA384, 32}, {crypto.SHA1, 20}, {crypto.SHA224, 28}, {crypto.MD5, 16}, {0, 0}, {crypto.SHA512_256, 32}, {99, 32}} {
		want := expect(s.cert, crypto.SHA256)
		want.Hash, want.Digest = c.hash, make([]byte, c.size)
		notAssembled(t, "another hash", value, want, fmt.Sprintf("a digest of %d octets by hash %d", c.size, c.hash))
	}
}

func TestAssembledTimes(t *testing.T) {
	s := p256Signer(t)
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(1<<32-1, 0), // what a challenge can claim
		time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(1949, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2050, 1, 1, 3, 59, 59, 0, time.FixedZone("Baku", 4*60*60)), // 2049 yet
		signedAt.In(time.FixedZone("Baku", 4*60*60)),
	} {
		want := expect(s.cert, crypto.SHA256)
		want.SigningTime = at
		sameAsAssembled(t, at.String(), good(s, want), want)
	}
	for _, at := range []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)} {
		want := expect(s.cert, crypto.SHA256)
		want.SigningTime = at
		notAssembled(t, at.String(), bytes.Repeat([]byte{0x55}, 64), want, "signingTime: no ASN.1 time has the year")
	}
}

// longName is an issuer of about so many octets.
func longName(size int) []byte {
	name := pkix.RDNSequence{}
	for len(encode(name)) < size {
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: strings.Repeat("Ə", min(size, 100)/2)}})
	}
	return encode(name)
}

func TestAssembledIdentifiers(t *testing.T) {
	s := p256Signer(t)
	for _, serial := range []string{"01", "7f", "80", "00ff", "0100", "8000", strings.Repeat("ff", 20), strings.Repeat("ff", 31), "7f" + strings.Repeat("00", 31)} {
		cert := *s.cert
		cert.SerialNumber, _ = new(big.Int).SetString(serial, 16)
		want := expect(&cert, crypto.SHA256)
		sameAsAssembled(t, serial, good(s, want), want)
	}
	// Around each length at which some header has an octet more, and to the end.
	for size := 0; size < 1000; size++ {
		cert := *s.cert
		cert.RawIssuer = encode(sequence(encode(make([]byte, size))))
		want := expect(&cert, crypto.SHA256)
		der := good(s, want)
		if got, err := cms.Assemble(bareValue(t, der, want), want); err != nil || !bytes.Equal(got, der) {
			t.Errorf("an issuer of %d octets: %x %v, want %x", size, got, err, der)
		}
	}
	for _, size := range []int{1, 120, 130, 250, 260, 1000, 15000} {
		cert := *s.cert
		cert.RawIssuer = longName(size)
		want := expect(&cert, crypto.SHA256)
		sameAsAssembled(t, fmt.Sprintf("an issuer of %d octets", size), good(s, want), want)
	}
	value := bytes.Repeat([]byte{0x55}, 64)
	for says, change := range map[string]func(*x509.Certificate){
		"sid: an issuer of 16384 octets":            func(c *x509.Certificate) { c.RawIssuer = make([]byte, cms.MaxSize) },
		"sid: an issuer of 16777216 octets":         func(c *x509.Certificate) { c.RawIssuer = make([]byte, 1<<24) },
		"sid: a serial number of 0 bits, sign 0":    func(c *x509.Certificate) { c.SerialNumber = new(big.Int) },
		"sid: a serial number of 7 bits, sign -1":   func(c *x509.Certificate) { c.SerialNumber = big.NewInt(-127) },
		"sid: a serial number of 256 bits, sign 1":  func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 255) },
		"sid: a serial number of 4001 bits, sign 1": func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 4000) },
	} {
		cert := *s.cert
		change(&cert)
		notAssembled(t, says, value, expect(&cert, crypto.SHA256), says)
	}
}

// What a short answer can spoil is the value alone, and that Verify notices.
func TestEveryFlippedBitOfAValueIsRefused(t *testing.T) {
	for _, s := range plain(t, samples(t, openAuthority(t))) {
		if s.want.Hash != crypto.SHA256 {
			continue // one for each key: the value has the same form
		}
		value := bareValue(t, s.der, s.want)
		for bit := range 8 * len(value) {
			spoiled := bytes.Clone(value)
			spoiled[bit/8] ^= 1 << (bit % 8)
			der, err := cms.Assemble(spoiled, s.want)
			if err != nil {
				t.Fatal(err)
			}
			if err := cms.Verify(der, s.want); err == nil || err.Error() != notByKey {
				t.Errorf("%s: with bit %d of octet %d flipped: %v", s.name, bit%8, bit/8, err)
			}
		}
	}
}

// A value is good for one expectation: it is signed that which is rebuilt.
func TestValuesForSomethingElseAreRefused(t *testing.T) {
	authority := openAuthority(t)
	s := issue(t, authority, ecKey(t, elliptic.P256()))
	value := bareValue(t, good(s, expect(s.cert, crypto.SHA256)), expect(s.cert, crypto.SHA256))
	half := len(value) / 2
	order := elliptic.P256().Params().N
	plus := func(number []byte) []byte { // the same number to the curve, if it still has room
		return new(big.Int).Add(new(big.Int).SetBytes(number), order).FillBytes(make([]byte, half+1))[1:]
	}
	for name, c := range map[string]struct {
		value  []byte
		change func(*cms.Expectation)
	}{
		"another certificate of the key": {value, func(w *cms.Expectation) { w.Certificate = issue(t, authority, s.key).cert }},
		"another key":                    {value, func(w *cms.Expectation) { w.Certificate = issue(t, authority, ecKey(t, elliptic.P256())).cert }},
		"another hash":                   {value, func(w *cms.Expectation) { w.Hash, w.Digest = crypto.SHA384, sum(crypto.SHA384, []byte(document)) }},
		"another document":               {value, func(w *cms.Expectation) { w.Digest = sum(crypto.SHA256, []byte("another")) }},
		"another second":                 {value, func(w *cms.Expectation) { w.SigningTime = w.SigningTime.Add(time.Second) }},
		"another text":                   {value, func(w *cms.Expectation) { w.ShownText = [32]byte{} }},
		"r and s exchanged":              {slices.Concat(value[half:], value[:half]), nil},
		"r as little-endian":             {slices.Concat(reversed(value[:half]), value[half:]), nil},
		"all little-endian":              {slices.Concat(reversed(value[:half]), reversed(value[half:])), nil},
		"r plus the order":               {slices.Concat(plus(value[:half]), value[half:]), nil},
		"s plus the order":               {slices.Concat(value[:half], plus(value[half:])), nil},
		"s the order":                    {slices.Concat(value[:half], order.Bytes()), nil},
		"all ones":                       {bytes.Repeat([]byte{0xFF}, 64), nil},
	} {
		want := expect(s.cert, crypto.SHA256)
		if c.change != nil {
			c.change(want)
		}
		der, err := cms.Assemble(c.value, want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := cms.Verify(der, want); err == nil || err.Error() != notByKey {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func reversed(octets []byte) []byte {
	octets = bytes.Clone(octets)
	slices.Reverse(octets)
	return octets
}

func TestAssembleAllocatesLittle(t *testing.T) {
	for _, s := range plain(t, samples(t, openAuthority(t))) {
		value := bareValue(t, s.der, s.want)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := cms.Assemble(value, s.want); err != nil {
				t.Error(err)
			}
		})
		if allocs > 6 {
			t.Errorf("%s: %v allocations", s.name, allocs)
		}
	}
}

// It keeps nothing, and the value is not part of what it returns.
func TestAssembleSharesNothing(t *testing.T) {
	for _, s := range plain(t, samples(t, openAuthority(t))) {
		value := bareValue(t, s.der, s.want)
		before := bytes.Clone(value)
		done := make(chan []byte)
		for range 8 {
			go func() { der, _ := cms.Assemble(value, s.want); done <- der }()
		}
		for range 8 {
			der := <-done
			if !bytes.Equal(der, s.der) {
				t.Errorf("%s: %x", s.name, der)
			}
			clear(der)
		}
		if !bytes.Equal(value, before) {
			t.Errorf("%s: the value was changed", s.name)
		}
		if der, err := cms.Assemble(value, s.want); err != nil || !bytes.Equal(der, s.der) {
			t.Errorf("%s: %x %v", s.name, der, err)
		}
	}
}

// FuzzAssemble looks for what is assembled and yet is not what the tests'
// builder, which has encoding/asn1 for everything, makes of the same, or what
// Verify refuses before it comes to the signature itself.
func FuzzAssemble(f *testing.F) {
	file, want := readStored(f)
	keys := []crypto.Signer{ecKey(f, elliptic.P256()), ecKey(f, elliptic.P384()), rsaKey(), ecKey(f, elliptic.P521())}
	hashes := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA1}
	serial, issuer := want.Certificate.SerialNumber.Bytes(), parse(f, want.Certificate.RawIssuer).inner()
	genuine := bareValue(f, file.Good[0].Signature, want)
	for hash := range hashes {
		for key, length := range []int{64, 96, 256, 132} {
			f.Add(bytes.Repeat([]byte{0x85}, length), byte(key), byte(hash), []byte{}, signedAt.Unix(), serial, issuer)
			f.Add(append(make([]byte, length-1), 1), byte(key), byte(hash), []byte{1}, int64(1)<<32, []byte{0x80}, []byte{})
			f.Add(append([]byte{0, 0x80}, bytes.Repeat([]byte{1}, length-2)...), byte(key), byte(hash), make([]byte, 64), int64(-1), []byte{}, make([]byte, 120))
		}
	}
	f.Add(genuine, byte(0), byte(0), []byte(nil), signedAt.Unix(), serial, issuer)
	f.Fuzz(func(t *testing.T, value []byte, key, hash byte, digest []byte, seconds int64, serial, issuer []byte) {
		s := signer{key: keys[int(key)%len(keys)], cert: want.Certificate}
		w := expect(want.Certificate, hashes[int(hash)%len(hashes)])
		cert := *want.Certificate
		if key > 0 { // else the stored one, of which one value is genuine
			cert.PublicKey = s.key.Public()
		}
		cert.SerialNumber = new(big.Int).SetBytes(serial)
		cert.RawIssuer = encode(sequence(issuer))
		w.Certificate, w.SigningTime = &cert, time.Unix(seconds, 0)
		if len(digest) > 0 {
			w.Digest = digest
		}
		before := bytes.Clone(value)
		der, err := cms.Assemble(value, w)
		if !bytes.Equal(value, before) {
			t.Error("its input was changed")
		}
		if err != nil {
			if der != nil {
				t.Errorf("%x besides %v", der, err)
			}
			return
		}
		d := newDraft(s, w)
		d.writeAttributes()
		d.si.Signature = asn1.RawValue{Tag: asn1.TagOctetString, Bytes: rawValue(value, cert.PublicKey)}
		if builder := d.bytes(); !bytes.Equal(der, builder) {
			t.Errorf("assembled\n%x, want\n%x", der, builder)
		}
		if err := cms.Verify(der, w); err != nil && err.Error() != notByKey {
			t.Errorf("%v: %x", err, der)
		}
	})
}
