// Package smpp speaks SMPP 3.4 from both ends: ESMEs that submit messages to
// operators' SMSCs and take what comes back, and the SMSC's side of it.
//
// A PDU, all numbers big-endian (SMPP 3.4 §3.2):
//
//	command_length   4  of the whole PDU, these 16 octets included
//	command_id       4  bit 31: a response
//	command_status   4  of a response; 0 is well
//	sequence_number  4  1 to 7FFFFFFF; a response has its request's
//	body                mandatory parameters in order, then TLVs
//
// From the bytes up:
//
//	pdu.go, frames.go              a PDU, and how it is cut from a connection
//	body.go, fields.go, tlv.go     what is in it; bind.go, message.go, multi.go
//	                               and manage.go have the bodies, fast.go a faster
//	                               way for most
//	receipt.go                     delivery receipts
//	session.go                     one connection, bound: request.go and window.go
//	                               have what this side asks, inbound.go what the
//	                               other does, outbound.go how it is written, and
//	                               alive.go whether anybody is there
//	link.go, pool.go, pace.go      an operator: several binds that are kept up, and
//	                               how fast they are written to
//	network.go                     several operators, chosen by number
//	server.go                      the SMSC's side
//	metrics.go                     what is told to Prometheus
//
// Who owns what: to encode is to append to the caller's buffer, and what was
// appended is the caller's. What is decoded aliases the buffer that it came
// from where it is octets (Message, TLVs), so it is good for as long as nobody
// writes to that; strings are copies. A Handler gets messages of its own, which
// it may keep.
package smpp

import (
	"encoding/binary"
	"fmt"

	"github.com/fiorix/go-smpp/smpp/pdu"
)

// Command is a command_id (SMPP 3.4 §5.1.2.1).
type Command uint32

// The commands of SMPP 3.4; any other is answered with generic_nack.
const (
	GenericNack         = Command(pdu.GenericNACKID)
	BindReceiver        = Command(pdu.BindReceiverID)
	BindReceiverResp    = Command(pdu.BindReceiverRespID)
	BindTransmitter     = Command(pdu.BindTransmitterID)
	BindTransmitterResp = Command(pdu.BindTransmitterRespID)
	QuerySM             = Command(pdu.QuerySMID)
	QuerySMResp         = Command(pdu.QuerySMRespID)
	SubmitSM            = Command(pdu.SubmitSMID)
	SubmitSMResp        = Command(pdu.SubmitSMRespID)
	DeliverSM           = Command(pdu.DeliverSMID)
	DeliverSMResp       = Command(pdu.DeliverSMRespID)
	Unbind              = Command(pdu.UnbindID)
	UnbindResp          = Command(pdu.UnbindRespID)
	ReplaceSM           = Command(pdu.ReplaceSMID)
	ReplaceSMResp       = Command(pdu.ReplaceSMRespID)
	CancelSM            = Command(pdu.CancelSMID)
	CancelSMResp        = Command(pdu.CancelSMRespID)
	BindTransceiver     = Command(pdu.BindTransceiverID)
	BindTransceiverResp = Command(pdu.BindTransceiverRespID)
	Outbind             = Command(pdu.OutbindID)
	EnquireLink         = Command(pdu.EnquireLinkID)
	EnquireLinkResp     = Command(pdu.EnquireLinkRespID)
	SubmitMulti         = Command(pdu.SubmitMultiID)
	SubmitMultiResp     = Command(pdu.SubmitMultiRespID)
	AlertNotification   = Command(pdu.AlertNotificationID)
	DataSM              = Command(pdu.DataSMID)
	DataSMResp          = Command(pdu.DataSMRespID)
)

// response is the bit that makes a command its response.
const response Command = 1 << 31

// commandNames are what SMPP 3.4 table 5-1 calls the requests.
var commandNames = map[Command]string{
	BindReceiver: "bind_receiver", BindTransmitter: "bind_transmitter", BindTransceiver: "bind_transceiver",
	QuerySM: "query_sm", SubmitSM: "submit_sm", DeliverSM: "deliver_sm", Unbind: "unbind", ReplaceSM: "replace_sm",
	CancelSM: "cancel_sm", Outbind: "outbind", EnquireLink: "enquire_link", SubmitMulti: "submit_multi",
	AlertNotification: "alert_notification", DataSM: "data_sm",
}

func (c Command) String() string {
	if c == GenericNack {
		return "generic_nack"
	}
	name, ok := commandNames[c&^response]
	switch {
	case !ok:
		return fmt.Sprintf("command %08x", uint32(c))
	case c&response != 0:
		return name + "_resp"
	}
	return name
}

// known tells a command of SMPP 3.4 from any other.
func (c Command) known() bool {
	if c == SubmitSMResp || c == DeliverSMResp { // nearly all that is asked about
		return true
	}
	return bodyOf(c) != nil
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
	StatusInvalidSystemID Status = 0x0F // ESME_RINVSYSID
	StatusCancelFailed    Status = 0x11 // ESME_RCANCELFAIL
	StatusReplaceFailed   Status = 0x13 // ESME_RREPLACEFAIL
	StatusQueueFull       Status = 0x14 // ESME_RMSGQFUL
	StatusSubmitFailed    Status = 0x45 // ESME_RSUBMITFAIL
	StatusThrottled       Status = 0x58 // ESME_RTHROTTLED
	StatusTemporary       Status = 0x64 // ESME_RX_T_APPN: deliver it again later
	StatusPermanent       Status = 0x65 // ESME_RX_P_APPN: do not
	StatusQueryFailed     Status = 0x67 // ESME_RQUERYFAIL
)

// Text is the status in words, with its number.
func (s Status) Text() string { return fmt.Sprintf("status %#02x, %s", uint32(s), pdu.Status(s)) }

// Error makes a status that is not StatusOK an error of its own.
func (s Status) Error() string {
	return "smpp: " + s.Text()
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
	return append(appendHeader(b, headerLen+len(p.Body), p.Command, p.Status, p.Sequence), p.Body...)
}

func appendHeader(b []byte, length int, c Command, status Status, sequence uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	b = binary.BigEndian.AppendUint32(b, uint32(c))
	b = binary.BigEndian.AppendUint32(b, uint32(status))
	return binary.BigEndian.AppendUint32(b, sequence)
}

// appendMessage appends the frame of a message. After an error b is as it was.
func appendMessage(b []byte, c Command, sequence uint32, m *ShortMessage) ([]byte, error) {
	start := len(b)
	whole, err := m.Append(appendHeader(b, 0, c, StatusOK, sequence))
	if err == nil && len(whole)-start > MaxPDU {
		err = &FieldError{"message_payload", headerLen, fmt.Sprintf("makes a PDU of %d octets, at most %d", len(whole)-start, MaxPDU)}
	}
	if err != nil {
		return whole[:start], err
	}
	putLength(whole[start:])
	return whole, nil
}
