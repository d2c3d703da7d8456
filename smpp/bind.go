package smpp

// interfaceVersion is 3.4.
const interfaceVersion = 0x34

// BindRequest is the body of the three binds (SMPP 3.4 §4.1.1).
type BindRequest struct {
	SystemID         string // at most 15 characters
	Password         string // at most 8
	SystemType       string // at most 12
	InterfaceVersion byte
	TON, NPI         byte
	AddressRange     string // at most 40
	TLVs             TLVs
}

func (r *BindRequest) fields(f *fields) {
	f.cstring("system_id", &r.SystemID, 16)
	f.cstring("password", &r.Password, 9)
	f.cstring("system_type", &r.SystemType, 13)
	f.octet("interface_version", &r.InterfaceVersion)
	f.octet("addr_ton", &r.TON)
	f.octet("addr_npi", &r.NPI)
	f.cstring("address_range", &r.AddressRange, 41)
	f.tlvs(&r.TLVs)
}

// Append implements Body.
func (r *BindRequest) Append(b []byte) ([]byte, error) { return appendBody(b, r) }

// BindResponse is the body of the responses to a bind (SMPP 3.4 §4.1.2).
type BindResponse struct {
	SystemID string // at most 15 characters
	TLVs     TLVs
}

func (r *BindResponse) fields(f *fields) {
	f.cstring("system_id", &r.SystemID, 16)
	f.tlvs(&r.TLVs)
}

// Append implements Body.
func (r *BindResponse) Append(b []byte) ([]byte, error) { return appendBody(b, r) }

// OutbindRequest is the body of outbind: an SMSC asks to be bound to
// (SMPP 3.4 §4.1.7).
type OutbindRequest struct {
	SystemID string // at most 15 characters
	Password string // at most 8
	TLVs     TLVs
}

func (r *OutbindRequest) fields(f *fields) {
	f.cstring("system_id", &r.SystemID, 16)
	f.cstring("password", &r.Password, 9)
	f.tlvs(&r.TLVs)
}

// Append implements Body.
func (r *OutbindRequest) Append(b []byte) ([]byte, error) { return appendBody(b, r) }
