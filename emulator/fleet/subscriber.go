package fleet

import (
	"encoding/binary"
	"strconv"

	"imza/simcard"
)

// Subscriber is who holds a card.
type Subscriber struct {
	Index                   int
	MSISDN                  simcard.MSISDN
	ICCID                   simcard.ICCID
	FIN, GivenName, Surname string
	UserID                  string
	ShortAnswers            bool
	Certificates            []Certificate
}

// Certificate is what a card is to be certified for.
type Certificate struct {
	Key  byte
	Type string // citizen, business or government
	VOEN string // of an organisation's
	RSA  bool
}

// firstKey is the number of a card's only key.
const firstKey = 1

// Subscriber tells who holds card i. It is known by the plan and i alone.
func (f *Fleet) Subscriber(i int) Subscriber {
	if err := f.has(i); err != nil {
		panic(err) // as any index that is out of range
	}
	w := f.who(i)
	s := Subscriber{Index: i, MSISDN: f.msisdn(i), ICCID: iccid(i), FIN: fin(i), UserID: w.digits("user id", 6), ShortAnswers: !w.old}
	s.GivenName, s.Surname = w.name()
	c := Certificate{Key: firstKey, Type: w.kind, RSA: w.rsa}
	if w.kind != citizen {
		c.VOEN = voen(int(w.number(4) % uint64(f.plan.Organisations)))
	}
	s.Certificates = []Certificate{c}
	return s
}

const (
	citizen    = "citizen"
	business   = "business"
	government = "government"
)

// who is what the seed says of a card.
type who struct {
	fleet    *Fleet
	i        int
	chance   [32]byte
	kind     string
	rsa, old bool
	pooled   int
}

func (f *Fleet) who(i int) who {
	w := who{fleet: f, i: i, chance: derive(f.plan.Seed, "subscriber", uint64(i)), kind: business}
	if u := w.share(0); u < f.plan.Citizens {
		w.kind = citizen
	} else if u < f.plan.Citizens+f.plan.Government {
		w.kind = government
	}
	w.rsa, w.old = w.share(1) < f.plan.RSA, w.share(2) < f.plan.Old
	w.pooled = int(w.number(3) % poolSize)
	return w
}

// number is one of the eight numbers of 32 bits that the seed has for a card.
func (w *who) number(n int) uint64 { return uint64(binary.BigEndian.Uint32(w.chance[4*n:])) }

func (w *who) share(n int) float64 { return float64(w.number(n)) / (1 << 32) }

// digits are a secret of so many digits.
func (w *who) digits(what string, n int) string {
	chance := derive(w.fleet.plan.Seed, what, uint64(w.i))
	most := uint64(1)
	for range n {
		most *= 10
	}
	return padded(binary.BigEndian.Uint64(chance[:])%most, n)
}

// padded is a number in so many digits.
func padded(number uint64, digits int) string {
	var b [20]byte
	for place := len(b) - 1; place >= len(b)-digits; place-- {
		b[place] = '0' + byte(number%10)
		number /= 10
	}
	return string(b[len(b)-digits:])
}

func (w *who) name() (given, surname string) {
	n, m := w.number(5), w.number(6)
	surname = surnames[m%uint64(len(surnames))]
	if n&1 == 0 {
		return givenNamesOfWomen[n>>1%uint64(len(givenNamesOfWomen))], surname + "a"
	}
	return givenNamesOfMen[n>>1%uint64(len(givenNamesOfMen))], surname
}

// firstNumber is the first one after a prefix: all have seven digits.
const firstNumber = 1_000_000

func (f *Fleet) msisdn(i int) simcard.MSISDN {
	n := len(f.plan.Operators)
	return simcard.MSISDN("+" + f.plan.Operators[i%n].Prefix + strconv.Itoa(firstNumber+i/n))
}

// iccid has 20 digits: telecommunication, Azerbaijan, a network's 01, and the
// card's number.
func iccid(i int) simcard.ICCID {
	id, err := simcard.NewICCID("8999401" + padded(uint64(i), 12))
	if err != nil {
		panic(err) // it is of digits, and long enough
	}
	return id
}

// finAlphabet has neither I nor O.
const finAlphabet = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"

// fin is different for each card: i + 1 times a number that has no factor in common
// with 34^7, and so goes through all of them.
func fin(i int) string {
	const all = 34 * 34 * 34 * 34 * 34 * 34 * 34
	n := uint64(i+1) * 23_456_789_011 % all
	var b [7]byte
	for place := len(b) - 1; place >= 0; place-- {
		b[place] = finAlphabet[n%34]
		n /= 34
	}
	return string(b[:])
}

func voen(n int) string { return "15" + padded(uint64(n+1), 8) }

// VOENs are those of all organisations.
func (f *Fleet) VOENs() []string {
	all := make([]string, f.plan.Organisations)
	for n := range all {
		all[n] = voen(n)
	}
	return all
}

// OrganisationName is an organisation's name, empty if there is none.
func (f *Fleet) OrganisationName(voen string) string {
	if len(voen) != 10 || voen[:2] != "15" {
		return ""
	}
	n, err := strconv.Atoi(voen[2:])
	if err != nil || n < 1 || n > f.plan.Organisations {
		return ""
	}
	n--
	name := organisations[n%len(organisations)]
	if round := n / len(organisations); round > 0 {
		name += " " + strconv.Itoa(round+1)
	}
	return name + " MMC"
}

var (
	givenNamesOfWomen = []string{"Aysel", "Leyla", "Günel", "Nigar", "Sevda", "Fidan", "Aygün", "Nərmin", "Lalə", "Könül", "Sevinc", "Gülnar", "Ülviyyə", "Arzu", "Xədicə", "Zəhra"}
	givenNamesOfMen   = []string{"Orxan", "Rəşad", "Elçin", "Tural", "Cavid", "Samir", "Elnur", "Vüsal", "Kamran", "Fərid", "Nicat", "Ramil", "Anar", "Emin", "Zaur", "Şahin"}
	surnames          = []string{"Məmmədov", "Əliyev", "Həsənov", "Quliyev", "Rzayev", "İsmayılov", "Kərimov", "Hüseynov", "Abbasov", "Nəbiyev", "Şıxəliyev", "Qasımov",
		"İbrahimov", "Süleymanov", "Cəfərov", "Babayev", "Mustafayev", "Vəliyev", "Bağırov", "Əhmədov", "Rəhimov", "Sadıqov", "Səfərov", "Tağıyev"}
	organisations = []string{"Xəzər", "Abşeron", "Araz", "Kür", "Qafqaz", "Göygöl", "Şahdağ", "Muğan", "Mil", "Talış", "İçərişəhər", "Bayıl", "Nərgiz", "Çinar", "Günəş", "Ulduz"}
)
