package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"imza/pki"
)

// now is fixed, save for OCSP: OpenSSL's client knows no other time than today.
var now = time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)

const url = "http://127.0.0.1:8080"

var (
	citizen  = pki.Holder{FIN: "5ABC123", GivenName: "Aysel", Surname: "Əliyeva"}
	employee = pki.Holder{FIN: "5ABC123", GivenName: "Aysel", Surname: "Əliyeva", Organisation: "Xəzər & Oğulları MMC", VOEN: "1234567891"}
)

func open(t *testing.T, dir string) *pki.Authority {
	t.Helper()
	a, err := pki.OpenAuthority(dir, url, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// rsaKey is shared, since making one takes longer than all that is done with it.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func issue(t *testing.T, a *pki.Authority, h pki.Holder, usage pki.Usage) *x509.Certificate {
	t.Helper()
	cert, err := a.Issue(h, usage, ecKey(t, elliptic.P256()).Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// folder is where openssl works.
type folder string

func newFolder(t *testing.T, a *pki.Authority) folder {
	t.Helper()
	f := folder(t.TempDir())
	f.write(t, "anchors.pem", a.Anchors())
	f.write(t, "issuing.pem", certPEM(a.Issuing))
	return f
}

func (f folder) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(f), name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f folder) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(string(f), name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (f folder) openssl(arguments ...string) (output string, err error) {
	command := exec.Command("openssl", arguments...)
	command.Dir = string(f)
	out, err := command.CombinedOutput()
	return string(out), err
}

func (f folder) verify(options ...string) (output string, err error) {
	return f.openssl(append(append([]string{"verify", "-x509_strict", "-attime", strconv.FormatInt(now.Unix()+1, 10), "-CAfile", "anchors.pem"}, options...), "holder.pem")...)
}

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// names are the subject's attributes in their order, as type:string type=value.
func names(t *testing.T, cert *x509.Certificate) (list []string) {
	t.Helper()
	var rdns []asn1.RawValue
	if _, err := asn1.Unmarshal(cert.RawSubject, &rdns); err != nil {
		t.Fatal(err)
	}
	for _, rdn := range rdns {
		var attribute struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue
		}
		if rest, err := asn1.Unmarshal(rdn.Bytes, &attribute); err != nil || len(rest) > 0 {
			t.Fatalf("an RDN is not of one attribute: %x (%v)", rdn.Bytes, err)
		}
		list = append(list, fmt.Sprintf("%v:%d=%s", attribute.Type, attribute.Value.Tag, attribute.Value.Bytes))
	}
	return list
}

// EN 319 412-2 §4.2.4 for the attributes; X.520 wants PrintableString (19) of
// countryName and serialNumber, all else that is not ASCII is UTF8String (12).
func TestSubjectIsAsEN319412Wants(t *testing.T) {
	a := open(t, t.TempDir())
	for _, c := range []struct {
		holder pki.Holder
		want   []string
	}{
		{citizen, []string{
			"2.5.4.6:19=AZ",
			"2.5.4.4:12=Əliyeva", "2.5.4.42:19=Aysel", "2.5.4.5:19=PNOAZ-5ABC123", "2.5.4.3:12=Aysel Əliyeva",
		}},
		{employee, []string{
			"2.5.4.6:19=AZ", "2.5.4.10:12=Xəzər & Oğulları MMC", "2.5.4.97:19=VATAZ-1234567891",
			"2.5.4.4:12=Əliyeva", "2.5.4.42:19=Aysel", "2.5.4.5:19=PNOAZ-5ABC123", "2.5.4.3:12=Aysel Əliyeva",
		}},
	} {
		if got := names(t, issue(t, a, c.holder, pki.Signing)); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// The second opinion on what x509 wrote, which has also read it so far.
func TestOpenSSLReadsTheProfile(t *testing.T) {
	a := open(t, t.TempDir())
	f := newFolder(t, a)
	for _, c := range []struct {
		usage pki.Usage
		says  string
	}{{pki.Signing, "Non Repudiation"}, {pki.Authentication, "Digital Signature"}} {
		cert := issue(t, a, employee, c.usage)
		f.write(t, "holder.pem", certPEM(cert))
		out, err := f.openssl("x509", "-in", "holder.pem", "-noout", "-text", "-nameopt", "sep_comma_plus,utf8")
		if err != nil {
			t.Fatal(out)
		}
		// Indentation and line ends are OpenSSL's, and not what is judged.
		out = strings.Join(strings.Fields(out), " ")
		for _, part := range []string{
			"Version: 3 (0x2)",
			"Issuer: C=AZ,O=imza,CN=imza issuing",
			"Not Before: Nov 22 10:30:00 2026 GMT Not After : Nov 22 10:30:00 2029 GMT",
			"Subject: C=AZ,O=Xəzər & Oğulları MMC,organizationIdentifier=VATAZ-1234567891,SN=Əliyeva,GN=Aysel,serialNumber=PNOAZ-5ABC123,CN=Aysel Əliyeva",
			"X509v3 Key Usage: critical " + c.says + " X509v3",
			"X509v3 Basic Constraints: critical CA:FALSE",
			"OCSP - URI:" + url + "/pki/ocsp", "CA Issuers - URI:" + url + "/pki/issuing.crt",
			"Full Name: URI:" + url + "/pki/issuing.crl",
		} {
			if !strings.Contains(out, part) {
				t.Errorf("%s: no %q in %s", c.says, part, out)
			}
		}
		if out, err := f.verify(); err != nil {
			t.Errorf("%s: %s", c.says, out)
		}
	}
}

func TestExtensionsAndValidity(t *testing.T) {
	a := open(t, t.TempDir())
	critical := map[string]string{
		"2.5.29.15": "03020640", // keyUsage: bit 1, contentCommitment, alone
		"2.5.29.19": "3000",     // basicConstraints
	}
	for _, key := range []crypto.Signer{ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), rsaKey()} {
		cert, err := a.Issue(citizen, pki.Signing, key.Public(), now)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, extension := range cert.Extensions {
			if extension.Critical {
				found[extension.Id.String()] = hex.EncodeToString(extension.Value)
			}
		}
		if !maps.Equal(found, critical) {
			t.Errorf("critical are %v, want %v", found, critical)
		}
		var info struct {
			Algorithm pkix.AlgorithmIdentifier
			Key       asn1.BitString
		}
		if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil {
			t.Fatal(err)
		}
		if id := sha1.Sum(info.Key.Bytes); !bytes.Equal(cert.SubjectKeyId, id[:]) {
			t.Errorf("subjectKeyIdentifier %x, want %x", cert.SubjectKeyId, id)
		}
		if !bytes.Equal(cert.AuthorityKeyId, a.Issuing.SubjectKeyId) || !bytes.Equal(a.Issuing.AuthorityKeyId, a.Root.SubjectKeyId) {
			t.Error("authorityKeyIdentifier is not the issuer's subjectKeyIdentifier")
		}
		if !cert.NotBefore.Equal(now) || !cert.NotAfter.Equal(now.AddDate(3, 0, 0)) {
			t.Errorf("valid from %v to %v", cert.NotBefore, cert.NotAfter)
		}
		if n := cert.SerialNumber.BitLen(); cert.SerialNumber.Sign() != 1 || n < 64 || n > 159 {
			t.Errorf("a serial number of %d bits", n)
		}
		if err := a.Check(cert, pki.Signing, now); err != nil {
			t.Error(err)
		}
	}
}

func TestSerialNumbersDiffer(t *testing.T) {
	a := open(t, t.TempDir())
	key := ecKey(t, elliptic.P256()).Public()
	seen := map[string]bool{}
	for range 50 {
		cert, err := a.Issue(citizen, pki.Signing, key, now)
		if err != nil {
			t.Fatal(err)
		}
		seen[cert.SerialNumber.String()] = true
	}
	if len(seen) != 50 {
		t.Errorf("%d serial numbers of 50 certificates", len(seen))
	}
}

// The root may only certify authorities, these only holders.
func TestAuthoritiesCertificates(t *testing.T) {
	a := open(t, t.TempDir())
	for _, c := range []struct {
		cert    *x509.Certificate
		years   int
		pathLen int
	}{{a.Root, 20, -1}, {a.Issuing, 10, 0}} {
		if !c.cert.IsCA || c.cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || c.cert.MaxPathLen != c.pathLen {
			t.Errorf("%s: CA %v, usage %b, path %d", c.cert.Subject, c.cert.IsCA, c.cert.KeyUsage, c.cert.MaxPathLen)
		}
		if !c.cert.NotBefore.Equal(now) || !c.cert.NotAfter.Equal(now.AddDate(c.years, 0, 0)) {
			t.Errorf("%s: valid from %v to %v", c.cert.Subject, c.cert.NotBefore, c.cert.NotAfter)
		}
	}
	if err := a.Root.CheckSignatureFrom(a.Root); err != nil {
		t.Error(err)
	}
	if want := append(certPEM(a.Root), certPEM(a.Issuing)...); !bytes.Equal(a.Anchors(), want) {
		t.Errorf("anchors are %s", a.Anchors())
	}
}

func TestKeysThatAreTooWeakOrUnknownAreNotCertified(t *testing.T) {
	a := open(t, t.TempDir())
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.PublicKey{
		"RSA-1024": small.Public(), "P-224": ecKey(t, elliptic.P224()).Public(), "P-521": ecKey(t, elliptic.P521()).Public(),
		"Ed25519": edwards, "none": nil, "a private one": rsaKey(),
		"RSA-2047": &rsa.PublicKey{N: new(big.Int).Rsh(rsaKey().N, 1), E: 65537},
	} {
		if _, err := a.Issue(citizen, pki.Signing, key, now); !errors.Is(err, pki.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHoldersWithoutWhatTheProfileWantsGetNoCertificate(t *testing.T) {
	a := open(t, t.TempDir())
	key := ecKey(t, elliptic.P256()).Public()
	for name, spoil := range map[string]func(*pki.Holder){
		"no FIN":          func(h *pki.Holder) { h.FIN = "" },
		"no given name":   func(h *pki.Holder) { h.GivenName = "" },
		"no surname":      func(h *pki.Holder) { h.Surname = "" },
		"no organisation": func(h *pki.Holder) { h.Organisation = "" },
		"no VOEN":         func(h *pki.Holder) { h.VOEN = "" },
		"not UTF-8":       func(h *pki.Holder) { h.Surname = "\xC6liyeva" },
	} {
		h := employee
		spoil(&h)
		if _, err := a.Issue(h, pki.Signing, key, now); err == nil {
			t.Errorf("%s: certified", name)
		}
	}
}

func TestHolderIsReadBackInAnyScript(t *testing.T) {
	a := open(t, t.TempDir())
	for _, name := range []string{
		"Aysel", "Əşrəf", "İsmayıl", "IĞDIR", "Çingiz Özgür", "Юрий", "მარიამ", "علی", "王", "D'Artagnan", "O=R, \"C\"+#;<>\\", "A*B", "A@B & C", " Aysel ", "İ", "🖋", strings.Repeat("Ə", 300),
	} {
		for _, h := range []pki.Holder{
			{FIN: "7XYZ00A", GivenName: name, Surname: "x" + name},
			{FIN: "7XYZ00A", GivenName: name, Surname: "x" + name, Organisation: name + " MMC", VOEN: "9900000001"},
		} {
			if got, err := pki.HolderOf(issue(t, a, h, pki.Authentication)); err != nil || got != h {
				t.Errorf("got %+v (%v), want %+v", got, err, h)
			}
		}
	}
	if h, err := pki.HolderOf(a.Issuing); err == nil {
		t.Errorf("the authority is a holder: %+v", h)
	}
}

// forge signs any certificate with the issuing key out of the folder.
func forge(t *testing.T, dir string, a *pki.Authority, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(folder(dir).read(t, "issuing.key"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "forged"}, BasicConstraintsValid: true,
		NotBefore: now, NotAfter: now.AddDate(3, 0, 0), KeyUsage: x509.KeyUsageContentCommitment,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.Issuing, ecKey(t, elliptic.P256()).Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCheckRefuses(t *testing.T) {
	dir := t.TempDir()
	a, other := open(t, dir), open(t, t.TempDir())
	own := issue(t, a, citizen, pki.Signing)
	early, late := now.Add(-time.Second), now.AddDate(3, 0, 0).Add(time.Second)
	usage := func(u x509.KeyUsage) *x509.Certificate {
		return forge(t, dir, a, func(c *x509.Certificate) { c.KeyUsage = u })
	}
	long := forge(t, dir, a, func(c *x509.Certificate) { c.NotAfter = now.AddDate(30, 0, 0) })
	for _, c := range []struct {
		name  string
		cert  *x509.Certificate
		usage pki.Usage
		at    time.Time
		says  string
	}{
		{"another authority's, of the same name", issue(t, other, citizen, pki.Signing), pki.Signing, now, "verification"},
		{"the issuing authority's own", a.Issuing, pki.Signing, now, "issued by"},
		{"the root's", a.Root, pki.Signing, now, "issued by"},
		{"a second before", own, pki.Signing, early, "Aysel Əliyeva is not valid at 2026-11-22T10:29:59Z"},
		{"a second after", own, pki.Signing, late, "Aysel Əliyeva is not valid at 2029-11-22T10:30:01Z"},
		{"past the issuing authority's end", long, pki.Signing, now.AddDate(11, 0, 0), "imza issuing is not valid"},
		{"signing for authentication", own, pki.Authentication, now, "key usage"},
		{"authentication for signing", issue(t, a, citizen, pki.Authentication), pki.Signing, now, "key usage"},
		{"both usages", usage(x509.KeyUsageContentCommitment | x509.KeyUsageDigitalSignature), pki.Signing, now, "key usage"},
		{"no usage", usage(0), pki.Signing, now, "key usage"},
		{"an authority", forge(t, dir, a, func(c *x509.Certificate) { c.IsCA = true }), pki.Signing, now, "authority"},
	} {
		if err := a.Check(c.cert, c.usage, c.at); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", c.name, err, c.says)
		}
	}
	for _, at := range []time.Time{now, now.AddDate(3, 0, 0)} { // both ends count (RFC 5280 §4.1.2.5)
		if err := a.Check(own, pki.Signing, at); err != nil {
			t.Errorf("at %v: %v", at, err)
		}
	}
}

func TestCheckRefusesEveryFlippedBit(t *testing.T) {
	a := open(t, t.TempDir())
	cert := issue(t, a, citizen, pki.Signing)
	if err := a.Check(cert, pki.Signing, now); err != nil { // from here on it is remembered, and none but it
		t.Fatal(err)
	}
	var parsed int
	for bit := range 8 * len(cert.Raw) {
		spoiled := bytes.Clone(cert.Raw)
		spoiled[bit/8] ^= 1 << (bit % 8)
		tampered, err := x509.ParseCertificate(spoiled)
		if err != nil {
			continue
		}
		parsed++
		if a.Check(tampered, pki.Signing, now) == nil {
			t.Errorf("accepted with bit %d of octet %d flipped", bit%8, bit/8)
		}
	}
	if parsed == 0 {
		t.Error("no tampered certificate was shown to Check")
	}
}

func TestOneFolderIsOneAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	first, err := pki.OpenAuthority(dir, url+"/", now)
	if err != nil {
		t.Fatal(err)
	}
	// Another URL and another day change nothing: both are in what was issued.
	second, err := pki.OpenAuthority(dir, "http://elsewhere", now.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if !first.Root.Equal(second.Root) || !first.Issuing.Equal(second.Issuing) {
		t.Error("its certificates have changed")
	}
	cert := issue(t, second, citizen, pki.Signing)
	if err := first.Check(cert, pki.Signing, now); err != nil {
		t.Error(err)
	}
	if want := []string{url + "/pki/ocsp"}; !slices.Equal(cert.OCSPServer, want) {
		t.Errorf("OCSP is at %v", cert.OCSPServer)
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	open(t, dir)
	checkFiles(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v (%v)", info.Mode(), err)
	}
}

// checkFiles wants these files and no other. There is no root.key: it is
// forgotten once it has signed.
func checkFiles(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", entry.Name(), info.Mode())
		}
		names = append(names, entry.Name())
	}
	if want := []string{"issuing.key", "issuing.pem", "root.pem", "url"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
}

// A start that was cut off leaves any of the files that come before issuing.pem,
// or a part of the next one under another name.
func TestHalfMadeFolderIsBegunAnew(t *testing.T) {
	made := []string{"url", "issuing.key", "root.pem"}
	for n := range len(made) + 1 {
		dir := t.TempDir()
		before := open(t, dir)
		missing := append(slices.Clone(made[n:]), "issuing.pem")
		for _, name := range missing {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		folder(dir).write(t, missing[0]+".new", []byte("-----BEGIN"))
		for _, name := range made[:n] { // no old mode may outlive it
			if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		after := open(t, dir)
		if before.Root.Equal(after.Root) || before.Issuing.Equal(after.Issuing) {
			t.Errorf("with %v: the old authority is still there", made[:n])
		}
		checkFiles(t, dir)
		again := open(t, dir)
		if err := again.Check(issue(t, after, citizen, pki.Signing), pki.Signing, now); err != nil {
			t.Errorf("with %v: %v", made[:n], err)
		}
	}
}

// What is damaged is for a person to look at: to begin anew would orphan every
// certificate that was issued.
func TestDamagedFolderIsAnError(t *testing.T) {
	foreign := t.TempDir()
	open(t, foreign)
	p384, err := x509.MarshalPKCS8PrivateKey(ecKey(t, elliptic.P384()))
	if err != nil {
		t.Fatal(err)
	}
	garbage := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("garbage")})
	for _, c := range []struct {
		file string
		data []byte // none: removed
		says string
	}{
		{"issuing.key", folder(foreign).read(t, "issuing.key"), "issuing.key is not the key of issuing.pem"},
		{"issuing.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p384}), "issuing.key is not the key of issuing.pem"},
		{"issuing.key", garbage, "issuing.key"},
		{"issuing.key", nil, "issuing.key"},
		{"issuing.pem", folder(foreign).read(t, "issuing.pem"), "issuing.key is not the key of issuing.pem"},
		{"issuing.pem", []byte{}, "issuing.pem is not PEM"},
		{"issuing.pem", garbage, "issuing.pem"},
		{"root.pem", folder(foreign).read(t, "root.pem"), "the issuing certificate"},
		{"root.pem", garbage, "root.pem"},
		{"root.pem", nil, "root.pem"},
		{"url", nil, "url"},
	} {
		dir := t.TempDir()
		open(t, dir)
		folder(dir).write(t, c.file, c.data)
		if c.data == nil {
			if err := os.Remove(filepath.Join(dir, c.file)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := pki.OpenAuthority(dir, url, now); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s of %d octets: %v, want %s", c.file, len(c.data), err, c.says)
		}
	}
	if _, err := pki.OpenAuthority(filepath.Join(foreign, "url", "folder"), url, now); err == nil {
		t.Error("a folder was made in a file")
	}
}

// A key whose certificate is for now not to be reached is not written over.
func TestLinkThatLeadsNowhereIsAnError(t *testing.T) {
	for _, target := range []string{"gone.pem", "issuing.pem"} {
		dir := t.TempDir()
		open(t, dir)
		key := folder(dir).read(t, "issuing.key")
		path := filepath.Join(dir, "issuing.pem")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		if _, err := pki.OpenAuthority(dir, url, now); err == nil {
			t.Errorf("to %s: opened", target)
		}
		if !bytes.Equal(key, folder(dir).read(t, "issuing.key")) {
			t.Errorf("to %s: the key was written over", target)
		}
	}
}

func TestRevocationListIsReadByOpenSSL(t *testing.T) {
	a := open(t, t.TempDir())
	f := newFolder(t, a)
	good, revoked, held := issue(t, a, citizen, pki.Signing), issue(t, a, citizen, pki.Signing), issue(t, a, citizen, pki.Signing)
	der, err := a.CRL([]pki.Revoked{
		{Serial: revoked.SerialNumber, At: now.Add(-time.Hour)},
		{Serial: held.SerialNumber, At: now.Add(-time.Minute), Hold: true},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "crl", der)
	out, err := f.openssl("crl", "-in", "crl", "-verify", "-CAfile", "issuing.pem", "-text", "-out", "crl.txt")
	if err != nil || !strings.Contains(out, "verify OK") {
		t.Errorf("%v: %s", err, out)
	}
	text := strings.Join(strings.Fields(string(f.read(t, "crl.txt"))), " ")
	for _, part := range []string{
		"Version 2 (0x1)", "Issuer: C = AZ, O = imza, CN = imza issuing",
		"Last Update: Nov 22 10:30:00 2026 GMT Next Update: Nov 23 10:30:00 2026 GMT",
		"X509v3 CRL Number: " + strconv.FormatInt(now.Unix(), 10),
		fmt.Sprintf("Serial Number: %X Revocation Date: Nov 22 09:30:00 2026 GMT Serial Number", revoked.SerialNumber),
		fmt.Sprintf("Serial Number: %X Revocation Date: Nov 22 10:29:00 2026 GMT CRL entry extensions: X509v3 CRL Reason Code: Certificate Hold", held.SerialNumber),
	} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in %s", part, text)
		}
	}
	f.write(t, "crl.pem", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	for cert, says := range map[*x509.Certificate]string{good: "holder.pem: OK", revoked: "certificate revoked", held: "certificate revoked"} {
		f.write(t, "holder.pem", certPEM(cert))
		out, err := f.verify("-crl_check", "-CRLfile", "crl.pem")
		if (err == nil) != (cert == good) || !strings.Contains(out, says) {
			t.Errorf("%v: %s, want %s", err, out, says)
		}
	}
}

func TestEmptyRevocationListOmitsItsEntries(t *testing.T) {
	a := open(t, t.TempDir())
	der, err := a.CRL(nil, now)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.RevokedCertificateEntries) != 0 {
		t.Fatalf("%+v %v", list, err)
	}
	if err := list.CheckSignatureFrom(a.Issuing); err != nil {
		t.Error(err)
	}
	if err := list.CheckSignatureFrom(open(t, t.TempDir()).Issuing); err == nil {
		t.Error("it is another authority's as well")
	}
}

// records is a lookup over what is on record.
func records(list map[string]*pki.Revoked) func(*big.Int) (*pki.Revoked, error) {
	return func(serial *big.Int) (*pki.Revoked, error) {
		revoked, ok := list[serial.String()]
		if !ok {
			return nil, pki.ErrUnknownCertificate
		}
		return revoked, nil
	}
}

func TestOCSPIsUnderstoodByOpenSSL(t *testing.T) {
	today := time.Now().Truncate(time.Second)
	a, err := pki.OpenAuthority(t.TempDir(), url, today.Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	f := newFolder(t, a)
	at := today.Add(-time.Hour)
	stamp := at.UTC().Format("Jan _2 15:04:05 2006 GMT")
	for _, hash := range []string{"-sha1", "-sha256"} {
		for _, c := range []struct {
			name   string
			record func(serial *big.Int) map[string]*pki.Revoked
			says   []string
		}{
			{"good", func(s *big.Int) map[string]*pki.Revoked { return map[string]*pki.Revoked{s.String(): nil} },
				[]string{"holder.pem: good", "Next Update: "}},
			{"revoked", func(s *big.Int) map[string]*pki.Revoked {
				return map[string]*pki.Revoked{s.String(): {Serial: s, At: at}}
			}, []string{"holder.pem: revoked", "Revocation Time: " + stamp}},
			{"held", func(s *big.Int) map[string]*pki.Revoked {
				return map[string]*pki.Revoked{s.String(): {Serial: s, At: at, Hold: true}}
			}, []string{"holder.pem: revoked", "Reason: certificateHold", "Revocation Time: " + stamp}},
			{"never issued", func(*big.Int) map[string]*pki.Revoked { return nil }, []string{"holder.pem: unknown"}},
		} {
			cert := issue(t, a, citizen, pki.Signing)
			request := f.ask(t, hash, cert)
			answer, err := a.OCSP(request, records(c.record(cert.SerialNumber)), today)
			if err != nil {
				t.Fatal(err)
			}
			out := f.hear(t, hash, answer)
			for _, part := range append(c.says, "Response verify OK") {
				if !strings.Contains(out, part) {
					t.Errorf("%s %s: no %q in %s", c.name, hash, part, out)
				}
			}
		}
	}
}

// ask has OpenSSL make the request that a provider's client would send, with a
// nonce, as it does if not told otherwise.
func (f folder) ask(t *testing.T, hash string, cert *x509.Certificate) []byte {
	t.Helper()
	f.write(t, "holder.pem", certPEM(cert))
	if out, err := f.openssl("ocsp", hash, "-issuer", "issuing.pem", "-cert", "holder.pem", "-nonce", "-reqout", "request"); err != nil {
		t.Fatal(out)
	}
	return f.read(t, "request")
}

// hear has OpenSSL judge the answer about the certificate it asked for.
func (f folder) hear(t *testing.T, hash string, answer []byte) string {
	t.Helper()
	f.write(t, "answer", answer)
	out, _ := f.openssl("ocsp", hash, "-issuer", "issuing.pem", "-cert", "holder.pem", "-respin", "answer", "-CAfile", "anchors.pem")
	return out
}

func TestOCSPRefusesWhatItCannotAnswer(t *testing.T) {
	a, other := open(t, t.TempDir()), open(t, t.TempDir())
	cert := issue(t, a, citizen, pki.Signing)
	f, elsewhere := newFolder(t, a), newFolder(t, other)
	request := f.ask(t, "-sha256", cert)
	never := func(*big.Int) (*pki.Revoked, error) { t.Error("looked up"); return nil, nil }
	parsed, err := ocsp.ParseRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	parsed.IssuerNameHash[0] ^= 1
	misnamed, err := parsed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		request []byte
		says    string
	}{
		{"with the key of one issuer, the name of another", misnamed, "unauthorized (6)"},
		// Of the same name, so it is the key that tells the two apart.
		{"another issuer's", elsewhere.ask(t, "-sha1", cert), "unauthorized (6)"},
		{"another issuer's, SHA-256", elsewhere.ask(t, "-sha256", cert), "unauthorized (6)"},
		{"with a hash that is not kept", f.ask(t, "-sha384", cert), "unauthorized (6)"},
		{"nothing", nil, "malformedrequest (1)"},
		{"garbage", []byte("garbage"), "malformedrequest (1)"},
		{"a cut request", request[:len(request)-1], "malformedrequest (1)"},
		{"a request with trailing octets", append(bytes.Clone(request), 0), "malformedrequest (1)"},
		{"a certificate", cert.Raw, "malformedrequest (1)"},
	} {
		answer, err := a.OCSP(c.request, never, now)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if out := f.hear(t, "-sha256", answer); !strings.Contains(out, "Responder Error: "+c.says) {
			t.Errorf("%s: %s, want %s", c.name, out, c.says)
		}
	}
	down := errors.New("the record is down")
	answer, err := a.OCSP(request, func(*big.Int) (*pki.Revoked, error) { return nil, down }, now)
	if !errors.Is(err, down) || !bytes.Equal(answer, ocsp.TryLaterErrorResponse) {
		t.Errorf("without a record: %x %v", answer, err)
	}
}
