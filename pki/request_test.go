package pki_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"imza/pki"
)

const (
	iccid      = "8999401000000000017"
	otherICCID = "8999401000000000025"
)

// publicKey is what all of Go's public keys are.
type publicKey interface{ Equal(crypto.PublicKey) bool }

// Requests made by OpenSSL.

// requestConfig asks for no attributes, as a card sends none. OpenSSL's own
// asks for a challengePassword.
const requestConfig = "[req]\ndistinguished_name = name\nprompt = no\n[name]\n"

// request has OpenSSL make a request and the key for it, key.pem.
func (f folder) request(t *testing.T, config string, options ...string) []byte {
	t.Helper()
	f.write(t, "req.cnf", []byte(config))
	out, err := f.openssl(append([]string{"req", "-new", "-config", "req.cnf", "-nodes", "-keyout", "key.pem", "-outform", "DER", "-out", "request"}, options...)...)
	if err != nil {
		t.Fatalf("%v: %v: %s", options, err, out)
	}
	return f.read(t, "request")
}

func newKey(kind string) []string {
	if curve, ok := strings.CutPrefix(kind, "ec:"); ok {
		return []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:" + curve}
	}
	return []string{"-newkey", kind}
}

// goodRequests are what OpenSSL is told to make.
var goodRequests = []struct{ name, key, hash string }{
	{"P-256", "ec:P-256", "-sha256"}, {"P-256, SHA-384", "ec:P-256", "-sha384"},
	{"P-384", "ec:P-384", "-sha384"}, {"P-384, SHA-256", "ec:P-384", "-sha256"},
	{"RSA-2048", "rsa:2048", "-sha256"}, {"RSA-3072", "rsa:3072", "-sha256"},
}

func TestRequestsMadeByOpenSSL(t *testing.T) {
	a := open(t, t.TempDir())
	f := newFolder(t, a)
	for _, c := range goodRequests {
		der := f.request(t, requestConfig, append(newKey(c.key), c.hash, "-subj", "/serialNumber="+iccid)...)
		public, err := pki.CheckRequest(der, iccid)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		block, _ := pem.Decode(f.read(t, "key.pem"))
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if own := private.(crypto.Signer).Public(); !own.(publicKey).Equal(public) {
			t.Errorf("%s: another key", c.name)
		}
		cert, err := a.IssueFor(der, iccid, citizen, pki.Signing, now)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !cert.PublicKey.(publicKey).Equal(public) || a.Check(cert, pki.Signing, now) != nil {
			t.Errorf("%s: a certificate of another key", c.name)
		}
		if h, err := pki.HolderOf(cert); err != nil || h != citizen {
			t.Errorf("%s: of %+v, %v", c.name, h, err)
		}
	}
}

// What another program might ask for, each refused for what is peculiar to it.
func TestOtherRequestsMadeByOpenSSLAreRefused(t *testing.T) {
	f := folder(t.TempDir())
	subject := "/serialNumber=" + iccid
	// With -subj it would leave the attributes out that are asked for here.
	password := strings.Replace(requestConfig, "[name]\n", "attributes = more\n[name]\nserialNumber = "+iccid+"\n[more]\nchallengePassword = secret1\n", 1)
	const x509Key, notAllowed = "x509: ", "keys are P-256, P-384 or RSA"
	for _, c := range []struct {
		key, subject, config string
		options              []string
		field, problem       string
	}{
		{"ec:P-256", "/serialNumber=" + otherICCID, "", nil, "subject", "is another card"},
		{"ec:P-256", "/CN=" + iccid, "", nil, "subject", "is not a serialNumber"},
		{"ec:P-256", "/", "", nil, "subject", "is not one RDN"},
		{"ec:P-256", subject + "/CN=card", "", nil, "subject", "is not one RDN"},
		{"ec:P-256", "/CN=card" + subject, "", nil, "subject", "is not one RDN"},
		{"ec:P-256", subject + "/serialNumber=" + otherICCID, "", nil, "subject", "is not one RDN"},
		{"ec:P-256", subject + "+CN=card", "", nil, "subject", "is not an RDN of one attribute"},
		{"ec:P-256", "", password, nil, "attributes", "are not an empty [0]"},
		{"ec:P-256", subject, "", []string{"-addext", "subjectAltName = DNS:example.az"}, "attributes", "are not an empty [0]"},
		{"ec:P-256", subject, "", []string{"-addext", "basicConstraints = critical,CA:TRUE"}, "attributes", "are not an empty [0]"},
		{"ec:P-256", subject, "", []string{"-sha1"}, "signatureAlgorithm", "is not one that a card signs with"},
		{"ec:P-256", subject, "", []string{"-sha224"}, "signatureAlgorithm", ""},
		{"ec:P-256", subject, "", []string{"-sha512"}, "signatureAlgorithm", ""},
		{"ec:P-256", subject, "", []string{"-sha3-256"}, "signatureAlgorithm", ""},
		{"rsa:2048", subject, "", []string{"-sha1"}, "signatureAlgorithm", ""},
		{"rsa:2048", subject, "", []string{"-md5"}, "signatureAlgorithm", ""},
		{"rsa:2048", subject, "", []string{"-sha512"}, "signatureAlgorithm", ""},
		{"rsa:2048", subject, "", []string{"-sha256", "-sigopt", "rsa_padding_mode:pss"}, "signatureAlgorithm", ""},
		{"rsa:1024", subject, "", nil, "subjectPKInfo", notAllowed},
		{"rsa:2047", subject, "", nil, "subjectPKInfo", notAllowed},
		{"ec:P-224", subject, "", nil, "subjectPKInfo", notAllowed},
		{"ec:P-521", subject, "", nil, "subjectPKInfo", notAllowed},
		{"ec:secp256k1", subject, "", nil, "subjectPKInfo", x509Key},
		{"ec:brainpoolP256r1", subject, "", nil, "subjectPKInfo", x509Key},
		{"ec:P-256", subject, "", []string{"-pkeyopt", "ec_param_enc:explicit"}, "subjectPKInfo", x509Key},
		{"ed25519", subject, "", nil, "signatureAlgorithm", ""},
		{"rsa-pss", subject, "", []string{"-pkeyopt", "rsa_keygen_bits:2048"}, "signatureAlgorithm", ""},
	} {
		options := append(newKey(c.key), c.options...)
		if c.config == "" {
			c.config, options = requestConfig, append(options, "-subj", c.subject)
		}
		_, err := pki.CheckRequest(f.request(t, c.config, options...), iccid)
		refusedRequest(t, fmt.Sprint(c.key, c.subject, c.options), err, c.field, c.problem)
	}
}

// refusedRequest checks that an error names a field and says what is wrong.
func refusedRequest(t *testing.T, name string, err error, field, problem string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", name)
		return
	}
	rest, ok := strings.CutPrefix(err.Error(), "pki: request: "+field)
	if !ok || !strings.HasPrefix(rest, " before octet ") && !strings.HasPrefix(rest, ": ") || !strings.Contains(rest, problem) {
		t.Errorf("%s: refused with %q, want %s … %s", name, err, field, problem)
	}
}

// respell writes all elements anew, the one at the index by spell.
func respell(t *testing.T, der []byte, index *int, spell func(tag byte, content []byte) []byte) (out []byte) {
	t.Helper()
	for len(der) > 0 {
		var value asn1.RawValue
		rest, err := asn1.Unmarshal(der, &value)
		if err != nil {
			t.Fatal(err)
		}
		own, content := *index, value.Bytes
		*index--
		if value.IsCompound {
			content = respell(t, content, index, spell)
		}
		if own == 0 {
			out = append(out, spell(der[0], content)...)
		} else {
			out = append(out, element(der[0], content)...)
		}
		der = rest
	}
	return out
}

// BER has many spellings of one request, DER has one. A card signs whichever it
// writes, so each is signed as it is.
func TestOtherSpellingsOfRequestsAreRefused(t *testing.T) {
	for _, key := range []crypto.Signer{ecKey(t, elliptic.P256()), rsaKey()} {
		d := newDraft(key)
		info, der := d.infoBytes(), d.bytes()
		for name, spell := range map[string]func(tag byte, content []byte) []byte{
			"a length not minimal": longLength,
			"an indefinite length": func(tag byte, content []byte) []byte { return slices.Concat([]byte{tag, 0x80}, content, []byte{0, 0}) },
			"a tag not minimal": func(tag byte, content []byte) []byte {
				return append([]byte{tag&0xE0 | 0x1F, tag & 0x1F}, element(tag, content)[1:]...)
			},
			"another class of tag":      func(tag byte, content []byte) []byte { return element(tag^0x40, content) },
			"primitive for constructed": func(tag byte, content []byte) []byte { return element(tag^0x20, content) },
			"a zero at the end":         func(tag byte, content []byte) []byte { return element(tag, content, []byte{0}) },
			"NULL at the end":           func(tag byte, content []byte) []byte { return element(tag, content, null) },
			"NULL behind":               func(tag byte, content []byte) []byte { return append(element(tag, content), null...) },
		} {
			for i := 0; ; i++ { // in the info, which is signed then
				index := i
				spoiled := respell(t, info, &index, spell)
				if index >= 0 {
					break // there is no element of that index
				}
				if _, err := pki.CheckRequest(d.bytesOf(spoiled), iccid); err == nil || strings.Contains(err.Error(), "request: signature: ") {
					t.Errorf("%s at element %d of the info: %v", name, i, err)
				}
			}
			for i := 0; ; i++ { // and around it
				index := i
				spoiled := respell(t, der, &index, spell)
				if index >= 0 {
					break
				}
				if _, err := pki.CheckRequest(spoiled, iccid); err == nil {
					t.Errorf("%s at element %d: accepted", name, i)
				}
			}
		}
	}
}

func TestRequestsThatAreNoneAreRefused(t *testing.T) {
	d := newDraft(ecKey(t, elliptic.P256()))
	good := d.bytes()
	larger := newDraft(d.key)
	larger.info[1] = element(tagSequence, make([]byte, pki.MaxRequest))
	cert := issue(t, open(t, t.TempDir()), citizen, pki.Signing)
	for name, c := range map[string]struct {
		der  []byte
		says string
	}{
		"nil":              {nil, "CertificationRequest before octet 0: is not one SEQUENCE"},
		"empty":            {[]byte{}, "CertificationRequest before octet 0: is not one SEQUENCE"},
		"PEM":              {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good}), "CertificationRequest before octet"},
		"zeros":            {make([]byte, 200), "CertificationRequest before octet"},
		"a length of 4 GB": {[]byte{0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF}, "CertificationRequest before octet"},
		"nested 30 80":     {[]byte(strings.Repeat("\x30\x80", pki.MaxRequest/2)), "CertificationRequest before octet"},
		"padded":           {append(slices.Clone(good), make([]byte, pki.MaxRequest-len(good))...), "CertificationRequest before octet"},
		"padded over it":   {append(slices.Clone(good), make([]byte, pki.MaxRequest-len(good)+1)...), "4097 octets, at most 4096"},
		"of over 4 KiB":    {larger.bytes(), " octets, at most 4096"},
		"its info alone":   {d.infoBytes(), "certificationRequestInfo before octet"},
		"the key alone":    {keyInfo(d.key.Public()), "version before octet"},
		"a certificate":    {cert.Raw, "version before octet"},
		"one in another":   {sequence(good), "version before octet"},
	} {
		if _, err := pki.CheckRequest(c.der, iccid); err == nil || !strings.Contains(err.Error(), "pki: request: ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", name, err, c.says)
		}
	}
	// A good request is good to nobody, if nobody is asked for.
	for _, nobody := range []string{"", " ", iccid + "F", "89-9", "89940१", iccid + "\x00"} {
		if _, err := pki.CheckRequest(good, nobody); err == nil || !strings.Contains(err.Error(), "no card has the ICCID") {
			t.Errorf("%q: %v", nobody, err)
		}
	}
}

// MaxRequest is no bound on keys that are in use.
func TestRequestOfALargeKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.CheckRequest(newDraft(key).bytes(), iccid); err != nil {
		t.Error(err)
	}
}

func TestCutAndSpoiledRequestsAreRefused(t *testing.T) {
	file := readStored(t)
	for i, s := range file.Good {
		for n := range s.Request {
			if _, err := pki.CheckRequest(s.Request[:n], iccid); err == nil {
				t.Errorf("%s: its first %d octets were accepted", s.Name, n)
			}
		}
		for trailing := range 256 {
			if _, err := pki.CheckRequest(append(slices.Clone(s.Request), byte(trailing)), iccid); err == nil {
				t.Errorf("%s: accepted with %x behind it", s.Name, trailing)
			}
		}
		// The key of each under the signature of each.
		for _, other := range file.Good {
			if s.Name == other.Name {
				continue
			}
			own, swapped := split(t, s.Request), split(t, other.Request)
			for name, der := range map[string][]byte{
				"with the key of":       sequence(sequence(own[0], own[1], swapped[2], own[3]), own[4], own[5]),
				"with the signature of": sequence(sequence(own[0], own[1], own[2], own[3]), swapped[4], swapped[5]),
			} {
				_, err := pki.CheckRequest(der, iccid)
				refusedRequest(t, fmt.Sprint(s.Name, " ", name, " ", other.Name), err, "signature", "")
			}
		}
		if i%2 > 0 {
			continue // one for each kind of key, since these take long
		}
		for bit := range 8 * len(s.Request) {
			spoiled := slices.Clone(s.Request)
			spoiled[bit/8] ^= 1 << (bit % 8)
			if _, err := pki.CheckRequest(spoiled, iccid); err == nil {
				t.Errorf("%s: accepted with bit %d of octet %d flipped", s.Name, bit%8, bit/8)
			}
		}
	}
}

// split are the four fields of the info, the algorithm and the signature.
func split(t *testing.T, der []byte) (parts [][]byte) {
	t.Helper()
	var request struct {
		Info                 struct{ Version, Subject, Key, Attributes asn1.RawValue }
		Algorithm, Signature asn1.RawValue
	}
	if rest, err := asn1.Unmarshal(der, &request); err != nil || len(rest) > 0 {
		t.Fatalf("%x: %v", der, err)
	}
	for _, v := range []asn1.RawValue{request.Info.Version, request.Info.Subject, request.Info.Key, request.Info.Attributes, request.Algorithm, request.Signature} {
		parts = append(parts, v.FullBytes)
	}
	return parts
}

func TestIssueForRefusesWhatCheckRequestDoes(t *testing.T) {
	a := open(t, t.TempDir())
	good := newDraft(ecKey(t, elliptic.P256())).bytes()
	if _, err := a.IssueFor(good, otherICCID, citizen, pki.Signing, now); err == nil || !strings.Contains(err.Error(), "is another card") {
		t.Errorf("for another card: %v", err)
	}
	if _, err := a.IssueFor(good[1:], iccid, citizen, pki.Signing, now); err == nil {
		t.Error("for half a request")
	}
	if _, err := a.IssueFor(good, iccid, pki.Holder{}, pki.Signing, now); err == nil {
		t.Error("for nobody")
	}
	weak := newDraft(ecKey(t, elliptic.P521())).bytes()
	if _, err := a.IssueFor(weak, iccid, citizen, pki.Signing, now); !errors.Is(err, pki.ErrKey) {
		t.Errorf("for a key on P-521: %v", err)
	}
}

// The offset in an error is where the reading stopped, and not moved by a
// buffer that is longer than the request.
func TestRequestErrorsSayWhere(t *testing.T) {
	d := newDraft(ecKey(t, elliptic.P256()))
	d.info[0] = encode(3)
	der := d.bytes()
	at := fmt.Sprintf("version before octet %d: ", bytes.Index(der, []byte{2, 1, 3}))
	for _, der := range [][]byte{der, append(make([]byte, 0, 4096), der...)} {
		if _, err := pki.CheckRequest(der, iccid); err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("%v, want %s", err, at)
		}
	}
}

func BenchmarkCheckRequest(b *testing.B) {
	for _, s := range readStored(b).Good {
		b.Run(s.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := pki.CheckRequest(s.Request, iccid); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
