// Package smpp speaks SMPP 3.4 from both ends: an ESME that submits messages to
// an operator's SMSC and takes what comes back, and the SMSC's side of it.
//
// A PDU, all numbers big-endian (SMPP 3.4 §3.2):
//
//	command_length   4  of the whole PDU, these 16 octets included
//	command_id       4  bit 31: a response
//	command_status   4  of a response; 0 is well
//	sequence_number  4  1 to 7FFFFFFF; a response has its request's
//	body                mandatory parameters in order, then TLVs
//
// A Session is one connection, bound; both sides send requests on it. An ESME
// keeps a session up. A Server accepts them.
//
// Buffers: what is decoded aliases the buffer it came from, which the session
// gives away and never reuses.
package smpp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/fiorix/go-smpp/smpp/pdu"
)

// Command is a command_id (SMPP 3.4 §5.1.2.1).
type Command uint32

// The commands that are handled; any other is answered with generic_nack.
const (
	GenericNack         = Command(pdu.GenericNACKID)
	BindReceiver        = Command(pdu.BindReceiverID)
	BindReceiverResp    = Command(pdu.BindReceiverRespID)
	BindTransmitter     = Command(pdu.BindTransmitterID)
	BindTransmitterResp = Command(pdu.BindTransmitterRespID)
	BindTransceiver     = Command(pdu.BindTransceiverID)
	BindTransceiverResp = Command(pdu.BindTransceiverRespID)
	SubmitSM            = Command(pdu.SubmitSMID)
	SubmitSMResp        = Command(pdu.SubmitSMRespID)
	DeliverSM           = Command(pdu.DeliverSMID)
	DeliverSMResp       = Command(pdu.DeliverSMRespID)
	Unbind              = Command(pdu.UnbindID)
	UnbindResp          = Command(pdu.UnbindRespID)
	EnquireLink         = Command(pdu.EnquireLinkID)
	EnquireLinkResp     = Command(pdu.EnquireLinkRespID)
)

// response is the bit that makes a command its response.
const response Command = 1 << 31

func (c Command) String() string {
	if name := pdu.ID(c).String(); name != "" {
		return name
	}
	return fmt.Sprintf("command %08x", uint32(c))
}

// Status is a command_status (SMPP 3.4 §5.1.3).
type Status uint32

// The statuses that imza gives or acts upon.
const (
	StatusOK              Status = 0x00
	StatusInvalidMessage  Status = 0x01 // ESME_RINVMSGLEN
	StatusInvalidLength   Status = 0x02 // ESME_RINVCMDLEN
	StatusInvalidCommand  Status = 0x03 // ESME_RINVCMDID
	StatusNotBound        Status = 0x04 // ESME_RINVBNDSTS
	StatusAlreadyBound    Status = 0x05 // ESME_RALYBND
	StatusSystemError     Status = 0x08 // ESME_RSYSERR
	StatusInvalidDest     Status = 0x0B // ESME_RINVDSTADR
	StatusBindFailed      Status = 0x0D // ESME_RBINDFAIL
	StatusInvalidPassword Status = 0x0E // ESME_RINVPASWD
	StatusQueueFull       Status = 0x14 // ESME_RMSGQFUL
	StatusThrottled       Status = 0x58 // ESME_RTHROTTLED
	StatusTemporary       Status = 0x64 // ESME_RX_T_APPN: deliver it again later
	StatusPermanent       Status = 0x65 // ESME_RX_P_APPN: do not
)

// Error makes a status that is not StatusOK an error of its own.
func (s Status) Error() string {
	return fmt.Sprintf("smpp: status %#02x, %s", uint32(s), pdu.Status(s))
}

// headerLen is the octets before the body.
const headerLen = 16

// Limits on command_length, checked before anything is allocated.
const (
	MaxPDU        = 70_000 // a message_payload of 64 KiB and what is around it
	maxPDUUnbound = 1_024  // nothing longer than a bind is due before it
)

// PDU is one frame, its body not looked into.
type PDU struct {
	Command  Command
	Status   Status
	Sequence uint32
	Body     []byte
}

// Append appends the frame to b.
func (p *PDU) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(headerLen+len(p.Body)))
	b = binary.BigEndian.AppendUint32(b, uint32(p.Command))
	b = binary.BigEndian.AppendUint32(b, uint32(p.Status))
	b = binary.BigEndian.AppendUint32(b, p.Sequence)
	return append(b, p.Body...)
}

// ErrFraming says that command_length cannot be right, so nothing behind it can
// be understood any more.
var ErrFraming = errors.New("smpp: impossible command_length")

// ReadPDU reads one frame of at most limit octets. The length is judged before
// anything else is waited for or allocated.
func ReadPDU(r io.Reader, limit int) (PDU, error) {
	var header [headerLen]byte
	if _, err := io.ReadFull(r, header[:4]); err != nil {
		return PDU{}, err
	}
	length := binary.BigEndian.Uint32(header[0:])
	if length < headerLen || length > uint32(limit) {
		return PDU{}, fmt.Errorf("%w %d", ErrFraming, length)
	}
	if _, err := io.ReadFull(r, header[4:]); err != nil {
		return PDU{}, cutOff(err)
	}
	p := PDU{
		Command:  Command(binary.BigEndian.Uint32(header[4:])),
		Status:   Status(binary.BigEndian.Uint32(header[8:])),
		Sequence: binary.BigEndian.Uint32(header[12:]),
	}
	if length > headerLen {
		p.Body = make([]byte, length-headerLen)
		if _, err := io.ReadFull(r, p.Body); err != nil {
			return PDU{}, cutOff(err)
		}
	}
	return p, nil
}

// cutOff tells an end within a frame from one between two.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
