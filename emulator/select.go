package emulator

import (
	"strings"

	"imza/simcard"
)

// Ways to select (P1) and what is returned (P2) (TS 102 221 §11.1.1).
const (
	byID           = 0x00
	parentDF       = 0x03
	byAID          = 0x04
	pathFromMF     = 0x08
	pathFromHere   = 0x09
	returnsFCP     = 0x04
	returnsNothing = 0x0C
	returnMask     = 0x1C
	nextOne        = 0x02 // of an AID; 00 is the first
)

// selectFile is SELECT. Where it fails, what was selected stays selected.
func (s *SIM) selectFile(c simcard.Command) simcard.Response {
	// P2 00 asks for the FCI by ISO 7816-4, which this standard does not have;
	// readers' software that speaks to any card sends it, and gets the FCP.
	wants := c.P2 & returnMask
	// Last and previous (01, 03) and the end of an application (40) are not done.
	if wants != returnsFCP && wants != returnsNothing && c.P2 != 0 || c.P2&^(returnMask|nextOne) != 0 {
		return status(simcard.SWWrongP1P2)
	}
	f, sw := s.find(c)
	if sw != simcard.SWOK {
		return status(sw)
	}
	if f.isDF() {
		s.df, s.ef = f, nil
	} else {
		s.df, s.ef = f.in, f
	}
	s.record, s.writing = 0, nil
	if wants == returnsNothing {
		return status(simcard.SWOK)
	}
	return simcard.Response{Data: s.fcp(f), SW: simcard.SWOK}
}

// find is the file that a SELECT names.
func (s *SIM) find(c simcard.Command) (*file, simcard.SW) {
	switch c.P1 {
	case byAID:
		return s.application(c)
	case parentDF:
		if len(c.Data) != 0 {
			return nil, simcard.SWWrongLength
		}
		if s.df.in == nil {
			return nil, simcard.SWFileNotFound
		}
		return s.df.in, simcard.SWOK
	case byID:
		if len(c.Data) == 0 { // the MF, by ISO 7816-4
			return mf, simcard.SWOK
		}
		if len(c.Data) != 2 {
			return nil, simcard.SWWrongLength
		}
		return found(s.byID(s.df, fileID(c.Data)))
	case pathFromMF, pathFromHere:
		if len(c.Data) == 0 || len(c.Data)%2 != 0 {
			return nil, simcard.SWWrongLength
		}
		at := s.df
		if c.P1 == pathFromMF {
			at = mf
		}
		for path := c.Data; len(path) > 0 && at != nil; path = path[2:] {
			switch id := fileID(path); {
			case id == currentADF: // stands for the application that is selected
				if at = s.adf(); at == nil {
					return nil, simcard.SWFileNotFound
				}
			case !at.isDF():
				at = nil
			default:
				at = s.child(at, id)
			}
		}
		return found(at)
	}
	return nil, simcard.SWWrongP1P2
}

func found(f *file) (*file, simcard.SW) {
	if f == nil {
		return nil, simcard.SWFileNotFound
	}
	return f, simcard.SWOK
}

func fileID(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// currentADF is the id that stands for the selected application (§8.3).
const currentADF = 0x7FFF

// adf is the selected application, nil if none is.
func (s *SIM) adf() *file {
	for df := s.df; df != nil; df = df.in {
		if df.aid != "" {
			return df
		}
	}
	return nil
}

// byID is what a file id may name from a DF: the MF, the application, the DF
// itself, its parent, or a file in it (§8.4.1).
func (s *SIM) byID(df *file, id uint16) *file {
	switch {
	case id == simcard.MF:
		return mf
	case id == currentADF:
		return s.adf()
	case df.id == id && id != 0:
		return df
	}
	return s.child(df, id)
}

// application is the one whose AID begins as given (§8.5: right-truncated AIDs
// may be used).
func (s *SIM) application(c simcard.Command) (*file, simcard.SW) {
	if len(c.Data) < 5 || len(c.Data) > 16 { // RID at least, AID at most
		return nil, simcard.SWWrongLength
	}
	passed := c.P2&nextOne == 0
	for _, f := range mf.files {
		switch {
		case f.aid == "" || !strings.HasPrefix(string(f.aid), string(c.Data)):
		case passed:
			return f, simcard.SWOK
		case f == s.adf():
			passed = true // the next one is wanted
		}
	}
	return nil, simcard.SWFileNotFound
}

// status is STATUS (§11.1.2): P1 tells what the terminal does with the
// application and changes nothing here, P2 what is returned.
func (s *SIM) status(c simcard.Command) simcard.Response {
	if c.P1 > 2 {
		return status(simcard.SWWrongP1P2)
	}
	if len(c.Data) > 0 {
		return status(simcard.SWWrongLength)
	}
	var data []byte
	switch c.P2 {
	case 0x00:
		data = s.fcp(s.df)
	case 0x01:
		adf := s.adf()
		if adf == nil {
			return status(simcard.SWConditions)
		}
		data = append([]byte{0x84, byte(len(adf.aid))}, adf.aid...)
	case returnsNothing:
		return status(simcard.SWOK)
	default:
		return status(simcard.SWWrongP1P2)
	}
	if c.Le > 0 && c.Le < len(data) { // a terminal that only wants the beginning
		data = data[:c.Le]
	}
	return exactly(data, c)
}

// shortID selects the EF that a command names by its short identifier: 1 to 30,
// for 0 is that of files that have none (§8.2.4).
func (s *SIM) shortID(short byte) simcard.SW {
	for _, f := range s.df.files {
		if short != 0 && f.short == short && !f.isDF() {
			s.ef, s.record, s.writing = f, 0, nil
			return simcard.SWOK
		}
	}
	return simcard.SWFileNotFound
}

// readable tells whether the selected EF may be read now.
func (s *SIM) readable() simcard.SW {
	switch {
	case s.ef == nil:
		return simcard.SWNoEF
	case s.ef.rule == holder && s.profile.Telephone.Asks && !s.verified[simcard.PINTelephone]:
		return simcard.SWSecurityStatus
	}
	return simcard.SWOK
}

const shortIDBit = 0x80 // of P1: the lower five are a short identifier

// readBinary is READ BINARY (§11.1.3).
func (s *SIM) readBinary(c simcard.Command) simcard.Response {
	if len(c.Data) > 0 {
		return status(simcard.SWWrongLength)
	}
	offset := int(c.P1)<<8 | int(c.P2)
	if c.P1&shortIDBit != 0 {
		if c.P1&0x60 != 0 {
			return status(simcard.SWWrongP1P2)
		}
		if sw := s.shortID(c.P1 & 0x1F); sw != simcard.SWOK {
			return status(sw)
		}
		offset = int(c.P2)
	}
	if s.ef != nil && s.ef.content == nil {
		return status(simcard.SWFileStructure)
	}
	if sw := s.readable(); sw != simcard.SWOK {
		return status(sw)
	}
	content := s.ef.content(s.profile)
	if offset >= len(content) {
		return status(simcard.SWOffset)
	}
	content = content[offset:]
	if c.Le > 0 && c.Le <= len(content) {
		content = content[:c.Le]
	}
	if len(content) > 256 {
		content = content[:256]
	}
	return exactly(content, c)
}

// readRecord is READ RECORD (§11.1.5), by number, next or previous.
func (s *SIM) readRecord(c simcard.Command) simcard.Response {
	const next, previous, absolute = 0x02, 0x03, 0x04
	if len(c.Data) > 0 {
		return status(simcard.SWWrongLength)
	}
	if short := c.P2 >> 3; short == 0x1F {
		return status(simcard.SWWrongP1P2)
	} else if short != 0 {
		if sw := s.shortID(short); sw != simcard.SWOK {
			return status(sw)
		}
	}
	if s.ef != nil && s.ef.records == nil {
		return status(simcard.SWFileStructure)
	}
	if sw := s.readable(); sw != simcard.SWOK {
		return status(sw)
	}
	records := s.ef.records(s.profile)
	n, moves := int(c.P1), false
	switch c.P2 & 0x07 {
	case absolute:
		if n == 0 {
			n = s.record // the current one
		}
	case next:
		n, moves = s.record+1, true
	case previous:
		if n, moves = s.record-1, true; s.record == 0 {
			n = len(records)
		}
	default:
		return status(simcard.SWWrongP1P2)
	}
	if moves && c.P1 != 0 {
		return status(simcard.SWWrongP1P2)
	}
	if n < 1 || n > len(records) {
		return status(simcard.SWRecordNotFound)
	}
	r := exactly(records[n-1], c)
	if moves && r.SW == simcard.SWOK {
		s.record = n
	}
	return r
}
