package smpp

// This file has the bodies of the commands that look after messages which were
// submitted before, and of alert_notification.

// Query is the body of query_sm (SMPP 3.4 §4.8.1).
type Query struct {
	MessageID string
	Source    Address
	TLVs      TLVs
}

func (q *Query) fields(f *fields) {
	f.cstring("message_id", &q.MessageID, maxMessageID)
	f.address("source", "source_addr", &q.Source, 21)
	f.tlvs(&q.TLVs)
}

// Append implements Body.
func (q *Query) Append(b []byte) ([]byte, error) { return appendBody(b, q) }

// QueryResponse is the body of query_sm_resp (SMPP 3.4 §4.8.2).
type QueryResponse struct {
	MessageID string
	FinalDate string // empty while the message is under way
	State     State
	ErrorCode byte // the network's own
	TLVs      TLVs
}

func (q *QueryResponse) fields(f *fields) {
	f.cstring("message_id", &q.MessageID, maxMessageID)
	f.cstring("final_date", &q.FinalDate, 17)
	f.octet("message_state", (*byte)(&q.State))
	f.octet("error_code", &q.ErrorCode)
	f.tlvs(&q.TLVs)
}

// Append implements Body.
func (q *QueryResponse) Append(b []byte) ([]byte, error) { return appendBody(b, q) }

// Cancel is the body of cancel_sm (SMPP 3.4 §4.9.1).
type Cancel struct {
	ServiceType  string
	MessageID    string // empty: all to the destination
	Source, Dest Address
	TLVs         TLVs
}

func (c *Cancel) fields(f *fields) {
	f.cstring("service_type", &c.ServiceType, 6)
	f.cstring("message_id", &c.MessageID, maxMessageID)
	f.address("source", "source_addr", &c.Source, 21)
	f.address("dest", "destination_addr", &c.Dest, 21)
	f.tlvs(&c.TLVs)
}

// Append implements Body.
func (c *Cancel) Append(b []byte) ([]byte, error) { return appendBody(b, c) }

// Replace is the body of replace_sm (SMPP 3.4 §4.10.1).
type Replace struct {
	MessageID          string
	Source             Address
	ScheduleTime       string
	Validity           string
	RegisteredDelivery byte
	DefaultMsgID       byte
	Message            []byte
	TLVs               TLVs
}

func (r *Replace) fields(f *fields) {
	f.cstring("message_id", &r.MessageID, maxMessageID)
	f.address("source", "source_addr", &r.Source, 21)
	f.cstring("schedule_delivery_time", &r.ScheduleTime, 17)
	f.cstring("validity_period", &r.Validity, 17)
	f.octet("registered_delivery", &r.RegisteredDelivery)
	f.octet("sm_default_msg_id", &r.DefaultMsgID)
	f.shortMessage(&r.Message)
	f.tlvs(&r.TLVs)
}

// Append implements Body.
func (r *Replace) Append(b []byte) ([]byte, error) { return appendBody(b, r) }

// Alert is the body of alert_notification: a telephone can be reached again
// (SMPP 3.4 §4.12.1). It has no response.
type Alert struct {
	Source, ESME Address
	TLVs         TLVs
}

func (a *Alert) fields(f *fields) {
	f.address("source", "source_addr", &a.Source, maxLongAddress)
	f.address("esme", "esme_addr", &a.ESME, maxLongAddress)
	f.tlvs(&a.TLVs)
}

// Append implements Body.
func (a *Alert) Append(b []byte) ([]byte, error) { return appendBody(b, a) }
