package emulator

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
)

const cardNumber = "899940100000000001"

func iccid(t testing.TB, digits string) simcard.ICCID {
	t.Helper()
	n, err := simcard.NewICCID(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// full is a profile with something in every field.
func full(t testing.TB) *Profile {
	t.Helper()
	p := NewProfile(iccid(t, cardNumber), testKeys, testPIN1, testPIN2, testPUK)
	for number, key := range []crypto.Signer{testP256(), testP384(), testRSA()} {
		if err := p.AddKey(byte(number+1), applet.Operation(number%2+1), key); err != nil {
			t.Fatal(err)
		}
		if err := p.SetCertificate(byte(number+1), issue(key.Public()).Raw); err != nil {
			t.Fatal(err)
		}
	}
	p.Counter, p.Reference, p.Fault = ota.MaxCounter-9, 0xFE, AnotherDigest
	p.PIN1.Tries, p.PIN2.Tries, p.PUK.Tries = 2, 1, 7
	return p
}

func TestProfileSurvivesJSON(t *testing.T) {
	p := full(t)
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseProfile(raw)
	if err != nil {
		t.Fatal(err)
	}
	// The parsed keys are not stored; they come back from what is.
	for i := range p.Keys {
		if !p.Keys[i].signer.(interface{ Equal(crypto.PrivateKey) bool }).Equal(back.Keys[i].signer) {
			t.Errorf("key %d comes back as another", p.Keys[i].Number)
		}
		p.Keys[i].signer, back.Keys[i].signer = nil, nil
	}
	if !reflect.DeepEqual(p, back) {
		t.Errorf("%+v\ncomes back as\n%+v", p, back)
	}
}

func TestDamagedKeysAreNoCard(t *testing.T) {
	for name, private := range map[string][]byte{"nothing": nil, "no key": {0x30, 0x00}, "a key that only agrees on others": x25519PKCS8} {
		c := newCard(t, nil)
		c.profile.Keys[0].Private, c.profile.Keys[0].signer = private, nil
		if _, err := NewSIM(c.profile, c.save); err == nil || !strings.Contains(err.Error(), "key 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(Profile).AddKey(1, applet.Sign, badSigner{}); err == nil {
		t.Error("a key that cannot be stored was put on the card")
	}
}

// x25519PKCS8 is RFC 8410's form of a key that does not sign.
var x25519PKCS8 = append([]byte{0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x6E, 4, 0x22, 4, 0x20}, make([]byte, 32)...)

type badSigner struct{ crypto.Signer }

func TestCardNeedsKeysOfAES128(t *testing.T) {
	for _, keys := range []ota.Keys{{}, {KIc: testKeys.KIc}, {KID: testKeys.KID}, {KIc: make([]byte, 8), KID: make([]byte, 8)}} {
		p := NewProfile(iccid(t, cardNumber), keys, testPIN1, testPIN2, testPUK)
		if _, err := NewSIM(p, func(*Profile) error { return nil }); err == nil {
			t.Errorf("a card with KIc of %d octets and KID of %d", len(keys.KIc), len(keys.KID))
		}
	}
}

func TestShelfGivesBackWhatItGot(t *testing.T) {
	shelf := Shelf{filepath.Join(t.TempDir(), "kartlar", "1")} // made by the first Put
	p := full(t)
	if _, err := shelf.Get(p.ICCID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a card that is not there: %v", err)
	}
	for range 2 { // the second replaces the first
		p.Counter++
		if err := shelf.Put(p); err != nil {
			t.Fatal(err)
		}
		back, err := shelf.Get(p.ICCID)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(p)
		if got, _ := json.Marshal(back); string(got) != string(want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// PINs, OTA keys and private keys are the owner's alone.
func TestShelfIsTheOwnersAlone(t *testing.T) {
	shelf := Shelf{filepath.Join(t.TempDir(), "cards")}
	if err := shelf.Put(full(t)); err != nil {
		t.Fatal(err)
	}
	modes := map[string]fs.FileMode{}
	if err := filepath.WalkDir(shelf.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		modes[filepath.Base(path)] = info.Mode().Perm()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{"cards": 0o700, string(iccid(t, cardNumber)) + ".json": 0o600, string(iccid(t, cardNumber)) + ".json.lock": 0o600}
	if !reflect.DeepEqual(modes, want) {
		t.Errorf("modes are %v, want %v", modes, want)
	}
}

func TestCrashDuringAPutDoesNoHarm(t *testing.T) {
	shelf := Shelf{t.TempDir()}
	p := full(t)
	if err := shelf.Put(p); err != nil {
		t.Fatal(err)
	}
	next := shelf.Path(p.ICCID) + ".next"
	for _, left := range []string{"", `{"ICCID":`, strings.Repeat("x", 100_000)} {
		if err := os.WriteFile(next, []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		back, err := shelf.Get(p.ICCID)
		if err != nil || back.Counter != p.Counter {
			t.Fatalf("%v", err)
		}
		back.Counter--
		if err := shelf.Put(back); err != nil {
			t.Fatal(err)
		}
		if p, err = shelf.Get(p.ICCID); err != nil || p.Counter != back.Counter {
			t.Fatalf("%v", err)
		}
		if _, err := os.Stat(next); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the half-written file stays: %v", err)
		}
	}
}

func TestFileOfAnotherCardIsRefused(t *testing.T) {
	shelf := Shelf{t.TempDir()}
	p := full(t)
	if err := shelf.Put(p); err != nil {
		t.Fatal(err)
	}
	other := iccid(t, "899940100000000002")
	if err := os.Rename(shelf.Path(p.ICCID), shelf.Path(other)); err != nil {
		t.Fatal(err)
	}
	if got, err := shelf.Get(other); err == nil {
		t.Errorf("card %s for %s", got.ICCID, other)
	}
	for name, text := range map[string]string{"empty": "", "cut off": `{"ICCID":"8999`, "another kind": `[]`, "nothing in it": `{}`} {
		if err := os.WriteFile(shelf.Path(other), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := shelf.Get(other); err == nil {
			t.Errorf("a file that is %s was read", name)
		} else if strings.Contains(err.Error(), testPIN2) {
			t.Errorf("the PIN is in an error: %v", err)
		}
	}
}

// A card on a shelf that cannot take it does not sign: its memory fails.
func TestCardOnALostShelfDoesNotSign(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shelf := Shelf{filepath.Join(file, "cards")}
	c := newCard(t, nil)
	if err := shelf.Put(c.profile); err == nil {
		t.Fatal("stored below a file")
	}
	sim, err := NewSIM(c.profile, shelf.Put)
	if err != nil {
		t.Fatal(err)
	}
	boot(t, sim)
	x := &terminal{TB: t, card: sim}
	if sw := x.envelope(deliver(t, c.segments(t, challenge())[0])); sw != simcard.SWMemory {
		t.Errorf("%s, want 6581", sw)
	}
	x.idle()
}

// A card lives on its shelf through many starts.
func TestCardOnAShelf(t *testing.T) {
	shelf := Shelf{t.TempDir()}
	c := newCard(t, nil)
	if err := shelf.Put(c.profile); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p, err := shelf.Get(iccid(t, cardNumber))
		if err != nil {
			t.Fatal(err)
		}
		sim, err := NewSIM(p, shelf.Put)
		if err != nil {
			t.Fatal(err)
		}
		boot(t, sim)
		(&terminal{TB: t, card: sim}).signs(c)
	}
	if p, err := shelf.Get(iccid(t, cardNumber)); err != nil || p.Counter != c.counter || p.Reference != 3 {
		t.Errorf("%v %v", p.Counter, err)
	}
}

func TestCardsOnOneShelfDoNotMeet(t *testing.T) {
	shelf := Shelf{t.TempDir()}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			number, err := simcard.NewICCID(fmt.Sprintf("8999401000000001%02d", i))
			if err != nil {
				t.Error(err)
				return
			}
			p := NewProfile(number, testKeys, testPIN1, testPIN2, testPUK)
			for counter := range uint64(50) {
				p.Counter = counter
				if err := shelf.Put(p); err != nil {
					t.Error(err)
				}
				if back, err := shelf.Get(number); err != nil || back.Counter != counter {
					t.Errorf("%+v %v", back, err)
				}
			}
		})
	}
	all.Wait()
}

func TestKeysAreMadeOnce(t *testing.T) {
	for _, kind := range []applet.KeyKind{applet.P256, applet.P384, applet.RSA2048} {
		a, err := NewKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := kindOf(a.Public()); got != kind || err != nil {
			t.Errorf("%s is made as %s, %v", kind, got, err)
		}
		if b, err := NewKey(kind); err != nil || a.(interface{ Equal(crypto.PrivateKey) bool }).Equal(b) {
			t.Errorf("the same %s key twice, or %v", kind, err)
		}
	}
	if _, err := NewKey(9); err == nil {
		t.Error("a key of no kind was made")
	}
}

// Get reads what Put stored.
func (s Shelf) Get(iccid simcard.ICCID) (*Profile, error) {
	p, err := readProfile(s.Path(iccid))
	if err == nil && p.ICCID != iccid {
		return nil, errors.New("emulator: the file is of another card")
	}
	return p, err
}
