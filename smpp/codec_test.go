package smpp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
)

// codecVector is a PDU that other stacks made (testdata/vectors/pdus.json), or
// one derived from those that is wrong (pdus_bad.json): Why and Field then say
// how, and where a strict reader stops.
type codecVector struct {
	Name, Hex, Command string
	Status, Sequence   uint32
	Fields             json.RawMessage
	TLVs               []struct {
		Tag   uint16
		Value string `json:"value_hex"`
	}
	Why, Field string

	raw []byte
}

// codecVectors reads a file of vectors. One without any is an error: a test
// that has nothing to test must not pass.
func codecVectors(file string) (vectors []codecVector, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		return nil, err
	}
	if len(vectors) == 0 {
		return nil, errors.New(file + " has no vectors")
	}
	for i := range vectors {
		v := &vectors[i]
		if v.raw, err = hex.DecodeString(v.Hex); err != nil || len(v.raw) < headerLen {
			return nil, fmt.Errorf("%s: vector %q is not a PDU: %v", file, v.Name, err)
		}
	}
	return vectors, nil
}

func codecGood(t testing.TB) []codecVector { return codecNeed(t, "testdata/vectors/pdus.json", 328) }
func codecBad(t testing.TB) []codecVector  { return codecNeed(t, "testdata/vectors/pdus_bad.json", 322) }

func codecNeed(t testing.TB, file string, atLeast int) []codecVector {
	t.Helper()
	vectors, err := codecVectors(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(vectors) < atLeast {
		t.Fatalf("%s has %d vectors, %d are due", file, len(vectors), atLeast)
	}
	return vectors
}

func TestVectorsAreNotEmpty(t *testing.T) {
	for _, text := range []string{"[]", "", "null", `[{"name":"x","hex":""}]`, `[{"name":"x","hex":"zz"}]`} {
		file := t.TempDir() + "/vectors.json"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if v, err := codecVectors(file); err == nil {
			t.Errorf("%q gives %d vectors and no error", text, len(v))
		}
	}
	if _, err := codecVectors("testdata/vectors/none.json"); err == nil {
		t.Error("a missing file is no error")
	}
}

// codecField is a field of a body, its value as text: numbers in decimal,
// octets in hex.
type codecField struct{ name, value string }

// codecText writes a value as the vectors' fields do.
func codecText(v any) string {
	if octets, ok := v.([]byte); ok {
		return hex.EncodeToString(octets)
	}
	return fmt.Sprint(v)
}

// wanted is the fields of a vector in the order of the body, TLVs last. The
// members of lists stand there one after another.
func (v *codecVector) wanted(t *testing.T) (fields []codecField) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(v.Fields))
	decoder.UseNumber()
	for name := ""; ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := token.(json.Delim); ok {
			name = "" // a list has only members
			continue
		}
		if name == "" {
			name = token.(string)
			continue
		}
		field := codecField{strings.TrimSuffix(name, "_hex"), fmt.Sprint(token)}
		name = ""
		if field.name == "sm_length" { // the vectors have it behind the message
			fields = slices.Insert(fields, len(fields)-1, field)
			continue
		}
		fields = append(fields, field)
	}
	for _, tlv := range v.TLVs {
		fields = append(fields, codecField{tagName(tlv.Tag), tlv.Value})
	}
	return fields
}

// codecTyped is what a body's struct says, in the order of the body. Each type
// is written down once more here, so that no name can stand for another's field.
func codecTyped(t *testing.T, body Body) (all []codecField) {
	t.Helper()
	put := func(name string, v any) { all = append(all, codecField{name, codecText(v)}) }
	address := func(prefix, name string, a Address) {
		put(prefix+"_addr_ton", a.TON)
		put(prefix+"_addr_npi", a.NPI)
		put(name, a.Addr)
	}
	message := func(m []byte) {
		put("sm_length", len(m))
		put("short_message", m)
	}
	var tlvs TLVs
	switch b := body.(type) {
	case *Empty:
		tlvs = b.TLVs
	case *BindRequest:
		put("system_id", b.SystemID)
		put("password", b.Password)
		put("system_type", b.SystemType)
		put("interface_version", b.InterfaceVersion)
		put("addr_ton", b.TON)
		put("addr_npi", b.NPI)
		put("address_range", b.AddressRange)
		tlvs = b.TLVs
	case *BindResponse:
		put("system_id", b.SystemID)
		tlvs = b.TLVs
	case *OutbindRequest:
		put("system_id", b.SystemID)
		put("password", b.Password)
		tlvs = b.TLVs
	case *ShortMessage:
		put("service_type", b.ServiceType)
		address("source", "source_addr", b.Source)
		address("dest", "destination_addr", b.Dest)
		put("esm_class", b.ESMClass)
		put("protocol_id", b.ProtocolID)
		put("priority_flag", b.Priority)
		put("schedule_delivery_time", b.ScheduleTime)
		put("validity_period", b.Validity)
		put("registered_delivery", b.RegisteredDelivery)
		put("replace_if_present_flag", b.Replace)
		put("data_coding", b.DataCoding)
		put("sm_default_msg_id", b.DefaultMsgID)
		message(b.Message)
		tlvs = b.TLVs
	case *Multi:
		put("service_type", b.ServiceType)
		address("source", "source_addr", b.Source)
		put("number_of_dests", len(b.Dests))
		for _, d := range b.Dests {
			put("dest_flag", d.Flag)
			if d.Flag == DestAddress {
				address("dest", "destination_addr", d.Address)
			} else {
				put("dl_name", d.List)
			}
		}
		put("esm_class", b.ESMClass)
		put("protocol_id", b.ProtocolID)
		put("priority_flag", b.Priority)
		put("schedule_delivery_time", b.ScheduleTime)
		put("validity_period", b.Validity)
		put("registered_delivery", b.RegisteredDelivery)
		put("replace_if_present_flag", b.Replace)
		put("data_coding", b.DataCoding)
		put("sm_default_msg_id", b.DefaultMsgID)
		message(b.Message)
		tlvs = b.TLVs
	case *MultiResponse:
		put("message_id", b.MessageID)
		put("no_unsuccess", len(b.Unsuccessful))
		for _, u := range b.Unsuccessful {
			address("dest", "destination_addr", u.Dest)
			put("error_status_code", uint32(u.Status))
		}
		tlvs = b.TLVs
	case *MessageResponse:
		put("message_id", b.MessageID)
		tlvs = b.TLVs
	case *Data:
		put("service_type", b.ServiceType)
		address("source", "source_addr", b.Source)
		address("dest", "destination_addr", b.Dest)
		put("esm_class", b.ESMClass)
		put("registered_delivery", b.RegisteredDelivery)
		put("data_coding", b.DataCoding)
		tlvs = b.TLVs
	case *Query:
		put("message_id", b.MessageID)
		address("source", "source_addr", b.Source)
		tlvs = b.TLVs
	case *QueryResponse:
		put("message_id", b.MessageID)
		put("final_date", b.FinalDate)
		put("message_state", byte(b.State))
		put("error_code", b.ErrorCode)
		tlvs = b.TLVs
	case *Cancel:
		put("service_type", b.ServiceType)
		put("message_id", b.MessageID)
		address("source", "source_addr", b.Source)
		address("dest", "destination_addr", b.Dest)
		tlvs = b.TLVs
	case *Replace:
		put("message_id", b.MessageID)
		address("source", "source_addr", b.Source)
		put("schedule_delivery_time", b.ScheduleTime)
		put("validity_period", b.Validity)
		put("registered_delivery", b.RegisteredDelivery)
		put("sm_default_msg_id", b.DefaultMsgID)
		message(b.Message)
		tlvs = b.TLVs
	case *Alert:
		address("source", "source_addr", b.Source)
		address("esme", "esme_addr", b.ESME)
		tlvs = b.TLVs
	default:
		t.Fatalf("%T is no body", body)
	}
	for rest := tlvs; len(rest) > 0; {
		n := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		put(tagName(binary.BigEndian.Uint16(rest)), []byte(rest[4:n]))
		rest = rest[n:]
	}
	return all
}

// What other stacks write is read as they meant it, field by field, and written
// again octet by octet.
func TestForeignVectors(t *testing.T) {
	seen := map[string]int{}
	for _, v := range codecGood(t) {
		seen[v.Command]++
		p, err := ReadPDU(bytes.NewReader(v.raw), MaxPDU)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if p.Command.String() != v.Command || uint32(p.Status) != v.Status || p.Sequence != v.Sequence {
			t.Errorf("%s: read as %s, status %d, sequence %d", v.Name, p.Command, p.Status, p.Sequence)
		}
		body, err := Parse(p.Command, p.Body)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		again, err := body.Append(nil)
		if err != nil || !bytes.Equal(again, p.Body) {
			t.Errorf("%s: written again as %x %v, it was %x", v.Name, again, err, p.Body)
		}
		if frame := (&PDU{p.Command, p.Status, p.Sequence, again}).Append(nil); !bytes.Equal(frame, v.raw) {
			t.Errorf("%s: the frame is written again as %x, it was %x", v.Name, frame, v.raw)
		}
		want := v.wanted(t)
		if got := codecTyped(t, body); !slices.Equal(got, want) {
			t.Errorf("%s: %T says\n%v, want\n%v", v.Name, body, got, want)
		}
		explained, err := Explain(p)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		var got []codecField
		var octets []byte
		for _, f := range explained {
			got = append(got, codecField{f.Name, codecText(f.Value)})
			if f.Offset != len(octets) {
				t.Errorf("%s: %s is said to be at octet %d, it is at %d", v.Name, f.Name, f.Offset, len(octets))
			}
			octets = append(octets, f.Octets...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: explained as\n%v, want\n%v", v.Name, got, want)
		}
		if !bytes.Equal(octets, p.Body) {
			t.Errorf("%s: the fields' octets are %x, the body's %x", v.Name, octets, p.Body)
		}
	}
	for c := range commandNames {
		if c == Outbind || c == AlertNotification {
			c |= response // there are none: nothing is due
		}
		if name := c.String(); c.known() && seen[name] == 0 {
			t.Errorf("no vector of %s", name)
		}
		if name := (c | response).String(); (c | response).known() && seen[name] == 0 {
			t.Errorf("no vector of %s", name)
		}
	}
}

// codecTolerated are the vectors that are wrong by the letter and read all the
// same, each with its reason.
var codecTolerated = map[string]string{
	"bind_receiver_resp/cut-before-system_id":    "status 0 without a body: the bind stands, whatever the SMSC calls itself",
	"bind_transmitter_resp/cut-before-system_id": "the same",
	"bind_transceiver_resp/cut-before-system_id": "the same",
	"submit_sm_resp/cut-before-message_id":       "status 0 without a body: the message was accepted, and must not be sent twice",
	"deliver_sm_resp/cut-before-message_id":      "its message_id is unused",
	"data_sm_resp/cut-before-message_id":         "as submit_sm_resp",
	"submit_multi_resp/cut-before-message_id":    "as submit_sm_resp",
	"query_sm_resp/cut-before-message_id":        "we send no query_sm: nothing depends on it",
	"submit_sm/short-validity_period":            "times are carried, not read: a short one does no harm",
	"query_sm_resp/short-final_date":             "the same",
}

// codecElsewhere are vectors with a count that lies, so that what is behind the
// list is read as part of it, or the other way round. Where that shows first is
// arguable: here, since times may be short, it is further on.
var codecElsewhere = map[string]string{
	"submit_multi/number_of_dests-1": "short_message",
	"submit_multi/number_of_dests-3": "TLV",
}

// wrongField is the field that the refusal of a bad vector names, or "" if it
// is tolerated.
func (v *codecVector) wrongField() string {
	if codecTolerated[v.Name] != "" {
		return ""
	}
	if field := codecElsewhere[v.Name]; field != "" {
		return field
	}
	return v.Field
}

func TestBadVectors(t *testing.T) {
	tolerated := 0
	for _, v := range codecBad(t) {
		p, err := ReadPDU(bytes.NewReader(v.raw), MaxPDU)
		if err != nil || p.Command.String() != v.Command {
			t.Errorf("%s: the frame is right, and yet: %s %v", v.Name, p.Command, err)
			continue
		}
		body, err := Parse(p.Command, p.Body)
		_, explained := Explain(p)
		if want := v.wrongField(); want == "" {
			tolerated++
			if err != nil || explained != nil {
				t.Errorf("%s: %v, %v; want it tolerated: %s", v.Name, err, explained, codecTolerated[v.Name])
			} else if again, err := body.Append(nil); err != nil || !bytes.Equal(again, p.Body) {
				t.Errorf("%s: written again as %x %v", v.Name, again, err)
			}
			continue
		} else if field := new(FieldError); !errors.As(err, &field) || field.Field != want {
			t.Errorf("%s (%s): %v, want one that names %s", v.Name, v.Why, err, want)
		} else if field.Offset < 0 || field.Offset > len(p.Body) || !reflect.DeepEqual(explained, err) || body != nil {
			t.Errorf("%s: octet %d of %d, %v, explained as %v", v.Name, field.Offset, len(p.Body), body, explained)
		}
	}
	if want := len(codecTolerated); tolerated != want {
		t.Errorf("%d were tolerated, the table has %d", tolerated, want)
	}
}

// A body that was cut off is refused, unless it ends where a TLV might begin.
func TestPrefixes(t *testing.T) {
	for _, v := range codecGood(t) {
		p := parseFrame(v.raw)
		border := map[int]bool{}
		end := len(p.Body)
		border[end] = true
		for _, tlv := range slices.Backward(v.TLVs) {
			end -= 4 + len(tlv.Value)/2
			border[end] = true
		}
		if p.Command&response != 0 {
			border[0] = true
		}
		for n := range p.Body {
			if n > 5000 && n%101 > 0 && !border[n] {
				continue // in the middle of one TLV of 64 KiB
			}
			prefix := p.Body[:n:n]
			body, err := Parse(p.Command, prefix)
			field := new(FieldError)
			switch {
			case err == nil && !border[n]:
				t.Errorf("%s: the first %d of %d octets are taken for a body", v.Name, n, len(p.Body))
			case err == nil:
				if again, err := body.Append(nil); err != nil || !bytes.Equal(again, prefix) {
					t.Errorf("%s: %d octets are written again as %x %v", v.Name, n, again, err)
				}
			case !errors.As(err, &field):
				t.Errorf("%s: %d octets: %v", v.Name, n, err)
			case border[n] && !strings.Contains(field.Problem, "UDHL"): // its payload is cut off, its header missed
				t.Errorf("%s: %d octets are a body, and yet: %v", v.Name, n, err)
			}
			if (p.Command == SubmitSM || p.Command == DeliverSM) && n < maxHead+200 { // behind that are only TLVs, cut off as before
				codecAgree(t, prefix)
			}
		}
	}
}

// codecAgree reads a body as a ShortMessage both ways, by the list of its
// fields and the fast way.
func codecAgree(t *testing.T, body []byte) {
	t.Helper()
	var slow, fast ShortMessage
	f := fields{b: body}
	slow.fields(&f)
	ok := fast.read(body)
	if ok != (f.err == nil) {
		t.Fatalf("%x: read fast: %v, by the list: %v", body, ok, f.err)
	}
	if ok && !reflect.DeepEqual(fast, slow) {
		t.Fatalf("%x: read fast as\n%+v, by the list\n%+v", body, fast, slow)
	}
	both, err := ParseShortMessage(body)
	if (err == nil) != ok || ok && !reflect.DeepEqual(both, slow) {
		t.Fatalf("%x: ParseShortMessage: %+v %v, want %+v %v", body, both, err, slow, f.err)
	}
	if !ok {
		if !reflect.DeepEqual(err, f.err) {
			t.Fatalf("%x: ParseShortMessage: %v, by the list: %v", body, err, f.err)
		}
		return
	}
	codecAgreeWriting(t, &both)
}

// codecAgreeWriting writes a message both ways.
func codecAgreeWriting(t *testing.T, m *ShortMessage) {
	t.Helper()
	const before = "before"
	slow, err := appendBody([]byte(before), m)
	if m.fits() != (err == nil) {
		t.Fatalf("%+v: it fits: %v, and is written by the list with %v", m, m.fits(), err)
	}
	if err == nil {
		if fast := m.write([]byte(before)); !bytes.Equal(fast, slow) {
			t.Fatalf("%+v: written fast as\n%x, by the list\n%x", m, fast, slow)
		}
	}
	both, err2 := m.Append([]byte(before))
	if !reflect.DeepEqual(err, err2) || err == nil && !bytes.Equal(both, slow) {
		t.Fatalf("%+v: Append gives %x %v, want %x %v", m, both, err2, slow, err)
	}
}

// All vectors are read both ways, those of other commands too: what is one body
// is a malformed other.
func TestFastPathAgrees(t *testing.T) {
	for _, v := range append(codecGood(t), codecBad(t)...) {
		codecAgree(t, v.raw[headerLen:])
	}
	m := codecMessage()
	for _, long := range []int{0, 1, 5, 6, 16, 17, 20, 21, 103, 104, 105, 254, 255} {
		for _, text := range []string{strings.Repeat("x", long), strings.Repeat("x", long) + "\x00"} {
			for _, set := range []func(*ShortMessage){
				func(m *ShortMessage) { m.ServiceType = text },
				func(m *ShortMessage) { m.Source.Addr = text },
				func(m *ShortMessage) { m.Dest.Addr = text },
				func(m *ShortMessage) { m.ScheduleTime = text },
				func(m *ShortMessage) { m.Validity = text },
				func(m *ShortMessage) { m.Message = []byte(text) },
			} {
				changed := *m
				set(&changed)
				codecAgreeWriting(t, &changed)
				codecAgree(t, changed.write(nil)) // written without a look at limits
			}
		}
	}
}

// codecMessage is the OTA message to a SIM that is sent all day: a submit_sm of
// 189 octets.
func codecMessage() *ShortMessage {
	return &ShortMessage{
		Source: Address{TON: 3, Addr: "7777"}, Dest: International("994500000001"),
		ESMClass: ESMClassUDHI, ProtocolID: 0x7F, DataCoding: 0xF6,
		Message: append([]byte{2, 0x70, 0}, bytes.Repeat([]byte{0xA5}, 137)...),
	}
}

func TestMessageRoundTrip(t *testing.T) {
	m := codecMessage()
	m.ServiceType, m.Validity, m.ScheduleTime = "CMT", RelativeTime(2*time.Minute), "260101000000000+"
	m.Priority, m.RegisteredDelivery, m.Replace, m.DefaultMsgID = 3, ReceiptOnFinal, 1, 9
	m.TLVs = TLVs(nil).Add(0x1400, []byte{1}).Add(0x1400, []byte{2}).Add(TagReceiptedMessageID, []byte("x\x00"))
	body, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseShortMessage(body)
	if err != nil || !reflect.DeepEqual(&got, m) {
		t.Fatalf("%+v %v, want %+v", got, err, m)
	}
	if value, ok := got.TLVs.Get(0x1400); !ok || !bytes.Equal(value, []byte{1}) {
		t.Errorf("the first of two TLVs with one tag: %x %v", value, ok)
	}
	if value, ok := got.TLVs.Get(0x9999); ok {
		t.Errorf("a TLV that is not there: %x", value)
	}
	if _, ok := (TLVs{0, 1, 0, 9, 1}).Get(1); ok {
		t.Error("a TLV that is cut off was found")
	}
}

// Message is the content unless it is empty and there is a message_payload.
func TestContent(t *testing.T) {
	payload := TLVs(nil).Add(0x1400, []byte("no")).Add(TagMessagePayload, []byte("payload"))
	for _, c := range []struct {
		m    ShortMessage
		want string
	}{
		{ShortMessage{Message: []byte("short")}, "short"},
		{ShortMessage{TLVs: payload}, "payload"},
		{ShortMessage{Message: []byte("short"), TLVs: payload}, "short"},
		{ShortMessage{}, ""},
	} {
		if got := c.m.Content(); string(got) != c.want {
			t.Errorf("%+v carries %q, want %q", c.m, got, c.want)
		}
	}
}

// A header that is announced is looked at, wherever the message is; bits beside
// UDHI do not matter.
func TestUserDataHeader(t *testing.T) {
	for _, c := range []struct {
		class   byte
		content []byte
		good    bool
	}{
		{0x40, []byte{2, 0x70, 0}, true}, {0x43, []byte{2, 0x70, 0, 1}, true}, {0x40, []byte{0}, true},
		{0x40, []byte{3, 0x70, 0}, false}, {0x43, []byte{200, 1, 2}, false}, {0x40, nil, false}, {0xC0, []byte{255}, false},
		{0x00, []byte{200, 1, 2}, true}, {0x3F, []byte{200, 1}, true}, {0x80, nil, true},
	} {
		payload := TLVs(nil).Add(TagMessagePayload, c.content)
		for name, body := range map[Command][]Body{
			SubmitSM:    {&ShortMessage{ESMClass: c.class, Message: c.content}, &ShortMessage{ESMClass: c.class, TLVs: payload}},
			DataSM:      {&Data{ESMClass: c.class, TLVs: payload}},
			SubmitMulti: {&Multi{ESMClass: c.class, Dests: []Destination{{Flag: DestList}}, Message: c.content}, &Multi{ESMClass: c.class, Dests: []Destination{{Flag: DestList}}, TLVs: payload}},
		} {
			for _, b := range body {
				raw, err := b.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				_, err = Parse(name, raw)
				field := new(FieldError)
				if c.good != (err == nil) || err != nil && (!errors.As(err, &field) || field.Field != "short_message" || field.Status() != StatusInvalidMessage) {
					t.Errorf("%s, esm_class %02x, %x: %v, good is %v", name, c.class, c.content, err, c.good)
				}
			}
		}
	}
}

// codecLimits are all strings of all bodies, and the most octets of each by
// SMPP 3.4, the NUL not counted.
var codecLimits = []struct {
	field string
	most  int
	in    Command
	body  func(string) Body
}{
	{"system_id", 15, BindReceiver, func(s string) Body { return &BindRequest{SystemID: s} }},
	{"password", 8, BindReceiver, func(s string) Body { return &BindRequest{Password: s} }},
	{"system_type", 12, BindTransmitter, func(s string) Body { return &BindRequest{SystemType: s} }},
	{"address_range", 40, BindTransceiver, func(s string) Body { return &BindRequest{AddressRange: s} }},
	{"system_id", 15, BindTransceiverResp, func(s string) Body { return &BindResponse{SystemID: s} }},
	{"system_id", 15, Outbind, func(s string) Body { return &OutbindRequest{SystemID: s} }},
	{"password", 8, Outbind, func(s string) Body { return &OutbindRequest{Password: s} }},
	{"service_type", 5, SubmitSM, func(s string) Body { return &ShortMessage{ServiceType: s} }},
	{"source_addr", 20, SubmitSM, func(s string) Body { return &ShortMessage{Source: Address{Addr: s}} }},
	{"destination_addr", 20, DeliverSM, func(s string) Body { return &ShortMessage{Dest: Address{Addr: s}} }},
	{"schedule_delivery_time", 16, SubmitSM, func(s string) Body { return &ShortMessage{ScheduleTime: s} }},
	{"validity_period", 16, SubmitSM, func(s string) Body { return &ShortMessage{Validity: s} }},
	{"message_id", 64, SubmitSMResp, func(s string) Body { return &MessageResponse{MessageID: s} }},
	{"service_type", 5, DataSM, func(s string) Body { return &Data{ServiceType: s} }},
	{"source_addr", 64, DataSM, func(s string) Body { return &Data{Source: Address{Addr: s}} }},
	{"destination_addr", 64, DataSM, func(s string) Body { return &Data{Dest: Address{Addr: s}} }},
	{"service_type", 5, SubmitMulti, func(s string) Body { return codecMulti(func(m *Multi) { m.ServiceType = s }) }},
	{"source_addr", 20, SubmitMulti, func(s string) Body { return codecMulti(func(m *Multi) { m.Source.Addr = s }) }},
	{"destination_addr", 20, SubmitMulti, func(s string) Body { return codecMulti(func(m *Multi) { m.Dests[0].Address.Addr = s }) }},
	{"dl_name", 20, SubmitMulti, func(s string) Body { return codecMulti(func(m *Multi) { m.Dests[1].List = s }) }},
	{"schedule_delivery_time", 16, SubmitMulti, func(s string) Body { return codecMulti(func(m *Multi) { m.ScheduleTime = s }) }},
	{"validity_period", 16, SubmitMulti, func(s string) Body { return codecMulti(func(m *Multi) { m.Validity = s }) }},
	{"message_id", 64, SubmitMultiResp, func(s string) Body { return &MultiResponse{MessageID: s} }},
	{"destination_addr", 20, SubmitMultiResp, func(s string) Body {
		return &MultiResponse{Unsuccessful: []Unsuccessful{{Dest: Address{Addr: s}}}}
	}},
	{"message_id", 64, QuerySM, func(s string) Body { return &Query{MessageID: s} }},
	{"source_addr", 20, QuerySM, func(s string) Body { return &Query{Source: Address{Addr: s}} }},
	{"message_id", 64, QuerySMResp, func(s string) Body { return &QueryResponse{MessageID: s} }},
	{"final_date", 16, QuerySMResp, func(s string) Body { return &QueryResponse{FinalDate: s} }},
	{"service_type", 5, CancelSM, func(s string) Body { return &Cancel{ServiceType: s} }},
	{"message_id", 64, CancelSM, func(s string) Body { return &Cancel{MessageID: s} }},
	{"source_addr", 20, CancelSM, func(s string) Body { return &Cancel{Source: Address{Addr: s}} }},
	{"destination_addr", 20, CancelSM, func(s string) Body { return &Cancel{Dest: Address{Addr: s}} }},
	{"message_id", 64, ReplaceSM, func(s string) Body { return &Replace{MessageID: s} }},
	{"source_addr", 20, ReplaceSM, func(s string) Body { return &Replace{Source: Address{Addr: s}} }},
	{"schedule_delivery_time", 16, ReplaceSM, func(s string) Body { return &Replace{ScheduleTime: s} }},
	{"validity_period", 16, ReplaceSM, func(s string) Body { return &Replace{Validity: s} }},
	{"source_addr", 64, AlertNotification, func(s string) Body { return &Alert{Source: Address{Addr: s}} }},
	{"esme_addr", 64, AlertNotification, func(s string) Body { return &Alert{ESME: Address{Addr: s}} }},
}

func codecMulti(set func(*Multi)) *Multi {
	m := &Multi{Dests: []Destination{{Flag: DestAddress}, {Flag: DestList}}}
	set(m)
	return m
}

// codecWant checks that an error names a field, and its octet if that is given.
func codecWant(t *testing.T, what string, err error, name string, at ...int) {
	t.Helper()
	field := new(FieldError)
	if !errors.As(err, &field) || field.Field != name || !strings.Contains(err.Error(), name) || len(at) > 0 && field.Offset != at[0] {
		t.Errorf("%s: %v, want an error that names %s, octet %d", what, err, name, at)
	}
}

func TestStringLimits(t *testing.T) {
	prefix := []byte("what was there")
	for _, c := range codecLimits {
		what := fmt.Sprintf("%s of %s", c.field, c.in)
		longest := c.body(strings.Repeat("x", c.most))
		raw, err := longest.Append(nil)
		if err != nil {
			t.Errorf("%s, longest: %v", what, err)
			continue
		}
		if got, err := Parse(c.in, raw); err != nil || !slices.Equal(codecTyped(t, got), codecTyped(t, longest)) {
			t.Errorf("%s, longest: read as %+v %v", what, got, err)
		}
		at := -1 // where an error must say it is
		explained, _ := Explain(PDU{Command: c.in, Body: raw})
		for _, f := range explained {
			if f.Name == c.field {
				at = f.Offset
			}
		}
		// One octet more is neither written nor read.
		i := bytes.IndexByte(raw, 'x')
		_, err = Parse(c.in, slices.Insert(bytes.Clone(raw), i, 'x'))
		codecWant(t, what+", one octet too long, read", err, c.field, at)
		for _, text := range []string{
			strings.Repeat("x", c.most+1), strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("x", 66_000),
			"\x00", "a\x00b", "\x00a", "a\x00", strings.Repeat("x", c.most-1) + "\x00",
		} {
			room := append(make([]byte, 0, 512), prefix...)
			_, err := c.body(text).Append(room)
			codecWant(t, fmt.Sprintf("%s, %d octets", what, len(text)), err, c.field, at)
			if !bytes.Equal(room, prefix) {
				t.Errorf("%s: what was there is now %q", what, room)
			}
		}
	}
}

func TestOtherLimits(t *testing.T) {
	for _, c := range []struct {
		what, field string // field is empty where it is within the limit
		body        Body
	}{
		{"254 octets", "", &ShortMessage{Message: make([]byte, 254)}},
		{"255 octets", "short_message", &ShortMessage{Message: make([]byte, 255)}},
		{"256 octets, 0 in sm_length", "short_message", &ShortMessage{Message: make([]byte, 256)}},
		{"70,000 octets", "short_message", &ShortMessage{Message: make([]byte, 70_000)}},
		{"replace_sm, 254 octets", "", &Replace{Message: make([]byte, 254)}},
		{"replace_sm, 255 octets", "short_message", &Replace{Message: make([]byte, 255)}},
		{"submit_multi, 255 octets", "short_message", codecMulti(func(m *Multi) { m.Message = make([]byte, 255) })},
		{"no destination", "number_of_dests", &Multi{}},
		{"254 destinations", "", codecDests(254)},
		{"255 destinations", "number_of_dests", codecDests(255)},
		{"256 destinations, 0 in the octet", "number_of_dests", codecDests(256)},
		{"300 destinations", "number_of_dests", codecDests(300)},
		{"a destination of neither kind", "dest_flag", &Multi{Dests: []Destination{{Flag: 3}}}},
		{"a destination that is unset", "dest_flag", &Multi{Dests: []Destination{{}}}},
		{"255 unsuccessful", "", &MultiResponse{Unsuccessful: make([]Unsuccessful, 255)}},
		{"256 unsuccessful", "no_unsuccess", &MultiResponse{Unsuccessful: make([]Unsuccessful, 256)}},
	} {
		raw, err := c.body.Append(nil)
		if c.field != "" {
			codecWant(t, c.what, err, c.field)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		command := map[string]Command{"*smpp.ShortMessage": SubmitSM, "*smpp.Replace": ReplaceSM, "*smpp.Multi": SubmitMulti, "*smpp.MultiResponse": SubmitMultiResp}[fmt.Sprintf("%T", c.body)]
		if got, err := Parse(command, raw); err != nil || !slices.Equal(codecTyped(t, got), codecTyped(t, c.body)) {
			t.Errorf("%s: read as %+v %v", c.what, got, err)
		}
	}
}

func codecDests(n int) *Multi {
	return &Multi{Dests: slices.Repeat([]Destination{{Flag: DestList, List: "all"}}, n)}
}

// What is not written leaves the queue as it was: other requests are in it.
func TestFailedMessageLeavesNothing(t *testing.T) {
	queued := (&PDU{Command: EnquireLink, Sequence: 1}).Append(make([]byte, 0, 200_000))
	before := bytes.Clone(queued)
	room := func(size int) TLVs { // TLVs of so many octets
		return TLVs(nil).Add(TagMessagePayload, make([]byte, 40_000)).Add(TagMessagePayload, make([]byte, size-40_000-8))
	}
	empty, err := appendMessage(nil, SubmitSM, 2, new(ShortMessage))
	if err != nil || len(empty) != headerLen+17 {
		t.Fatalf("%x %v", empty, err)
	}
	largest := room(MaxPDU - len(empty))
	for _, c := range []struct {
		field string
		m     *ShortMessage
	}{
		{"service_type", &ShortMessage{ServiceType: "toolong"}},
		{"source_addr", &ShortMessage{Source: Address{Addr: "a\x00b"}}},
		{"destination_addr", &ShortMessage{Dest: Address{Addr: strings.Repeat("1", 21)}}},
		{"validity_period", &ShortMessage{Validity: strings.Repeat("1", 17)}},
		{"short_message", &ShortMessage{Message: make([]byte, 255)}},
		{"message_payload", &ShortMessage{TLVs: room(MaxPDU - len(empty) + 1)}},
		{"message_payload", &ShortMessage{TLVs: room(79_999)}},
		{"message_payload", &ShortMessage{Message: []byte{1}, TLVs: largest}},
	} {
		for _, b := range [][]byte{queued, bytes.Clone(queued), nil} {
			out, err := appendMessage(b, SubmitSM, 2, c.m)
			codecWant(t, c.field, err, c.field)
			if len(out) != len(b) || !bytes.HasPrefix(before, out) {
				t.Errorf("%s: %d octets are queued after it, %d were", c.field, len(out), len(b))
			}
		}
	}
	out, err := appendMessage(queued, SubmitSM, 2, &ShortMessage{TLVs: largest})
	if err != nil || len(out) != len(before)+MaxPDU {
		t.Fatalf("the largest: %d octets, %v", len(out), err)
	}
	reader := &frameReader{r: bytes.NewReader(out), limit: MaxPDU}
	if p, err := reader.next(); err != nil || p.Command != EnquireLink {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := reader.next(); err != nil || len(p.Body) != MaxPDU-headerLen || p.Sequence != 2 {
		t.Errorf("the largest is read as %d octets %v", len(p.Body), err)
	}
}

// Octets are the buffer's, strings are copies, and neither can reach what is
// behind them: in go-smpp, who appended to a message wrote over what followed.
func TestAliasing(t *testing.T) {
	m := codecMessage()
	m.ServiceType, m.Validity = "CMT", RelativeTime(time.Minute)
	m.TLVs = TLVs(nil).Add(0x1400, []byte("first")).Add(0x1400, []byte("second"))
	frame, err := appendMessage(nil, SubmitSM, 7, m)
	if err != nil {
		t.Fatal(err)
	}
	frame = append(frame, "the next frame"...)
	pristine := bytes.Clone(frame)
	reader := &frameReader{r: bytes.NewReader(frame), limit: MaxPDU}
	for name, read := range map[string]func(PDU) ShortMessage{
		"fast": func(p PDU) ShortMessage { m, _ := ParseShortMessage(p.Body); return m },
		"list": func(p PDU) ShortMessage {
			body, err := Parse(SubmitSM, p.Body)
			if err != nil {
				t.Fatal(err)
			}
			return *body.(*ShortMessage)
		},
	} {
		copy(frame, pristine)
		p := parseFrame(frame[:len(frame)-len("the next frame")])
		got := read(p)
		value, _ := got.TLVs.Get(0x1400)
		for what, slice := range map[string][]byte{"body": p.Body, "message": got.Message, "TLVs": got.TLVs, "value": value, "content": got.Content()} {
			if len(slice) == 0 || cap(slice) != len(slice) {
				t.Errorf("%s: %s: %d octets, room for %d", name, what, len(slice), cap(slice))
			}
			_ = append(slice, 0xEE)
		}
		_ = got.TLVs.Add(1, []byte{0xEE})
		if !bytes.Equal(frame, pristine) {
			t.Errorf("%s: who appends to what was read writes into the frame:\n%x, was\n%x", name, frame, pristine)
		}
		if &got.Message[0] != &p.Body[bytes.Index(p.Body, got.Message)] {
			t.Errorf("%s: the message is a copy", name)
		}
		if &got.TLVs[0] != &p.Body[len(p.Body)-len(got.TLVs)] {
			t.Errorf("%s: the TLVs are a copy", name)
		}
		clear(frame)
		if got.ServiceType != "CMT" || got.Source != m.Source || got.Dest != m.Dest || got.Validity != m.Validity {
			t.Errorf("%s: the strings went with the buffer: %+v", name, got)
		}
	}
	if _, err := reader.next(); !errors.Is(err, ErrFraming) { // it read the cleared buffer
		t.Errorf("%v", err)
	}
	// All other bodies: their octets end where they end.
	for _, v := range codecGood(t) {
		p := parseFrame(v.raw)
		fields, err := Explain(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			if value, ok := f.Value.([]byte); ok && cap(value) != len(value) || cap(f.Octets) != len(f.Octets) {
				t.Errorf("%s: %s has room behind it", v.Name, f.Name)
			}
		}
		body, err := Parse(p.Command, p.Body)
		if err != nil {
			t.Fatal(err)
		}
		want := codecTyped(t, body)
		pristine := bytes.Clone(v.raw)
		switch b := body.(type) {
		case *ShortMessage:
			_ = append(b.Message, 0xEE)
		case *Multi:
			_ = append(b.Message, 0xEE)
		case *Replace:
			_ = append(b.Message, 0xEE)
		}
		if !bytes.Equal(v.raw, pristine) || !slices.Equal(codecTyped(t, body), want) {
			t.Errorf("%s: appending to the message changed what is behind it", v.Name)
		}
	}
}

// To write is to append: what was there stays, in place or copied.
func TestAppendKeepsWhatIsThere(t *testing.T) {
	prefix := []byte("before")
	for _, v := range codecGood(t) {
		p := parseFrame(v.raw)
		body, err := Parse(p.Command, p.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, room := range []int{len(prefix), len(prefix) + 3, 1024} {
			b := append(make([]byte, 0, room), prefix...)
			out, err := body.Append(b)
			if err != nil || !bytes.Equal(out, slices.Concat(prefix, p.Body)) || !bytes.Equal(b, prefix) {
				t.Errorf("%s: body, room for %d: %q %v", v.Name, room, out, err)
			}
			if out := p.Append(append(make([]byte, 0, room), prefix...)); !bytes.Equal(out, slices.Concat(prefix, v.raw)) {
				t.Errorf("%s: frame, room for %d: %q", v.Name, room, out)
			}
			if m, ok := body.(*ShortMessage); ok && p.Status == StatusOK {
				out, err := appendMessage(append(make([]byte, 0, room), prefix...), p.Command, p.Sequence, m)
				if err != nil || !bytes.Equal(out, slices.Concat(prefix, v.raw)) {
					t.Errorf("%s: message, room for %d: %q %v", v.Name, room, out, err)
				}
			}
		}
	}
}

// go-smpp reads what we write the same, and we what it writes.
func TestGoSMPPAgrees(t *testing.T) {
	m := codecMessage()
	m.Source, m.RegisteredDelivery, m.Validity = Address{TON: 5, Addr: "imza"}, ReceiptOnFinal, RelativeTime(2*time.Minute)
	ours, err := appendMessage(nil, SubmitSM, 7, m)
	if err != nil {
		t.Fatal(err)
	}
	codecGoSMPPReads(t, ours, map[pdufield.Name]any{
		pdufield.SourceAddr: "imza", pdufield.DestinationAddr: "994500000001", pdufield.ValidityPeriod: m.Validity,
		pdufield.SourceAddrTON: 5, pdufield.SourceAddrNPI: 0, pdufield.DestAddrTON: 1, pdufield.DestAddrNPI: 1,
		pdufield.ESMClass: 0x40, pdufield.ProtocolID: 0x7F, pdufield.DataCoding: 0xF6, pdufield.RegisteredDelivery: 1,
	})
	for command, c := range map[Command]struct {
		body Body
		want map[pdufield.Name]any
	}{
		BindTransceiver: {
			&BindRequest{SystemID: "imza", Password: "secret", SystemType: "OTA", InterfaceVersion: 0x34, TON: 1, NPI: 2, AddressRange: "^994"},
			map[pdufield.Name]any{
				pdufield.SystemID: "imza", pdufield.Password: "secret", pdufield.SystemType: "OTA", pdufield.InterfaceVersion: 0x34,
				pdufield.AddrTON: 1, pdufield.AddrNPI: 2, pdufield.AddressRange: "^994",
			},
		},
		BindTransceiverResp: {&BindResponse{SystemID: "smsc"}, map[pdufield.Name]any{pdufield.SystemID: "smsc"}},
		SubmitSMResp:        {&MessageResponse{MessageID: "00a7"}, map[pdufield.Name]any{pdufield.MessageID: "00a7"}},
		EnquireLink:         {new(Empty), nil},
	} {
		body, err := c.body.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		codecGoSMPPReads(t, (&PDU{Command: command, Sequence: 7, Body: body}).Append(nil), c.want)
	}

	built := pdu.NewSubmitSM(nil)
	for name, value := range map[pdufield.Name]any{
		pdufield.SourceAddrTON: 5, pdufield.SourceAddr: "imza", pdufield.DestAddrTON: 1, pdufield.DestAddrNPI: 1,
		pdufield.DestinationAddr: "994500000001", pdufield.ProtocolID: 0x7F, pdufield.ValidityPeriod: m.Validity,
		pdufield.RegisteredDelivery: 1, pdufield.ShortMessage: pdutext.Raw("no header"),
	} {
		if err := built.Fields().Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	built.Header().Seq = 9
	var theirs bytes.Buffer
	if err := built.SerializeTo(&theirs); err != nil {
		t.Fatal(err)
	}
	p, err := ReadPDU(bytes.NewReader(theirs.Bytes()), MaxPDU)
	if err != nil || p.Command != SubmitSM || p.Sequence != 9 {
		t.Fatalf("%+v %v", p, err)
	}
	read, err := ParseShortMessage(p.Body)
	want := ShortMessage{Source: m.Source, Dest: m.Dest, ProtocolID: 0x7F, Validity: m.Validity, RegisteredDelivery: 1, Message: []byte("no header")}
	if err != nil || !reflect.DeepEqual(read, want) {
		t.Errorf("%+v %v, want %+v", read, err, want)
	}
	if again, err := appendMessage(nil, SubmitSM, 9, &read); err != nil || !bytes.Equal(again, theirs.Bytes()) {
		t.Errorf("written again\n%x %v, go-smpp wrote\n%x", again, err, theirs.Bytes())
	}
}

func codecGoSMPPReads(t *testing.T, frame []byte, want map[pdufield.Name]any) {
	t.Helper()
	p := parseFrame(frame)
	decoded, err := pdu.Decode(bytes.NewReader(frame))
	if err != nil {
		t.Errorf("%s: go-smpp: %v", p.Command, err)
		return
	}
	if h := decoded.Header(); h.Seq != p.Sequence || Command(h.ID) != p.Command || int(h.Len) != len(frame) {
		t.Errorf("go-smpp reads the header as %+v", h)
	}
	for name, want := range want {
		if got := decoded.Fields()[name]; got == nil || got.String() != fmt.Sprint(want) {
			t.Errorf("%s: go-smpp reads %s as %v, want %v", p.Command, name, got, want)
		}
	}
	var again bytes.Buffer
	if p.Command != SubmitSM { // it writes a header of its own into the message
		if err := decoded.SerializeTo(&again); err != nil || !bytes.Equal(again.Bytes(), frame) {
			t.Errorf("%s: go-smpp writes it again as %x %v, want %x", p.Command, again.Bytes(), err, frame)
		}
	}
}

func TestReadPDU(t *testing.T) {
	for _, c := range codecFrames {
		raw, err := hex.DecodeString(c.text)
		if err != nil {
			t.Fatal(err)
		}
		source := bytes.NewReader(append(bytes.Clone(raw), c.behind...))
		p, err := ReadPDU(source, c.limit)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.text, err, c.want)
		}
		if err != nil {
			if p.Body != nil || p.Command != 0 {
				t.Errorf("%s: %v beside %+v", c.text, err, p)
			}
			continue
		}
		if !bytes.Equal(p.Append(nil), raw) || source.Len() != len(c.behind) {
			t.Errorf("%s: written again as %x, %d octets are left", c.text, p.Append(nil), source.Len())
		}
	}
	// A stream that breaks off otherwise says how.
	broken := errors.New("broken")
	frame := (&PDU{Command: EnquireLink, Sequence: 1}).Append(nil)
	for n := range frame {
		_, err := ReadPDU(io.MultiReader(bytes.NewReader(frame[:n]), iotest.ErrReader(broken)), MaxPDU)
		reader := &frameReader{r: io.MultiReader(bytes.NewReader(frame[:n]), iotest.ErrReader(broken)), limit: MaxPDU}
		_, err2 := reader.next()
		if !errors.Is(err, broken) || !errors.Is(err2, broken) {
			t.Errorf("broken after %d octets: %v, %v", n, err, err2)
		}
	}
}

// codecFrames are streams, and what their first frame is read as.
var codecFrames = []struct {
	text, behind string
	limit        int
	want         error
}{
	{"", "", MaxPDU, io.EOF},
	{"00", "", MaxPDU, io.ErrUnexpectedEOF},
	{"000000", "", MaxPDU, io.ErrUnexpectedEOF},
	{"00000000", "", MaxPDU, ErrFraming},
	{"00000000", "what is behind it", MaxPDU, ErrFraming},
	{"0000000f", "", MaxPDU, ErrFraming},
	{"0000000f", "00000150000000000000001", MaxPDU, ErrFraming},
	{"7fffffff00000004", "", MaxPDU, ErrFraming},
	{"80000000", "", MaxPDU, ErrFraming},
	{"80000010", "", MaxPDU, ErrFraming},
	{"ffffffff", "", MaxPDU, ErrFraming},
	{"00011171", "", MaxPDU, ErrFraming}, // 70,001
	{"00011170", "", MaxPDU, io.ErrUnexpectedEOF},
	{"00000401", "", maxPDUUnbound, ErrFraming}, // 1,025
	{"00000400", "", maxPDUUnbound, io.ErrUnexpectedEOF},
	{"00000011", "", 16, ErrFraming},
	{"00000010" + "00000015", "", MaxPDU, io.ErrUnexpectedEOF},
	{"00000011000000150000000000000001", "", MaxPDU, io.ErrUnexpectedEOF},
	{"00000010000000150000000000000001", "", MaxPDU, nil},
	{"00000010000000150000000000000001", "", 16, nil},
	{"00000010000000150000000000000001", "\x00\x00", MaxPDU, nil},
	{"0000001100000015000000000000000100", "more", MaxPDU, nil},
	{"000000110000001500000000000000ff5a", "\xff", MaxPDU, nil},
}

// codecChunks gives at most so many octets with each read.
type codecChunks struct {
	r io.Reader
	n int
}

func (c codecChunks) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

// However the octets come, the same frames come out, and the same end.
func TestFrameReader(t *testing.T) {
	ways := map[string]func(io.Reader) io.Reader{
		"all at once":    func(r io.Reader) io.Reader { return r },
		"octet by octet": iotest.OneByteReader,
		"half of it":     iotest.HalfReader,
		"end with data":  iotest.DataErrReader,
	}
	for _, n := range []int{3, 4, 5, 15, 16, 17, 1000, 4096, 65_537} {
		ways[fmt.Sprintf("%d octets", n)] = func(r io.Reader) io.Reader { return codecChunks{r, n} }
	}
	short := [][]byte{(&PDU{Command: EnquireLink, Sequence: 1}).Append(nil)}
	var small, large [][]byte
	for _, v := range codecGood(t) {
		if len(v.raw) < 1000 {
			small = append(small, v.raw)
		}
		large = append(large, v.raw)
	}
	for _, size := range []int{smallBuffer - headerLen, smallBuffer - headerLen + 1, 5000, largeBuffer, MaxPDU - headerLen, 0, 1} {
		large = append(large, (&PDU{Command: DataSM, Sequence: uint32(size) + 1, Body: bytes.Repeat([]byte{byte(size)}, size)}).Append(nil))
	}
	for end, wantErr := range map[string]error{
		"": io.EOF, "\x00": io.ErrUnexpectedEOF, "\x00\x00\x00\x10\x00": io.ErrUnexpectedEOF, "\x00\x00\x00\x0f": ErrFraming,
		"\x00\x00\x00\x00": ErrFraming, "\x7f\xff\xff\xff": ErrFraming, "\xff\xff\xff\xff": ErrFraming, "\x00\x01\x11\x71": ErrFraming,
	} {
		for name, way := range ways {
			want := short
			if end == "" {
				want = large
				if !slices.Contains([]string{"all at once", "end with data", "half of it", "1000 octets", "4096 octets", "65537 octets"}, name) {
					want = small // large ones would take their time
				}
			}
			reader := &frameReader{r: way(strings.NewReader(string(slices.Concat(want...)) + end)), limit: MaxPDU}
			for i, frame := range want {
				p, err := reader.next()
				if err != nil || !bytes.Equal(p.Append(nil), frame) {
					t.Fatalf("%s: frame %d: %v, %.40x, want %.40x", name, i, err, p.Append(nil), frame)
				}
				if cap(p.Body) != len(p.Body) {
					t.Fatalf("%s: frame %d has room behind it", name, i)
				}
			}
			for range 2 { // an end is one for good
				if p, err := reader.next(); !errors.Is(err, wantErr) {
					t.Errorf("%s, then %q: %+v %v, want %v", name, end, p, err, wantErr)
				}
			}
		}
	}
	for _, c := range codecFrames {
		raw, _ := hex.DecodeString(c.text)
		for name, way := range ways {
			reader := &frameReader{r: way(strings.NewReader(string(raw) + c.behind)), limit: c.limit}
			if _, err := reader.next(); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v, want %v", c.text, name, err, c.want)
			}
		}
	}
}

// A frame costs memory when it comes, not when it is announced.
func TestFrameReaderMemory(t *testing.T) {
	announced := []byte{0, 1, 0x11, 0x6F} // 69,999
	for _, came := range []int{4, 16, 1000, smallBuffer - 1, smallBuffer, 3 * smallBuffer, 40_000} {
		stream := append(bytes.Clone(announced), make([]byte, came-4)...)
		for _, chunk := range []int{1, 100, 1 << 20} {
			reader := &frameReader{r: codecChunks{bytes.NewReader(stream), chunk}, limit: MaxPDU}
			if _, err := reader.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			if got, most := cap(reader.buffer), max(smallBuffer, 4*came); got > most {
				t.Errorf("%d octets of 69,999 came, %d at a time: the buffer has %d, at most %d", came, chunk, got, most)
			}
		}
	}
	// The largest frame takes a buffer of twice its length at most, and gives it
	// back while small ones come.
	large := (&PDU{Command: DataSM, Sequence: 1, Body: make([]byte, MaxPDU-headerLen)}).Append(nil)
	small := (&PDU{Command: EnquireLink, Sequence: 2}).Append(nil)
	source := new(bytes.Buffer)
	reader := &frameReader{r: source, limit: MaxPDU}
	most := 0
	read := func(frame []byte, times int) {
		for range times {
			source.Write(frame)
			if p, err := reader.next(); err != nil || len(p.Body) != len(frame)-headerLen {
				t.Fatalf("%d octets %v", len(p.Body), err)
			}
			most = max(most, cap(reader.buffer))
		}
	}
	read(large, 3)
	if most > 2*largeBuffer {
		t.Errorf("the buffer has %d", most)
	}
	read(small, 10)
	if got := cap(reader.buffer); got != smallBuffer {
		t.Errorf("after ten small frames the buffer still has %d", got)
	}
	// Many small frames at once: read together, up to largeBuffer.
	most = 0
	source.Write(bytes.Repeat(small, 100_000))
	for range 100_000 {
		if _, err := reader.next(); err != nil {
			t.Fatal(err)
		}
		most = max(most, cap(reader.buffer))
	}
	if most != largeBuffer {
		t.Errorf("for a flood of small frames the buffer has %d, want %d", most, largeBuffer)
	}
	if got := testing.AllocsPerRun(1000, func() { read(small, 1) }); got > 0 {
		t.Errorf("%v allocations for a small frame", got)
	}
}

// What is wrong with a field decides what is answered (SMPP 3.4 table 5-2).
func TestFieldStatus(t *testing.T) {
	for field, want := range codecStatus {
		if got := (&FieldError{Field: field}).Status(); got != want {
			t.Errorf("%s: %#x, want %#x", field, uint32(got), uint32(want))
		}
	}
	for field := range fieldStatus {
		if _, ok := codecStatus[field]; !ok {
			t.Errorf("%s is not in the test's table", field)
		}
	}
	for _, v := range codecBad(t) {
		if _, err := Parse(parseFrame(v.raw).Command, v.raw[headerLen:]); err != nil {
			if got, want := err.(*FieldError).Status(), codecStatusOf(v.wrongField()); got != want || got == StatusOK {
				t.Errorf("%s: %#x, want %#x", v.Name, uint32(got), uint32(want))
			}
		}
	}
}

var codecStatus = map[string]Status{
	"sm_length": 0x01, "short_message": 0x01, "message_payload": 0x02,
	"source_addr": 0x0A, "destination_addr": 0x0B, "message_id": 0x0C, "password": 0x0E, "system_id": 0x0F,
	"service_type": 0x15, "number_of_dests": 0x33, "dl_name": 0x34, "dest_flag": 0x40, "esm_class": 0x43,
	"system_type": 0x53, "schedule_delivery_time": 0x61, "validity_period": 0x62, "TLV": 0xC0,
	"esme_addr": 0x02, "address_range": 0x02, "registered_delivery": 0x02, "no_unsuccess": 0x02, "": 0x02,
}

func codecStatusOf(field string) Status {
	if status, ok := codecStatus[field]; ok {
		return status
	}
	return StatusInvalidLength
}

func TestNames(t *testing.T) {
	for c, want := range map[Command]string{
		SubmitSM: "submit_sm", SubmitSMResp: "submit_sm_resp", GenericNack: "generic_nack", BindTransceiverResp: "bind_transceiver_resp",
		0x00000666: "command 00000666", 0x80000666: "command 80000666", 0: "command 00000000",
	} {
		if got := c.String(); got != want {
			t.Errorf("%08x is called %q, want %q", uint32(c), got, want)
		}
	}
	for c := range Command(0x200) {
		request := commandNames[c] != ""
		answered := request && c != Outbind && c != AlertNotification || c == GenericNack&^response
		if c.known() != request || (c|response).known() != answered {
			t.Errorf("%s is known: %v; its response: %v", c, c.known(), (c | response).known())
		}
	}
	for _, c := range []Command{0x666, 0x80000666, Outbind | response, AlertNotification | response, 0} {
		if body, err := Parse(c, nil); body != nil || err == nil || errors.As(err, new(*FieldError)) {
			t.Errorf("%s has a body: %v %v", c, body, err)
		}
	}
	if text := StatusThrottled.Error(); !strings.Contains(text, "0x58") {
		t.Errorf("status 0x58 is %q", text)
	}
	if name := tagName(0x1400); name != "TLV 1400" || tagName(TagMessagePayload) != "message_payload" {
		t.Errorf("a tag of an operator's own is called %q", name)
	}
}

func TestRelativeTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		2 * time.Minute: "000000000200000R", 90 * time.Second: "000000000130000R", 25*time.Hour + time.Second: "000001010001000R",
		0: "000000000001000R", -time.Hour: "000000000001000R", time.Second: "000000000001000R", 59*time.Second + 999*time.Millisecond: "000000000059000R",
		24 * time.Hour: "000001000000000R", 31*24*time.Hour + 23*time.Hour + 59*time.Minute + 59*time.Second: "000031235959000R",
	} {
		if got := RelativeTime(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
		if back, ok := ParseRelativeTime(want); !ok || RelativeTime(back) != want || d >= time.Second && back != d.Truncate(time.Second) {
			t.Errorf("%s is read as %s", want, back)
		}
		body, err := (&ShortMessage{Validity: RelativeTime(d)}).Append(nil)
		if m, err2 := ParseShortMessage(body); err != nil || err2 != nil || m.Validity != want {
			t.Errorf("%s: %v %v", d, err, err2)
		}
	}
}

func TestOtherTimesAreNotRelative(t *testing.T) {
	for _, s := range []string{"", "000000000200000", "0000000002000000R", "000000000200000+", "260101000000000R", "000100000000000R", "00000000020x000R", "000000000200100R"} {
		if d, ok := ParseRelativeTime(s); ok {
			t.Errorf("%q is read as %s", s, d)
		}
	}
}

// A message sent and read costs two allocations at most: one for its strings,
// which are cut from one copy, and one to spare.
func TestCodecAllocations(t *testing.T) {
	m := codecMessage()
	buffer := make([]byte, 0, 512)
	allocations := testing.AllocsPerRun(1000, func() {
		var err error
		if buffer, err = appendMessage(buffer[:0], SubmitSM, 7, m); err != nil {
			t.Fatal(err)
		}
		p := parseFrame(buffer)
		if got, err := ParseShortMessage(p.Body); err != nil || len(got.Message) != 140 {
			t.Fatal(err)
		}
	})
	if allocations > 2 {
		t.Errorf("%v allocations", allocations)
	}
	if len(buffer) != 189 {
		t.Errorf("%d octets", len(buffer))
	}
}

func BenchmarkCodec(b *testing.B) {
	m := codecMessage()
	buffer := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buffer, err = appendMessage(buffer[:0], SubmitSM, 7, m); err != nil {
			b.Fatal(err)
		}
		if _, err := ParseShortMessage(parseFrame(buffer).Body); err != nil {
			b.Fatal(err)
		}
	}
}
