package fleet

import (
	"crypto/ecdsa"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imza/simcard"
)

var testPlan = Plan{Seed: 1, Cards: 3000, Organisations: 20, Citizens: 0.2, Government: 0.3, Old: 0.4}

// The same plan makes the same cards in another folder; another seed others.
func TestPlanDecides(t *testing.T) {
	one, two := newFleet(t, testPlan), newFleet(t, testPlan)
	other := testPlan
	other.Seed = 2
	three := newFleet(t, other)
	same := 0
	for i := range one.plan.Cards {
		a, b, c := one.Subscriber(i), two.Subscriber(i), three.Subscriber(i)
		if a.MSISDN != b.MSISDN || a.UserID != b.UserID || a.GivenName != b.GivenName || a.Surname != b.Surname || !slices.Equal(a.Certificates, b.Certificates) {
			t.Fatalf("%+v and %+v", a, b)
		}
		if a.UserID == c.UserID {
			same++
		}
	}
	if same > 10 {
		t.Errorf("%d User IDs are those of another seed", same)
	}
	for i := range 20 {
		var keys [3]*ecdsa.PrivateKey
		for n, f := range []*Fleet{one, two, three} {
			private, err := f.private(i, firstKey)
			if err != nil {
				t.Fatal(err)
			}
			keys[n] = private.(*ecdsa.PrivateKey)
		}
		if !keys[0].Equal(keys[1]) || keys[0].Equal(keys[2]) {
			t.Errorf("the key of card %d does not follow from the seed", i)
		}
	}
	if string(one.MasterKey()) != string(two.MasterKey()) || string(one.MasterKey()) == string(three.MasterKey()) {
		t.Error("the master key does not follow from the seed")
	}
	text, err := os.ReadFile(filepath.Join(one.dir, "master.key"))
	if err != nil || !regexp.MustCompile("^[0-9a-f]{32}\n$").Match(text) {
		t.Errorf("master.key: %v", err)
	}
}

// Everything that must be somebody's own is, and has the form that gateways want.
func TestSubscribers(t *testing.T) {
	f := &Fleet{plan: testPlan.withDefaults()}
	f.plan.RSA = 0.1
	forms := map[string]*regexp.Regexp{
		"FIN": regexp.MustCompile(`^[0-9A-HJ-NP-Z]{7}$`), "User ID": regexp.MustCompile(`^[0-9]{6}$`), "VÖEN": regexp.MustCompile(`^[0-9]{10}$`),
	}
	seen := map[string]bool{}
	kinds, voens := map[string]int{}, map[string]int{}
	rsa, old := 0, 0
	for i := range f.plan.Cards {
		s := f.Subscriber(i)
		for _, own := range []string{string(s.MSISDN), string(s.ICCID), "FIN " + s.FIN} {
			if seen[own] {
				t.Fatalf("%s is there twice", own)
			}
			seen[own] = true
		}
		if _, err := simcard.ParseMSISDN(string(s.MSISDN)); err != nil {
			t.Fatal(s.MSISDN, err)
		}
		if _, err := simcard.ParseICCID(string(s.ICCID)); err != nil {
			t.Fatal(s.ICCID, err)
		}
		if n := (&network{people: &crowd{fleet: f}, operator: i % 3}); !n.Has(s.MSISDN.Digits()) {
			t.Fatalf("nobody has %s", s.MSISDN)
		}
		c := s.Certificates[0]
		if !forms["FIN"].MatchString(s.FIN) || !forms["User ID"].MatchString(s.UserID) || s.GivenName == "" || s.Surname == "" {
			t.Fatalf("%+v", s)
		}
		if (c.VOEN == "") != (c.Type == citizen) || c.VOEN != "" && (!forms["VÖEN"].MatchString(c.VOEN) || f.OrganisationName(c.VOEN) == "" || !slices.Contains(f.VOENs(), c.VOEN)) {
			t.Fatalf("%+v", c)
		}
		kinds[c.Type]++
		voens[c.VOEN]++
		if c.RSA {
			rsa++
		}
		if !s.ShortAnswers {
			old++
		}
	}
	near := func(what string, n int, share float64) {
		if got := float64(n) / float64(f.plan.Cards); got < share-0.04 || got > share+0.04 {
			t.Errorf("%s: %.3f, want %.3f", what, got, share)
		}
	}
	near("citizens", kinds[citizen], 0.2)
	near("government", kinds[government], 0.3)
	near("business", kinds[business], 0.5)
	near("RSA", rsa, 0.1)
	near("old", old, 0.4)
	if len(voens) != 21 {
		t.Errorf("%d organisations have somebody, want 20", len(voens)-1)
	}
	names := map[string]bool{}
	for _, v := range f.VOENs() {
		names[f.OrganisationName(v)] = true
	}
	if len(names) != 20 || f.OrganisationName("1500000021") != "" || f.OrganisationName("") != "" {
		t.Errorf("the organisations are called %v", names)
	}
}

// The last card of the largest fleet has numbers of its own, too.
func TestLastCard(t *testing.T) {
	f := &Fleet{plan: Plan{Cards: MaxCards, Operators: []Operator{{"one", "99450"}}, Organisations: 1}}
	s := f.Subscriber(MaxCards - 1)
	if _, err := simcard.ParseMSISDN(string(s.MSISDN)); err != nil || s.MSISDN != "+994508999999" {
		t.Errorf("%s: %v", s.MSISDN, err)
	}
	n := &network{people: &crowd{fleet: f}}
	for number, has := range map[string]bool{"994508999999": true, "994509000000": false, "994501000000": true, "994500999999": false,
		"99450899999": false, "9945089999990": false, "994518999999": false, "99450899999x": false, "": false, "99450": false, "99450-000001": false} {
		if n.Has(number) != has {
			t.Errorf("%q: %t", number, !has)
		}
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	f, err := Create(dir, testPlan)
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t)
	a.enrol(t, f, 7)
	f.Close()
	if f, err = Create(dir, testPlan); err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]bool{6: false, 7: true, 2999: false} {
		if is, err := f.Enrolled(i); err != nil || is != want {
			t.Errorf("card %d enrolled %t, %v", i, is, err)
		}
	}
	if _, err := f.Enrolled(3000); err == nil {
		t.Error("card 3000 of 3000 may be enrolled")
	}
	f.Close()
	for what, change := range map[string]func(*Plan){
		"3000 cards, not 5":                  func(p *Plan) { p.Cards = 5 },
		"seed 1, not 2":                      func(p *Plan) { p.Seed = 2 },
		"20 organisations, not 10":           func(p *Plan) { p.Organisations = 0 },
		"0 RSA cards, not 0.1":               func(p *Plan) { p.RSA = 0.1 },
		"azercell 99450, bakcell 99455, nar": func(p *Plan) { p.Operators = DefaultOperators()[:1] },
	} {
		p := testPlan
		change(&p)
		if _, err := Create(dir, p); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("another plan is told %v, want %q", err, what)
		}
	}
	// One that was cut off before its plan was there is made anew.
	if err := os.Remove(filepath.Join(dir, planName)); err != nil {
		t.Fatal(err)
	}
	if f, err = Create(dir, testPlan); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if is, err := f.Enrolled(7); err != nil || is {
		t.Errorf("enrolled in a new fleet: %t, %v", is, err)
	}
}

func TestPlansThatAreNone(t *testing.T) {
	for says, p := range map[string]Plan{
		"cards: 0":                         {},
		"cards: 8000001":                   {Cards: MaxCards + 1},
		"organisations: -1":                {Cards: 1, Organisations: -1},
		"rsa: 1.5":                         {Cards: 1, RSA: 1.5},
		"old: -1":                          {Cards: 1, Old: -1},
		"citizens, government":             {Cards: 1, Citizens: 0.6, Government: 0.6},
		`operators[0].name: "A"`:           {Cards: 1, Operators: []Operator{{"A", "1"}}},
		`operators[0].prefix: "0"`:         {Cards: 1, Operators: []Operator{{"a", "0"}}},
		`operators[0].prefix: "123456789"`: {Cards: 1, Operators: []Operator{{"a", "123456789"}}},
		"operators[1].name":                {Cards: 1, Operators: []Operator{{"a", "1"}, {"a", "2"}}},
		"operators[1].prefix: 994501 and":  {Cards: 1, Operators: []Operator{{"a", "99450"}, {"b", "994501"}}},
	} {
		dir := t.TempDir()
		if _, err := Create(dir, p); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v is told %v, want %s", p, err, says)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%s: files were made", says)
		}
	}
	for name, text := range map[string]string{"not JSON": "{", "a later version": `{"Version": 2}`, "of no cards": `{"Version": 1, "Plan": {}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, planName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a plan that is %s: %v", name, err)
		}
	}
}

func TestCertificatesThatAreNone(t *testing.T) {
	f, a := newFleet(t, Plan{Seed: 1, Cards: 3}), newAuthority(t)
	request, err := f.Request(0, firstKey)
	if err != nil {
		t.Fatal(err)
	}
	good := a.issue(t, request, f.Subscriber(0))
	for name, c := range map[string]struct {
		card int
		key  byte
		der  []byte
	}{"another card's": {1, 1, good}, "no certificate": {0, 1, []byte("x")}, "empty": {0, 1, nil}, "of no card": {3, 1, good}, "of no key": {0, 2, good},
		"with more behind it": {0, 1, append(slices.Clone(good), 0)}} {
		if err := f.SetCertificate(c.card, c.key, c.der); err == nil {
			t.Errorf("a certificate that is %s is put on a card", name)
		}
	}
	if _, err := f.Request(0, 2); err == nil {
		t.Error("a key that is none has a request")
	}
	if err := f.certificates.put(0, make([]byte, slotSize)); err == nil {
		t.Error("a certificate longer than a slot has room")
	}
	if err := f.SetCertificate(0, 1, good); err != nil {
		t.Fatal(err)
	}
	// Somebody writes into the file.
	if _, err := f.certificates.file.WriteAt([]byte{0xFF}, 100); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.certificates.get(0); err == nil || !strings.Contains(err.Error(), "card 0 is damaged") {
		t.Errorf("a damaged slot: %v", err)
	}
	if err := f.certificates.file.Truncate(200); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.certificates.get(0); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("a slot that is cut off: %v", err)
	}
	start(t, f, "", Options{})
	if got := newESME(t, f).ask(0, 1, 10e9); got != "undeliverable" {
		t.Errorf("a message to a card with a damaged certificate: %s", got)
	}
}
