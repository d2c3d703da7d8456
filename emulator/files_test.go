package emulator

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
)

// answered sends an APDU as it is, with none of T=0's procedures, and takes what
// comes back apart.
func answered(t testing.TB, card simcard.Card, apdu string) (data []byte, sw simcard.SW) {
	t.Helper()
	answer, err := card.Transmit(unhex(t, apdu))
	if err != nil || len(answer) < 2 {
		t.Fatalf("%s: %X %v", apdu, answer, err)
	}
	n := len(answer) - 2
	return answer[:n], simcard.SW(answer[n])<<8 | simcard.SW(answer[n+1])
}

// done is answered of what must go well.
func done(t testing.TB, card simcard.Card, apdu string) []byte {
	t.Helper()
	data, sw := answered(t, card, apdu)
	if sw != simcard.SWOK {
		t.Fatalf("%s: %s", apdu, sw)
	}
	return data
}

// fetched is done, with GET RESPONSE where the card has something to say.
func fetched(t testing.TB, card simcard.Card, apdu string) []byte {
	t.Helper()
	data, sw := answered(t, card, apdu)
	if sw>>8 != 0x61 || len(data) > 0 {
		t.Fatalf("%s: %X %s, want 61XX", apdu, data, sw)
	}
	return done(t, card, fmt.Sprintf("00C00000%02X", byte(sw)))
}

// tlv is one BER-TLV with a tag of one octet.
type tlv struct {
	tag   byte
	value []byte
}

// tlvs takes octets apart by ISO 8825-1 §8.1, for tags and lengths as small as a
// card's.
func tlvs(t testing.TB, b []byte) (all []tlv) {
	t.Helper()
	for i := 0; i < len(b); {
		if i+2 > len(b) || b[i+1] >= 0x80 || i+2+int(b[i+1]) > len(b) {
			t.Fatalf("%X is no sequence of TLVs", b)
		}
		n := int(b[i+1])
		all = append(all, tlv{b[i], b[i+2 : i+2+n]})
		i += 2 + n
	}
	return all
}

// control is an FCP template, read by TS 102 221 §11.1.1.3 and §11.1.1.4.
type control struct {
	descriptor, id, aid, size, short []byte
	shortIs                          bool // 88 is there, maybe empty
	arr                              []byte
	cycle                            byte
	pins                             []byte // references of the PIN status
	enabled                          []bool
	characteristics                  byte
}

func controlOf(t testing.TB, fcp []byte) (c control) {
	t.Helper()
	whole := tlvs(t, fcp)
	if len(whole) != 1 || whole[0].tag != 0x62 {
		t.Fatalf("%X is no FCP template", fcp)
	}
	seen := make(map[byte]bool)
	for _, e := range tlvs(t, whole[0].value) {
		if seen[e.tag] {
			t.Fatalf("%X has %02X twice", fcp, e.tag)
		}
		seen[e.tag] = true
		switch e.tag {
		case 0x82:
			c.descriptor = e.value
		case 0x83:
			c.id = e.value
		case 0x84:
			c.aid = e.value
		case 0x80:
			c.size = e.value
		case 0x88:
			c.short, c.shortIs = e.value, true
		case 0x8A:
			if len(e.value) != 1 {
				t.Fatalf("life cycle %X", e.value)
			}
			c.cycle = e.value[0]
		case 0x8B:
			c.arr = e.value
		case 0xA5:
			for _, p := range tlvs(t, e.value) {
				if p.tag == 0x80 && len(p.value) == 1 {
					c.characteristics = p.value[0]
				}
			}
		case 0xC6:
			status := tlvs(t, e.value)
			if len(status) == 0 || status[0].tag != 0x90 {
				t.Fatalf("PIN status %X does not begin with PS_DO", e.value)
			}
			for i, r := range status[1:] {
				if r.tag != 0x83 || len(r.value) != 1 || i/8 >= len(status[0].value) {
					t.Fatalf("PIN status %X", e.value)
				}
				c.pins = append(c.pins, r.value[0])
				c.enabled = append(c.enabled, status[0].value[i/8]>>(7-i%8)&1 == 1)
			}
		default:
			t.Errorf("%X has an element %02X", fcp, e.tag)
		}
	}
	return c
}

// wantedFile is what a file of the card is to be, by TS 102 221 §13, TS 31.102
// §4.2 and annex H, and for the signing applet docs/card.md.
type wantedFile struct {
	name            string
	id              uint16
	short           byte
	size            int // of a transparent file
	record, records int // of a linear fixed one
	holder          bool
}

// The card's directories, each by what selects it from anywhere.
const (
	selectsMF     = "00A4000C023F00"
	selectsUSIM   = "00A4040C10A0000000871002FFFFFFFF8900000100"
	selectsSigner = "00A4040C06F0494D5A4101"
)

var wantedFiles = map[string][]wantedFile{
	selectsMF: {
		{"EF_DIR", 0x2F00, 0x1E, 0, 26, 2, false}, {"EF_ICCID", 0x2FE2, 0x02, 10, 0, 0, false},
		{"EF_PL", 0x2F05, 0x05, 6, 0, 0, false}, {"EF_ARR", 0x2F06, 0x06, 0, 22, 3, false},
	},
	selectsUSIM: {
		{"EF_LI", 0x6F05, 0x02, 6, 0, 0, false}, {"EF_ARR", 0x6F06, 0x17, 0, 22, 3, false}, {"EF_IMSI", 0x6F07, 0x07, 9, 0, 0, true},
		{"EF_Keys", 0x6F08, 0x08, 33, 0, 0, true}, {"EF_KeysPS", 0x6F09, 0x09, 33, 0, 0, true}, {"EF_HPPLMN", 0x6F31, 0x12, 1, 0, 0, true},
		{"EF_UST", 0x6F38, 0x04, 8, 0, 0, true}, {"EF_EST", 0x6F56, 0x05, 1, 0, 0, true}, {"EF_ACC", 0x6F78, 0x06, 2, 0, 0, true},
		{"EF_FPLMN", 0x6F7B, 0x0D, 12, 0, 0, true}, {"EF_LOCI", 0x6F7E, 0x0B, 11, 0, 0, true}, {"EF_PSLOCI", 0x6F73, 0x0C, 14, 0, 0, true},
		{"EF_AD", 0x6FAD, 0x03, 4, 0, 0, false}, {"EF_ECC", 0x6FB7, 0x01, 0, 4, 1, false}, {"EF_START-HFN", 0x6F5B, 0x0F, 6, 0, 0, true},
		{"EF_THRESHOLD", 0x6F5C, 0x10, 3, 0, 0, true}, {"EF_NETPAR", 0x6FC4, 0, 46, 0, 0, true}, {"EF_SPN", 0x6F46, 0, 17, 0, 0, false},
		{"EF_MSISDN", 0x6F40, 0, 0, 14, 1, true}, {"EF_SMSP", 0x6F42, 0, 0, 28, 1, true},
	},
	selectsSigner: {
		{"EF_ARR", 0x6F06, 0x06, 0, 22, 3, false}, {"applet", 0x6F01, 0x01, 15, 0, 0, false}, {"keys", 0x6F02, 0x02, 0, 4, 2, false},
		{"certificate 1", 0x4C01, 0, -1, 0, 0, false}, {"request 1", 0x4D01, 0, 300, 0, 0, false},
		{"certificate 7", 0x4C07, 0, 0, 0, 0, false}, {"request 7", 0x4D07, 0, 0, 0, 0, false},
	},
}

// fileCard is a card that asks for the telephone's PIN, 0000, has the ADM code
// 11223344 and two keys, of which one has a certificate and a request.
func fileCard(t testing.TB) *card {
	t.Helper()
	c := newCard(t, nil)
	if err := c.profile.AddKey(7, applet.Authenticate, testP384()); err != nil {
		t.Fatal(err)
	}
	c.profile.Keys[0].Request = bytes.Repeat([]byte{0x5A}, 300)
	c.profile.Telephone.Asks = true
	c.profile.ADM = NewPUK("11223344")
	c.Reset()
	return c
}

const (
	givesPIN = "0020000108 30303030FFFFFFFF"
	givesADM = "0020000A08 3131323233333434"
)

// Each file is the same however it is selected, and what the standards say.
func TestFilesOfTheCard(t *testing.T) {
	c := fileCard(t)
	for df, files := range wantedFiles {
		shorts := make(map[byte]string)
		for _, w := range files {
			t.Run(w.name, func(t *testing.T) {
				if w.size < 0 {
					w.size = len(c.cert.Raw)
				}
				done(t, c, df)
				fcp := fetched(t, c, fmt.Sprintf("00A4000402%04X", w.id))
				path := fmt.Sprintf("00A4080402%04X", w.id)
				if df != selectsMF {
					path = fmt.Sprintf("00A40804047FFF%04X", w.id)
				}
				for _, way := range []string{
					path,
					fmt.Sprintf("00A4090402%04X", w.id),   // from the current DF
					fmt.Sprintf("00A4000002%04X", w.id),   // P2 of ISO 7816-4
					fmt.Sprintf("00A4000402%04X00", w.id), // with the Le that readers add
				} {
					if again := fetched(t, c, way); !bytes.Equal(again, fcp) {
						t.Errorf("%s: %X, want %X", way, again, fcp)
					}
				}
				ofFile(t, w, controlOf(t, fcp))
				if other, twice := shorts[w.short]; twice && w.short != 0 {
					t.Errorf("has the short id of %s", other)
				}
				shorts[w.short] = w.name
			})
		}
	}
	// The list above is all: a file that is added is to be looked at, too.
	for df, have := range map[string]*file{selectsMF: mf, selectsUSIM: adfUSIM, selectsSigner: adfSigner} {
		n := 0
		for _, f := range have.files {
			if !f.isDF() {
				n++
			}
		}
		want := len(wantedFiles[df])
		if df == selectsSigner {
			want -= 4 // of the keys
		}
		if n != want {
			t.Errorf("%s has %d files, %d are looked at", df, n, want)
		}
	}
}

func ofFile(t *testing.T, w wantedFile, c control) {
	t.Helper()
	descriptor, size := []byte{0x41, 0x21}, w.size // shareable, working EF, transparent
	if w.record > 0 {
		descriptor = []byte{0x42, 0x21, 0, byte(w.record), byte(w.records)}
		size = w.record * w.records
	}
	if !bytes.Equal(c.descriptor, descriptor) {
		t.Errorf("descriptor %X, want %X", c.descriptor, descriptor)
	}
	if want := []byte{byte(w.id >> 8), byte(w.id)}; !bytes.Equal(c.id, want) || c.aid != nil {
		t.Errorf("id %X and AID %X, want %X", c.id, c.aid, want)
	}
	if want := []byte{byte(size >> 8), byte(size)}; !bytes.Equal(c.size, want) {
		t.Errorf("size %X, want %X", c.size, want)
	}
	// §11.1.1.4.8: an empty one says that there is no short id.
	var short []byte
	if w.short != 0 {
		short = []byte{w.short << 3}
	}
	if !c.shortIs || !bytes.Equal(c.short, short) {
		t.Errorf("short id %X, want %X", c.short, short)
	}
	if c.cycle != 0x05 { // operational, activated
		t.Errorf("life cycle %02X", c.cycle)
	}
	if len(c.pins) > 0 {
		t.Errorf("a file with the PIN status %X", c.pins)
	}
}

// condition is a security condition of an access rule (ISO 7816-4 §5.4.3.2).
type condition string

const (
	forAll    condition = "all"
	forPIN    condition = "who gave the PIN"
	forADM    condition = "who gave the ADM code"
	forNobody condition = "nobody"
	forOthers condition = "?" // of whom the test does not know
)

// rule is the record of EF_ARR that a file's 8B names: its condition for reading
// and for updating (TS 102 221 §9.2.4 and table 9.1).
func rule(t testing.TB, c simcard.Card, df string, reference []byte) (read, update condition) {
	t.Helper()
	if len(reference) != 3 {
		t.Fatalf("8B is %X", reference)
	}
	done(t, c, fmt.Sprintf("00A4000C02%X", reference[:2])) // in the file's own DF
	record := done(t, c, fmt.Sprintf("00B2%02X0416", reference[2]))
	if df == selectsMF != (reference[0] == 0x2F) {
		t.Errorf("%X is not the EF_ARR of the file's DF", reference)
	}
	read, update = forOthers, forOthers
	for mode := byte(0); len(record) > 0 && record[0] != 0xFF; {
		n := 2 + int(record[1])
		e := tlv{record[0], record[2:n]}
		record = record[n:]
		if e.tag == 0x80 {
			mode = e.value[0]
			continue
		}
		is := forOthers
		switch {
		case e.tag == 0x97 && len(e.value) == 0:
			is = forNobody
		case e.tag == 0x90 && len(e.value) == 0:
			is = forAll
		case e.tag == 0xA4 && bytes.Equal(e.value, []byte{0x83, 1, 0x01, 0x95, 1, 0x08}):
			is = forPIN
		case e.tag == 0xA4 && bytes.Equal(e.value, []byte{0x83, 1, 0x0A, 0x95, 1, 0x08}):
			is = forADM
		}
		if mode&0x01 != 0 {
			read = is
		}
		if mode&0x02 != 0 {
			update = is
		}
	}
	for _, filler := range record {
		if filler != 0xFF {
			t.Errorf("behind the rules of %X: %X", reference, record)
		}
	}
	return read, update
}

// The rule that a file refers to is what the card goes by, whoever has said who
// he is, and what the standards have for that file.
func TestAccessRules(t *testing.T) {
	for df, files := range wantedFiles {
		for _, w := range files {
			if w.size == 0 && w.record == 0 {
				continue // nothing is in it to be read
			}
			t.Run(w.name, func(t *testing.T) {
				c := fileCard(t)
				done(t, c, df)
				reference := controlOf(t, fetched(t, c, fmt.Sprintf("00A4000402%04X", w.id))).arr
				read, update := rule(t, c, df, reference)
				want := forAll
				if w.holder {
					want = forPIN
				}
				writes := forNobody
				if strings.HasPrefix(w.name, "certificate") {
					writes = forADM
				}
				if read != want || update != writes {
					t.Fatalf("read %s, update %s; want %s, %s", read, update, want, writes)
				}
				for _, given := range []struct {
					apdu string
					is   condition
				}{{"", forAll}, {givesPIN, forPIN}, {givesADM, forADM}} {
					c.Reset()
					done(t, c, df)
					if given.apdu != "" {
						done(t, c, given.apdu)
					}
					done(t, c, fmt.Sprintf("00A4000C02%04X", w.id))
					reads := "00B0000001"
					if w.record > 0 {
						reads = fmt.Sprintf("00B20104%02X", w.record)
					}
					_, sw := answered(t, c, reads)
					if may := read == forAll || read == given.is; may != (sw == simcard.SWOK) || !may && sw != simcard.SWSecurityStatus {
						t.Errorf("read after %s: %s", given.is, sw)
					}
					if w.record > 0 {
						continue // UPDATE RECORD is not one of the card's commands
					}
					_, sw = answered(t, c, "00D600000130")
					if may := update == given.is; may == (sw == simcard.SWSecurityStatus) {
						t.Errorf("update after %s: %s", given.is, sw)
					}
				}
				// Where the telephone asks for no PIN, none is missing.
				c.profile.Telephone.Asks = false
				c.Reset()
				done(t, c, df)
				done(t, c, fmt.Sprintf("00A4000C02%04X", w.id))
				if _, sw := answered(t, c, "00B0000001"); w.record == 0 && sw != simcard.SWOK {
					t.Errorf("read without a PIN that is not asked for: %s", sw)
				}
			})
		}
	}
}

func TestDirectoriesOfTheCard(t *testing.T) {
	for _, asks := range []bool{false, true} {
		c := fileCard(t)
		c.profile.Telephone.Asks = asks
		for name, w := range map[string]struct {
			selects string
			id      []byte
			aid     string
			pins    []byte
			enabled []bool
		}{
			"MF":     {selectsMF, []byte{0x3F, 0x00}, "", []byte{0x01, 0x0A}, []bool{asks, true}},
			"USIM":   {selectsUSIM, nil, "A0000000871002FFFFFFFF8900000100", []byte{0x01, 0x81}, []bool{asks, true}},
			"signer": {selectsSigner, nil, "F0494D5A4101", []byte{0x02, 0x82}, []bool{true, true}},
		} {
			fcp := fetched(t, c, strings.Replace(w.selects, "0C", "04", 1))
			got := controlOf(t, fcp)
			if !bytes.Equal(got.descriptor, []byte{0x78, 0x21}) { // shareable, DF or ADF
				t.Errorf("%s: descriptor %X", name, got.descriptor)
			}
			if !bytes.Equal(got.id, w.id) || !bytes.Equal(got.aid, unhex(t, w.aid)) {
				t.Errorf("%s: id %X, AID %X", name, got.id, got.aid)
			}
			if got.cycle != 0x05 || got.size != nil || got.shortIs {
				t.Errorf("%s: life cycle %02X, size %X, short id %X", name, got.cycle, got.size, got.short)
			}
			// §11.1.1.4.6.1: clock stop allowed, supply voltages of classes A, B and C.
			if got.characteristics != 0x71 {
				t.Errorf("%s: characteristics %02X", name, got.characteristics)
			}
			if !bytes.Equal(got.pins, w.pins) || fmt.Sprint(got.enabled) != fmt.Sprint(w.enabled) {
				t.Errorf("%s: PINs %X enabled %v, want %X %v", name, got.pins, got.enabled, w.pins, w.enabled)
			}
			// Their rules are in the EF_ARR of the MF.
			done(t, c, selectsMF)
			rule(t, c, selectsMF, got.arr)
			// STATUS says the same (§11.1.2).
			done(t, c, w.selects)
			if again := done(t, c, fmt.Sprintf("80F20000%02X", len(fcp))); !bytes.Equal(again, fcp) {
				t.Errorf("%s: STATUS %X, want %X", name, again, fcp)
			}
		}
	}
}

// The entries of EF_DIR (TS 102 221 §13.1) are the applications that SELECT
// knows, and no others.
func TestDirectoryFileNamesTheApplications(t *testing.T) {
	c := fileCard(t)
	labels := map[string]string{}
	for n := 1; n <= 2; n++ {
		done(t, c, selectsMF)
		done(t, c, "00A4000C022F00")
		record := done(t, c, fmt.Sprintf("00B2%02X041A", n))
		end := 2 + int(record[1])
		if record[0] != 0x61 || record[1] > 0x7F || len(bytes.Trim(record[end:], "\xFF")) > 0 {
			t.Fatalf("entry %d is %X", n, record)
		}
		entry := tlvs(t, record[2:end])
		if len(entry) != 2 || entry[0].tag != 0x4F || entry[1].tag != 0x50 {
			t.Fatalf("entry %d is %X", n, record)
		}
		aid := entry[0].value
		if len(aid) < 5 || len(aid) > 16 {
			t.Errorf("entry %d has an AID of %d octets", n, len(aid))
		}
		labels[fmt.Sprintf("%X", aid)] = string(entry[1].value)
		got := controlOf(t, fetched(t, c, fmt.Sprintf("00A40404%02X%X", len(aid), aid)))
		if !bytes.Equal(got.aid, aid) {
			t.Errorf("entry %d, %X, selects %X", n, aid, got.aid)
		}
	}
	if labels["A0000000871002FFFFFFFF8900000100"] != "USIM" || labels["F0494D5A4101"] != "imza" {
		t.Errorf("applications %v", labels)
	}
}

// Numbers of cards whose files are published: pySim's tests of EF_ICCID and
// EF_IMSI, and a SIMtrace 2 capture. The low semi-octet is the first digit.
func TestNumbersInSemiOctets(t *testing.T) {
	for number, want := range map[string]string{
		"8988211000000430010":  "988812010000400310F0",
		"8988211000000071855":  "988812010000001758F5",
		"89994010000000000125": "989904010000000010 52",
		"898821100000053008":   "988812010000500380FF",
	} {
		c := fileCard(t)
		c.profile.ICCID = simcard.ICCID(number)
		done(t, c, "00A4000C022FE2")
		if got := done(t, c, "00B000000A"); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("ICCID %s is %X, want %s", number, got, want)
		}
	}
	for number, want := range map[string]string{
		"228062800000208": "082982608200002080",
		"262011106487504": "082926101160845740",
	} {
		c := fileCard(t)
		c.profile.IMSI = number
		for _, command := range []string{selectsUSIM, givesPIN, "00A4000C026F07"} {
			done(t, c, command)
		}
		if got := done(t, c, "00B0000009"); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("IMSI %s is %X, want %s", number, got, want)
		}
	}
	// A card that was given none has one of its own: of the same digits as its
	// ICCID, of which no two are the same.
	c := fileCard(t)
	for _, command := range []string{selectsUSIM, givesPIN, "00A4000C026F07"} {
		done(t, c, command)
	}
	if got, want := done(t, c, "00B0000009"), unhex(t, "084900100000000010"); !bytes.Equal(got, want) {
		t.Errorf("the IMSI of %s is %X, want %X", c.profile.ICCID, got, want)
	}
}

// What the service table says is there is there, and nothing else (TS 31.102
// §4.2.8).
func TestServiceTableAgreesWithTheFiles(t *testing.T) {
	c := fileCard(t)
	done(t, c, selectsUSIM)
	done(t, c, givesPIN)
	done(t, c, "00A4000C026F38")
	table := done(t, c, "00B0000008")
	available := func(n int) bool { return n <= 8*len(table) && table[(n-1)/8]>>((n-1)%8)&1 == 1 }
	for service, id := range map[int]string{
		2: "6F3B", 3: "6F4B", 4: "6F49", 5: "6F4C", 6: "6F4D", 7: "6F55", 8: "6F83", 9: "6F82", 10: "6F3C", 11: "6F47", 12: "6F42",
		13: "6F37", 14: "6F4F", 15: "6F45", 16: "6F50", 17: "6F3E", 18: "6F3F", 19: "6F46", 20: "6F60", 21: "6F40", 29: "6F48",
		34: "6F56", 35: "6F57", 36: "6F58", 42: "6F61", 43: "6F62", 45: "6FC5", 46: "6FC6", 47: "6FC7", 48: "6FCA", 49: "6FCB", 51: "6FCD",
	} {
		_, sw := answered(t, c, "00A4000C02"+id)
		if there := sw == simcard.SWOK; there != available(service) || !there && sw != simcard.SWFileNotFound {
			t.Errorf("service %d is available: %t, and its file %s: %s", service, available(service), id, sw)
		}
	}
	if !available(28) {
		t.Error("data download by SMS-PP is what the card lives by")
	}
	if !available(33) {
		t.Error("service 33 shall be available")
	}
	for _, n := range []int{1, 22, 23, 24, 25, 26, 27, 30, 31, 32, 38, 39, 40, 41} { // other applications, and what has no file here
		if available(n) {
			t.Errorf("service %d is available", n)
		}
	}
	// Of the enabled services (§4.2.47) only those that are available could be.
	done(t, c, "00A4000C026F56")
	if got := done(t, c, "00B0000001"); got[0] != 0 {
		t.Errorf("enabled services %02X", got[0])
	}
}

// What is in the USIM's other files: the initial values of TS 31.102 annex E,
// and languages.
func TestContentsOfTheUSIM(t *testing.T) {
	c := fileCard(t)
	for language, want := range map[applet.Language]string{0: "azenru", applet.Azerbaijani: "azenru", applet.English: "enazru", applet.Russian: "ruazen"} {
		c.profile.Language = language
		for _, where := range []string{selectsMF + " 00A4000C022F05", selectsUSIM + " 00A4000C026F05"} {
			for _, command := range strings.Fields(where) {
				done(t, c, command)
			}
			if got := string(done(t, c, "00B0000006")); got != want {
				t.Errorf("language %d: %q, want %q", language, got, want)
			}
		}
	}
	done(t, c, selectsUSIM)
	done(t, c, givesPIN)
	ff := func(n int) string { return strings.Repeat("FF", n) }
	for id, want := range map[string]string{
		"6F08": "07" + ff(32), "6F09": "07" + ff(32), "6F31": "05", "6F56": "00", "6F78": "0001", "6F7B": ff(12),
		"6F7E": "FFFFFFFF FFFFFF 0000 FF 01", "6F73": "FFFFFFFF FFFFFF FFFFFF 0000 FF 01", "6FAD": "00 0000 02",
		"6F5B": "F00000 F00000", "6F5C": "FFFFFF", "6FC4": ff(46), "6F46": "00 696D7A61" + ff(12),
	} {
		done(t, c, "00A4000C02"+id)
		octets := unhex(t, want)
		if got := done(t, c, fmt.Sprintf("00B00000%02X", len(octets))); !bytes.Equal(got, octets) {
			t.Errorf("%s: %X, want %X", id, got, octets)
		}
	}
	for id, want := range map[string]string{"6FB7": "11F2FF 00", "6F40": ff(14), "6F42": ff(28)} { // 112, and unused
		done(t, c, "00A4000C02"+id)
		octets := unhex(t, want)
		if got := done(t, c, fmt.Sprintf("00B20104%02X", len(octets))); !bytes.Equal(got, octets) {
			t.Errorf("%s: %X, want %X", id, got, octets)
		}
	}
}

// A profile with numbers that a file cannot hold is no card.
func TestNumbersThatDoNotFitAreNoProfile(t *testing.T) {
	for name, change := range map[string]string{
		"an IMSI of 14 digits":      `"IMSI":"40001000000000"`,
		"an IMSI of 16 digits":      `"IMSI":"4000100000000001"`,
		"an IMSI with a letter":     `"IMSI":"40001000000000x"`,
		"an ADM code without digit": `"ADM":{"Digits":"","Tries":10}`,
		"an ADM code of nine":       `"ADM":{"Digits":"112233445","Tries":10}`,
		"an ADM code of letters":    `"ADM":{"Digits":"secret","Tries":1}`,
		"eleven tries":              `"ADM":{"Digits":"11223344","Tries":11}`,
		"tries below none":          `"ADM":{"Digits":"11223344","Tries":-1}`,
	} {
		c := fileCard(t)
		if err := c.save(c.profile); err != nil {
			t.Fatal(err)
		}
		good := string(c.stored[len(c.stored)-1])
		if _, err := ParseProfile([]byte(good)); err != nil {
			t.Fatal(err)
		}
		field, _, _ := strings.Cut(change, ":")
		bad := "{" + change + "," + good[1:]
		if field == `"ADM"` { // the last of two counts
			bad = strings.TrimSuffix(good, "}") + "," + change + "}"
		}
		if _, err := ParseProfile([]byte(bad)); err == nil {
			t.Errorf("%s: read", name)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "11223344") {
			t.Errorf("%s: the code is in the error: %v", name, err)
		}
	}
}
