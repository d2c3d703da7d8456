package cms_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"imza/pki/cms"
)

// mutations is how many octet strings are shown to both verifiers.
const mutations = 3000

// pkcs7 is the more lenient of the two, so whatever it refuses is nothing that
// this package may accept.
func TestWhatIsAcceptedPKCS7AcceptsToo(t *testing.T) {
	file, want := readStored(t)
	var accepted, lenient int
	judge := func(name string, der []byte) (ok bool) {
		own, second := cms.Verify(der, want), secondOpinion(der, want.Certificate)
		if own == nil {
			accepted++
			if second != nil {
				t.Errorf("%s: accepted, though not by pkcs7 (%v): %x", name, second, der)
			}
		} else if second == nil {
			lenient++
		}
		return own == nil
	}
	for _, s := range file.Good {
		if !judge(s.Name, s.Signature) {
			t.Errorf("%s: refused", s.Name)
		}
	}
	for _, s := range file.Hostile {
		judge(s.Name, s.Signature)
	}
	t.Logf("of %d hostile signatures pkcs7 accepts %d", len(file.Hostile), lenient)

	lenient = 0
	random := rand.New(rand.NewPCG(17, 10))
	for range mutations {
		der := file.Good[random.IntN(len(file.Good))].Signature
		judge("a mutation", mutate(random, der))
	}
	t.Logf("of %d mutations pkcs7 accepts %d that are refused here", mutations, lenient)
	if accepted < len(file.Good) {
		t.Errorf("only %d were accepted", accepted)
	}
}

// mutate changes, drops or doubles one to three octets.
func mutate(random *rand.Rand, der []byte) []byte {
	der = bytes.Clone(der)
	for range 1 + random.IntN(3) {
		i := random.IntN(len(der))
		switch random.IntN(8) {
		case 0:
			der = append(der[:i], der[i+1:]...)
		case 1:
			der = append(der[:i+1], der[i:]...)
		case 2:
			der[i] = [...]byte{0x00, 0x01, 0x7F, 0x80, 0x81, 0xFF, 0x30, 0x31}[random.IntN(8)]
		case 3:
			der[i] ^= 1 << random.IntN(8)
		default:
			der[i] = byte(random.Uint32())
		}
	}
	return der
}
