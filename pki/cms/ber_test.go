package cms_test

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"testing"

	"imza/pki/cms"
)

// BER has many spellings of one SignedData, DER has one. The tests here spell
// each element of a good one otherwise, sign the signed attributes as they then
// are, and want a refusal that comes before the signature is looked at.

// node is an element of a SignedData, to be written in another way.
type node struct {
	tag      byte
	children []*node // of a constructed one
	content  []byte  // of a primitive one
	spell    func(tag byte, content []byte) []byte
}

func constructed(tag byte) bool { return tag&0x20 != 0 }

func parse(t testing.TB, der []byte) *node {
	t.Helper()
	nodes := parseAll(t, der)
	if len(nodes) != 1 {
		t.Fatalf("%d elements in %x", len(nodes), der)
	}
	return nodes[0]
}

func parseAll(t testing.TB, der []byte) (list []*node) {
	t.Helper()
	for len(der) > 0 {
		var value asn1.RawValue
		rest, err := asn1.Unmarshal(der, &value)
		if err != nil {
			t.Fatal(err)
		}
		n := &node{tag: der[0], content: value.Bytes}
		if constructed(n.tag) {
			n.children, n.content = parseAll(t, value.Bytes), nil
		}
		list, der = append(list, n), rest
	}
	return list
}

func (n *node) inner() []byte {
	if !constructed(n.tag) {
		return n.content
	}
	var content []byte
	for _, child := range n.children {
		content = append(content, child.bytes()...)
	}
	return content
}

func (n *node) bytes() []byte {
	if n.spell != nil {
		return n.spell(n.tag, n.inner())
	}
	return minimal(n.tag, n.inner())
}

// at is the element that the indexes lead to.
func (n *node) at(path ...int) *node {
	for _, i := range path {
		n = n.children[i]
	}
	return n
}

// walk visits every element of the SignedData with its path.
func (n *node) walk(visit func(n *node, path []int), path ...int) {
	visit(n, path)
	for i, child := range n.children {
		child.walk(visit, append(slices.Clone(path), i)...)
	}
}

// Paths of what is signed and of what it is signed with.
var (
	pathSigner             = []int{1, 0, 3, 0}
	pathSignedAttrs        = append(slices.Clone(pathSigner), 3)
	pathSignatureAlgorithm = append(slices.Clone(pathSigner), 4)
	pathSignature          = append(slices.Clone(pathSigner), 5)
)

// sortedAttributes puts the signed attributes in DER order, as far as they have
// one, and returns what is signed.
func (n *node) sortedAttributes() []byte {
	attributes := n.at(pathSignedAttrs...)
	slices.SortFunc(attributes.children, func(a, b *node) int { return bytes.Compare(a.bytes(), b.bytes()) })
	return minimal(0x31, attributes.inner())
}

func (n *node) resign(s signer) {
	d := draft{signer: s, hash: crypto.SHA256}
	d.signOver(n.sortedAttributes())
	n.at(pathSignature...).content = d.si.Signature.Bytes
}

// signedAttribute is the one with that OID.
func (n *node) signedAttribute(oid asn1.ObjectIdentifier) *node {
	for _, a := range n.at(pathSignedAttrs...).children {
		if bytes.Equal(a.children[0].bytes(), encode(oid)) {
			return a
		}
	}
	return &node{}
}

func minimal(tag byte, content []byte) []byte {
	header := []byte{tag, byte(len(content))}
	if n := len(content); n > 0xFF {
		header = []byte{tag, 0x82, byte(n >> 8), byte(n)}
	} else if n > 0x7F {
		header = []byte{tag, 0x81, byte(n)}
	}
	return append(header, content...)
}

// longLength writes the length with an octet more than it takes.
func longLength(tag byte, content []byte) []byte {
	header := []byte{tag, 0x81, byte(len(content))}
	if n := len(content); n > 0xFF {
		header = []byte{tag, 0x83, 0, byte(n >> 8), byte(n)}
	} else if n > 0x7F {
		header = []byte{tag, 0x82, 0, byte(n)}
	}
	return append(header, content...)
}

func indefinite(tag byte, content []byte) []byte {
	return slices.Concat([]byte{tag, 0x80}, content, []byte{0, 0})
}

// longTag writes the tag number in an octet of its own.
func longTag(tag byte, content []byte) []byte {
	return append([]byte{tag&0xE0 | 0x1F, tag & 0x1F}, minimal(tag, content)[1:]...)
}

// inPieces writes a string as constructed of two.
func inPieces(tag byte, content []byte) []byte {
	half := len(content) / 2
	return minimal(tag|0x20, slices.Concat(minimal(tag, content[:half]), minimal(tag, content[half:])))
}

// fieldAt names the field that the element at a path is of.
func (n *node) fieldAt(path []int) string {
	if len(path) < 5 {
		names := map[string]string{
			"[]": "ContentInfo", "[0]": "contentType", "[1]": "content", "[1 0]": "content",
			"[1 0 3]": "signerInfos", "[1 0 3 0]": "signerInfos",
		}
		if name, ok := names[fmt.Sprint(path)]; ok {
			return name
		}
	}
	if path[2] < 3 {
		return [...]string{"SignedData.version", "digestAlgorithms", "encapContentInfo"}[path[2]]
	}
	if field := path[4]; field != 3 {
		return [...]string{"SignerInfo.version", "sid", "SignerInfo.digestAlgorithm", "", "signatureAlgorithm", "signature"}[field]
	}
	if len(path) < 7 || path[6] == 0 {
		return "signedAttrs" // of an unknown attribute, there is no name to give
	}
	return map[string]string{
		string(encode(oidContentType)):          "contentType",
		string(encode(oidMessageDigest)):        "messageDigest",
		string(encode(oidSigningTime)):          "signingTime",
		string(encode(oidSigningCertificateV2)): "signingCertificateV2",
		string(encode(oidShownText)):            "shownText",
	}[string(minimal(6, n.at(path[:6]...).children[0].content))]
}

func TestOtherSpellingsThanDERAreRefused(t *testing.T) {
	s := p256Signer(t)
	want := expect(s.cert, crypto.SHA256)
	der := good(s, want)
	original := parse(t, der)
	for _, c := range []struct {
		name  string
		spell func(tag byte, content []byte) []byte
		of    func(*node) bool
	}{
		{"a length not minimal", longLength, func(*node) bool { return true }},
		{"an indefinite length", indefinite, func(n *node) bool { return constructed(n.tag) }},
		{"a tag not minimal", longTag, func(*node) bool { return true }},
		{"a string in pieces", inPieces, func(n *node) bool { return n.tag == asn1.TagOctetString || n.tag == asn1.TagUTCTime }},
		{"an INTEGER not minimal", func(tag byte, content []byte) []byte { return minimal(tag, append([]byte{0}, content...)) },
			func(n *node) bool { return n.tag == asn1.TagInteger }},
		{"an INTEGER with a sign", func(tag byte, content []byte) []byte { return minimal(tag, append([]byte{0xFF}, content...)) },
			func(n *node) bool { return n.tag == asn1.TagInteger }},
		{"another class of tag", func(tag byte, content []byte) []byte { return minimal(tag^0x40, content) }, func(*node) bool { return true }},
		{"primitive for constructed", func(tag byte, content []byte) []byte { return minimal(tag^0x20, content) }, func(*node) bool { return true }},
		{"a length too long by one", func(tag byte, content []byte) []byte {
			long := minimal(tag, append(slices.Clone(content), 0))
			return long[:len(long)-1]
		}, func(*node) bool { return true }},
	} {
		var count int
		original.walk(func(n *node, path []int) {
			if !c.of(n) {
				return
			}
			count++
			spoiled := parse(t, der)
			spoiled.at(path...).spell = c.spell
			spoiled.resign(s)
			err := cms.Verify(spoiled.bytes(), want)
			if c.name == "a length too long by one" {
				// The element swallows what follows, and that decides who notices.
				refusedForItsForm(t, fmt.Sprintf("%s at %v", c.name, path), err)
				return
			}
			refused(t, fmt.Sprintf("%s at %v", c.name, path), err, original.fieldAt(path), "before octet")
		})
		if count == 0 {
			t.Errorf("%s: nothing to spell so", c.name)
		}
	}
}

// Every constructed element must end with its last one.
func TestTrailingOctetsAreRefusedAtEveryLevel(t *testing.T) {
	s := p256Signer(t)
	want := expect(s.cert, crypto.SHA256)
	der := good(s, want)
	original := parse(t, der)
	// Where the reader of the whole notices, and not that of the last part.
	whole := map[string]string{"[]": "content", "[1]": "content", "[1 0]": "signerInfos", "[1 0 3 0]": "SignerInfo"}
	for _, trailing := range [][]byte{{0}, {0, 0}, {4, 0}, {5, 0}} {
		original.walk(func(n *node, path []int) {
			if !constructed(n.tag) {
				return
			}
			spoiled := parse(t, der)
			spoiled.at(path...).spell = func(tag byte, content []byte) []byte {
				return minimal(tag, append(slices.Clone(content), trailing...))
			}
			spoiled.resign(s)
			field, ok := whole[fmt.Sprint(path)]
			if !ok {
				field = original.fieldAt(path)
			}
			switch {
			case len(path) == 6 && path[4] == 3: // an attribute has a name once its OID is read
				field = original.fieldAt(append(slices.Clone(path), 1))
			case fmt.Sprint(path) == "[1 0 1 0]" && trailing[0] == 5: // a NULL is right there, but not there alone
				field = "SignerInfo.digestAlgorithm"
			}
			refused(t, fmt.Sprintf("% x at the end of %v", trailing, path), cms.Verify(spoiled.bytes(), want), field, "before octet")
		})
		refused(t, fmt.Sprintf("% x behind all", trailing), cms.Verify(append(slices.Clone(der), trailing...), want), "ContentInfo", "before octet")
	}
}

// refusedForItsForm checks that the refusal came before the signature was
// looked at.
func refusedForItsForm(t *testing.T, name string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", name)
	} else if !strings.Contains(err.Error(), " before octet ") {
		t.Errorf("%s: refused with %q only", name, err)
	}
}

// The offset in an error is where the reading stopped: in a SignedData that
// ends too early, before its end; behind what is wrong, elsewhere.
func TestErrorsSayWhere(t *testing.T) {
	s := p256Signer(t)
	want := expect(s.cert, crypto.SHA256)
	tree := parse(t, good(s, want))
	tree.at(1, 0, 0).content = []byte{3}
	der := tree.bytes()
	at := bytes.Index(der, []byte{2, 1, 3})
	refused(t, "version 3", cms.Verify(der, want), "SignedData.version", fmt.Sprintf(" before octet %d:", at))
	// Not the buffer's capacity, but the signature's length counts.
	refused(t, "version 3 in a longer buffer", cms.Verify(append(make([]byte, 0, 4096), der...), want), "SignedData.version", fmt.Sprintf(" before octet %d:", at))
}
