package emulator

import (
	"encoding/hex"

	"imza/simcard"
	"imza/simcard/applet"
)

// file is a file of the card: a DF, or an EF with what it holds. They are the
// same on all cards; what differs is read from the profile.
type file struct {
	id      uint16
	short   byte // short file identifier, 0: none (TS 102 221 §8.2.4)
	aid     simcard.AID
	label   string // of an ADF, in EF_DIR
	pins    []byte // of a DF: key references of its PIN status
	rule    access
	content func(*Profile) []byte   // of a transparent EF
	records func(*Profile) [][]byte // of a linear fixed EF
	in      *file
	files   []*file
	key     byte // of a certificate or a request
}

func (f *file) isDF() bool { return f.content == nil && f.records == nil }

// access is who may do what with a file: the record in EF_ARR that says so.
type access byte

const (
	everybody access = 1 + iota // reads it
	holder                      // reads it after the telephone's PIN, if that is asked for
	issued                      // everybody reads it, who has the ADM key writes it
)

// arr is the content of EF_ARR (TS 102 221 §9.2.7): access mode (80; 01 read, 02
// update), then security condition: 90 00 always, 97 00 never, A4 after a key
// reference.
var arr = [][]byte{
	octets("80 01 01 90 00 80 01 02 97 00 FF FF FF FF FF FF FF FF FF FF FF FF"),
	octets("80 01 01 A4 06 83 01 01 95 01 08 80 01 02 97 00 FF FF FF FF FF FF"),
	octets("80 01 01 90 00 80 01 02 A4 06 83 01 0A 95 01 08 FF FF FF FF FF FF"),
}

// The files, as TS 102 221 §13 and TS 31.102 §4.2 and annex H name and number
// them, with what a USIM must have. Of the network nothing is kept, since the
// emulated one has no location: EF_LOCI and its like, which a telephone writes by
// those standards, are not written here.
var (
	mf = directory(&file{id: simcard.MF, pins: []byte{simcard.PINTelephone, simcard.ADM}}, efDIR, efICCID, efPL, efARR(0x2F06, 0x06), adfUSIM, adfSigner)

	efDIR   = &file{id: simcard.EFDIR, short: 0x1E, rule: everybody, records: func(*Profile) [][]byte { return [][]byte{template(adfUSIM), template(adfSigner)} }}
	efICCID = &file{id: simcard.EFICCID, short: 0x02, rule: everybody, content: func(p *Profile) []byte { return swapped(string(p.ICCID), 10) }}
	efPL    = &file{id: 0x2F05, short: 0x05, rule: everybody, content: languages}

	adfUSIM = directory(&file{aid: simcard.USIM + "\xFF\xFF\xFF\xFF\x89\x00\x00\x01\x00", label: "USIM", pins: []byte{simcard.PINTelephone, simcard.PIN2Telephone}},
		&file{id: 0x6F05, short: 0x02, rule: everybody, content: languages}, // EF_LI
		efARR(0x6F06, 0x17),
		&file{id: simcard.EFIMSI, short: 0x07, rule: holder, content: imsiFile},
		&file{id: 0x6F08, short: 0x08, rule: holder, content: noKeys},         // EF_Keys
		&file{id: 0x6F09, short: 0x09, rule: holder, content: noKeys},         // EF_KeysPS
		&file{id: 0x6F31, short: 0x12, rule: holder, content: constant("05")}, // EF_HPPLMN: every 30 minutes
		&file{id: 0x6F38, short: 0x04, rule: holder, content: serviceTable},
		&file{id: 0x6F56, short: 0x05, rule: holder, content: constant("00")},                                                      // EF_EST: none enabled
		&file{id: 0x6F78, short: 0x06, rule: holder, content: constant("0001")},                                                    // EF_ACC
		filled(0x6F7B, 0x0D, holder, 12),                                                                                           // EF_FPLMN
		&file{id: 0x6F7E, short: 0x0B, rule: holder, content: constant("FFFFFFFF FFFFFF0000FF 01")},                                // EF_LOCI: not updated
		&file{id: 0x6F73, short: 0x0C, rule: holder, content: constant("FFFFFFFFFFFFFF FFFFFF0000FF 01")},                          // EF_PSLOCI
		&file{id: 0x6FAD, short: 0x03, rule: everybody, content: constant("00000002")},                                             // EF_AD: normal operation, MNC of two digits
		&file{id: 0x6FB7, short: 0x01, rule: everybody, records: func(*Profile) [][]byte { return [][]byte{octets("11F2FF 00")} }}, // EF_ECC: 112
		&file{id: 0x6F5B, short: 0x0F, rule: holder, content: constant("F00000F00000")},                                            // EF_START-HFN
		&file{id: 0x6F5C, short: 0x10, rule: holder, content: constant("FFFFFF")},                                                  // EF_THRESHOLD
		filled(0x6FC4, 0, holder, 46),                                                                                              // EF_NETPAR
		&file{id: 0x6F46, rule: everybody, content: constant("00 696D7A61 FFFFFFFFFFFFFFFFFFFFFFFF")},                              // EF_SPN: imza
		&file{id: 0x6F40, rule: holder, records: func(*Profile) [][]byte { return [][]byte{unused(14)} }},                          // EF_MSISDN
		&file{id: 0x6F42, rule: holder, records: func(*Profile) [][]byte { return [][]byte{unused(28)} }},                          // EF_SMSP
	)

	adfSigner = directory(&file{aid: simcard.Signer, label: "imza", pins: []byte{simcard.PIN1, simcard.PIN2}},
		efARR(0x6F06, 0x06),
		&file{id: simcard.EFApplet, short: 0x01, rule: everybody, content: aboutFile},
		&file{id: simcard.EFKeys, short: 0x02, rule: everybody, records: keyRecords},
	)
)

func directory(df *file, files ...*file) *file {
	df.files = files
	for _, f := range files {
		f.in = df
	}
	return df
}

func efARR(id uint16, short byte) *file {
	return &file{id: id, short: short, rule: everybody, records: func(*Profile) [][]byte { return arr }}
}

func constant(hexed string) func(*Profile) []byte {
	content := octets(hexed)
	return func(*Profile) []byte { return content }
}

// filled is a file of which nothing is used.
func filled(id uint16, short byte, rule access, size int) *file {
	return &file{id: id, short: short, rule: rule, content: func(*Profile) []byte { return unused(size) }}
}

func unused(size int) []byte {
	content := make([]byte, size)
	for i := range content {
		content[i] = 0xFF
	}
	return content
}

// octets reads hex that stands in this file.
func octets(hexed string) []byte {
	digits := make([]byte, 0, len(hexed))
	for i := range len(hexed) {
		if hexed[i] != ' ' {
			digits = append(digits, hexed[i])
		}
	}
	content, err := hex.DecodeString(string(digits))
	if err != nil {
		panic(err)
	}
	return content
}

// swapped is digits as semi-octets, the lower one first, filled up with F.
func swapped(digits string, size int) []byte {
	content := unused(size)
	for i := range len(digits) {
		shift := 4 * (i % 2)
		content[i/2] = content[i/2]&^(0x0F<<shift) | (digits[i]-'0')<<shift
	}
	return content
}

// languages is Azerbaijani, English and Russian (ISO 639), what the card's own
// words are in first.
func languages(p *Profile) []byte {
	switch p.Language {
	case applet.English:
		return []byte("enazru")
	case applet.Russian:
		return []byte("ruazen")
	}
	return []byte("azenru")
}

// imsiFile is EF_IMSI (TS 31.102 §4.2.2): its length, then parity 9 (an odd
// number of digits, and "IMSI") before the first digit.
func imsiFile(p *Profile) []byte {
	imsi := p.imsi()
	content := append([]byte{8}, swapped("9"+imsi, 8)...)
	return content
}

// noKeys is EF_Keys of a USIM that never was in a network: key set 7, which is
// none (TS 31.102 annex E).
func noKeys(*Profile) []byte { return append([]byte{0x07}, unused(32)...) }

// serviceTable is EF_UST (TS 31.102 §4.2.8), service n at bit n of octets counted
// from 1: 12 SMSP, 19 SPN, 21 MSISDN, 28 data download by SMS-PP, 33 (always), 34
// enabled services table.
func serviceTable(*Profile) []byte {
	content := make([]byte, 8)
	for _, n := range []int{12, 19, 21, 28, 33, 34} {
		content[(n-1)/8] |= 1 << ((n - 1) % 8)
	}
	return content
}

func aboutFile(p *Profile) []byte {
	a := applet.About{Short: !p.FullOnly, PIN1: p.PIN1.Tries, PIN2: p.PIN2.Tries, PUK: p.PUK.Tries}
	return a.Append(nil)
}

func keyRecords(p *Profile) (records [][]byte) {
	for i := range p.Keys {
		k := &p.Keys[i]
		r := applet.KeyRecord{Number: k.Number, Operation: k.operation(), Kind: k.kind, Certified: len(k.Certificate) > 0}
		records = append(records, r.Append(nil))
	}
	return records
}

// template is an application's entry in EF_DIR (TS 102 221 §13.1): 61, with AID
// (4F) and label (50), all records as long as the longest.
func template(adf *file) []byte {
	const size = 2 + 2 + 16 + 2 + 4
	entry := append([]byte{0x4F, byte(len(adf.aid))}, adf.aid...)
	entry = append(entry, 0x50, byte(len(adf.label)))
	entry = append(entry, adf.label...)
	record := append([]byte{0x61, byte(len(entry))}, entry...)
	return append(record, unused(size-len(record))...)
}

// child is a file of a DF: one of its list, or of the applet a key's.
func (s *SIM) child(df *file, id uint16) *file {
	for _, f := range df.files {
		if f.id == id && id != 0 {
			return f
		}
	}
	if df != adfSigner {
		return nil
	}
	k := s.profile.key(byte(id))
	switch {
	case k == nil:
		return nil
	case id&0xFF00 == simcard.EFCert:
		return &file{id: id, rule: issued, in: df, key: k.Number, content: func(p *Profile) []byte { return p.key(byte(id)).Certificate }}
	case id&0xFF00 == simcard.EFRequest:
		return &file{id: id, rule: everybody, in: df, key: k.Number, content: func(p *Profile) []byte { return p.key(byte(id)).Request }}
	}
	return nil
}

// fcp is what SELECT and STATUS tell of a file (TS 102 221 §11.1.1.3).
func (s *SIM) fcp(f *file) []byte {
	var room [128]byte
	b := room[:0]
	switch {
	case f.isDF():
		b = append(b, 0x82, 2, 0x78, 0x21) // a DF, shareable
		if f.aid != "" {
			b = append(append(b, 0x84, byte(len(f.aid))), f.aid...)
		} else {
			b = append(b, 0x83, 2, byte(f.id>>8), byte(f.id))
		}
		b = append(b, 0xA5, 3, 0x80, 1, 0x71) // UICC characteristics: clock stop allowed, class A, B, C
	case f.records != nil:
		records := f.records(s.profile)
		size := 0
		if len(records) > 0 {
			size = len(records[0])
		}
		b = append(b, 0x82, 5, 0x42, 0x21, 0, byte(size), byte(len(records)), 0x83, 2, byte(f.id>>8), byte(f.id))
		b = append(b, size2(size*len(records))...)
	default:
		b = append(b, 0x82, 2, 0x41, 0x21, 0x83, 2, byte(f.id>>8), byte(f.id))
		b = append(b, size2(len(f.content(s.profile)))...)
	}
	b = append(b, 0x8A, 1, 0x05) // activated
	if f.isDF() {
		b = append(b, 0x8B, 3, 0x2F, 0x06, byte(everybody))
		b = append(b, s.pinStatus(f)...)
	} else {
		arrID := uint16(0x6F06)
		if f.in == mf {
			arrID = 0x2F06
		}
		b = append(b, 0x8B, 3, byte(arrID>>8), byte(arrID), byte(f.rule))
		if f.short != 0 {
			b = append(b, 0x88, 1, f.short<<3)
		} else {
			b = append(b, 0x88, 0)
		}
	}
	return append([]byte{0x62, byte(len(b))}, b...)
}

func size2(n int) []byte { return []byte{0x80, 2, byte(n >> 8), byte(n)} }

// pinStatus is the PIN status template of a DF (TS 102 221 §9.5.2).
func (s *SIM) pinStatus(df *file) []byte {
	b := []byte{0xC6, byte(3 + 3*len(df.pins)), 0x90, 1, 0}
	for i, reference := range df.pins {
		if reference != simcard.PINTelephone || s.profile.Telephone.Asks {
			b[4] |= 0x80 >> i
		}
		b = append(b, 0x83, 1, reference)
	}
	return b
}
