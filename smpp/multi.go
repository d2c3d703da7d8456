package smpp

// Multi is the body of submit_multi: one message to several (SMPP 3.4 §4.5.1).
type Multi struct {
	ServiceType        string
	Source             Address
	Dests              []Destination // 1 to 254
	ESMClass           byte
	ProtocolID         byte
	Priority           byte
	ScheduleTime       string
	Validity           string
	RegisteredDelivery byte
	Replace            byte
	DataCoding         byte
	DefaultMsgID       byte
	Message            []byte
	TLVs               TLVs
}

// Destination is an address or the name of a distribution list.
type Destination struct {
	Flag    byte    // which of the two: DestAddress or DestList
	Address Address // of the first
	List    string  // of the second, at most 20 characters
}

// Values of dest_flag (SMPP 3.4 §5.2.25).
const (
	DestAddress = 1
	DestList    = 2
)

// maxDests is the most that number_of_dests may be (SMPP 3.4 §5.2.24).
const maxDests = 254

func (m *Multi) fields(f *fields) {
	f.cstring("service_type", &m.ServiceType, 6)
	f.address("source", "source_addr", &m.Source, 21)
	m.dests(f)
	f.octet("esm_class", &m.ESMClass)
	f.octet("protocol_id", &m.ProtocolID)
	f.octet("priority_flag", &m.Priority)
	f.cstring("schedule_delivery_time", &m.ScheduleTime, 17)
	f.cstring("validity_period", &m.Validity, 17)
	f.octet("registered_delivery", &m.RegisteredDelivery)
	f.octet("replace_if_present_flag", &m.Replace)
	f.octet("data_coding", &m.DataCoding)
	f.octet("sm_default_msg_id", &m.DefaultMsgID)
	f.shortMessage(&m.Message)
	f.tlvs(&m.TLVs)
	f.header(m.ESMClass, m.content())
}

func (m *Multi) content() []byte {
	return (&ShortMessage{Message: m.Message, TLVs: m.TLVs}).Content()
}

func (m *Multi) dests(f *fields) {
	n := byte(len(m.Dests))
	f.octet("number_of_dests", &n)
	if !f.writing {
		m.Dests = nil
	}
	if n == 0 || n > maxDests || f.writing && len(m.Dests) > maxDests {
		f.wrong("number_of_dests", "%d, not 1 to %d", max(int(n), len(m.Dests)), maxDests)
	}
	for i := 0; i < int(n) && f.err == nil; i++ {
		if !f.writing {
			m.Dests = append(m.Dests, Destination{})
		}
		m.Dests[i].fields(f)
	}
}

func (d *Destination) fields(f *fields) {
	f.octet("dest_flag", &d.Flag)
	switch d.Flag {
	case DestAddress:
		f.address("dest", "destination_addr", &d.Address, 21)
	case DestList:
		f.cstring("dl_name", &d.List, 21)
	default:
		f.wrong("dest_flag", "is %d, neither 1 nor 2", d.Flag)
	}
}

// Append implements Body.
func (m *Multi) Append(b []byte) ([]byte, error) { return appendBody(b, m) }

// MultiResponse is the body of submit_multi_resp (SMPP 3.4 §4.5.2).
type MultiResponse struct {
	MessageID    string
	Unsuccessful []Unsuccessful // at most 255
	TLVs         TLVs
}

// Unsuccessful is a destination that a submit_multi was not accepted for.
type Unsuccessful struct {
	Dest   Address
	Status Status
}

func (r *MultiResponse) fields(f *fields) {
	f.cstring("message_id", &r.MessageID, maxMessageID)
	n := byte(len(r.Unsuccessful))
	if len(r.Unsuccessful) > 255 {
		f.fail("no_unsuccess", "%d destinations, at most 255", len(r.Unsuccessful))
	}
	f.octet("no_unsuccess", &n)
	if !f.writing {
		r.Unsuccessful = nil
	}
	for i := 0; i < int(n) && f.err == nil; i++ {
		if !f.writing {
			r.Unsuccessful = append(r.Unsuccessful, Unsuccessful{})
		}
		u := &r.Unsuccessful[i]
		f.address("dest", "destination_addr", &u.Dest, 21)
		f.word("error_status_code", (*uint32)(&u.Status))
	}
	f.tlvs(&r.TLVs)
}

// Append implements Body.
func (r *MultiResponse) Append(b []byte) ([]byte, error) { return appendBody(b, r) }
