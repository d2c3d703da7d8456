package smpp

import (
	"encoding/binary"
	"fmt"
)

// TLVs are the optional parameters of a PDU as they came: in order, duplicates
// and unknown ones kept (SMPP 3.4 §3.2.4.1).
type TLVs []byte

// Tags that are read or written (SMPP 3.4 §5.3.2).
const (
	TagReceiptedMessageID = 0x001E
	TagSCInterfaceVersion = 0x0210
	TagNetworkErrorCode   = 0x0423
	TagMessagePayload     = 0x0424
	TagMessageState       = 0x0427
)

// Get returns the value of the first TLV with a tag.
func (t TLVs) Get(tag uint16) (value []byte, ok bool) {
	for len(t) >= 4 {
		n := 4 + int(binary.BigEndian.Uint16(t[2:]))
		if n > len(t) {
			break
		}
		if binary.BigEndian.Uint16(t) == tag {
			return t[4:n:n], true
		}
		t = t[n:]
	}
	return nil, false
}

// Add appends a TLV. A value of more than 65,535 octets makes the TLVs of no use,
// which is told when they are encoded.
func (t TLVs) Add(tag uint16, value []byte) TLVs {
	if len(value) > 0xFFFF {
		return append(t, 0) // half a header
	}
	t = binary.BigEndian.AppendUint16(t, tag)
	t = binary.BigEndian.AppendUint16(t, uint16(len(value)))
	return append(t, value...)
}

// tagName is what SMPP 3.4 table 5-7 calls a tag.
func tagName(tag uint16) string {
	if name, ok := tagNames[tag]; ok {
		return name
	}
	return fmt.Sprintf("TLV %04x", tag)
}

var tagNames = map[uint16]string{
	0x0005: "dest_addr_subunit", 0x0006: "dest_network_type", 0x0007: "dest_bearer_type", 0x0008: "dest_telematics_id",
	0x000D: "source_addr_subunit", 0x000E: "source_network_type", 0x000F: "source_bearer_type", 0x0010: "source_telematics_id",
	0x0017: "qos_time_to_live", 0x0019: "payload_type", 0x001D: "additional_status_info_text", TagReceiptedMessageID: "receipted_message_id",
	0x0030: "ms_msg_wait_facilities", 0x0201: "privacy_indicator", 0x0202: "source_subaddress", 0x0203: "dest_subaddress",
	0x0204: "user_message_reference", 0x0205: "user_response_code", 0x020A: "source_port", 0x020B: "destination_port",
	0x020C: "sar_msg_ref_num", 0x020D: "language_indicator", 0x020E: "sar_total_segments", 0x020F: "sar_segment_seqnum",
	TagSCInterfaceVersion: "sc_interface_version", 0x0302: "callback_num_pres_ind", 0x0303: "callback_num_atag", 0x0304: "number_of_messages",
	0x0381: "callback_num", 0x0420: "dpf_result", 0x0421: "set_dpf", 0x0422: "ms_availability_status",
	TagNetworkErrorCode: "network_error_code", TagMessagePayload: "message_payload", 0x0425: "delivery_failure_reason",
	0x0426: "more_messages_to_send", TagMessageState: "message_state", 0x0501: "ussd_service_op", 0x1201: "display_time",
	0x1203: "sms_signal", 0x1204: "ms_validity", 0x130C: "alert_on_message_delivery", 0x1380: "its_reply_type", 0x1383: "its_session_info",
}

// whole reports whether nothing is cut off.
func (t TLVs) whole() bool {
	for len(t) >= 4 {
		n := 4 + int(binary.BigEndian.Uint16(t[2:]))
		if n > len(t) {
			return false
		}
		t = t[n:]
	}
	return len(t) == 0
}
