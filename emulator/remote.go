package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"imza/simcard"
	"imza/simcard/sms"
	"imza/smpp"
)

// A handset in another process than its SMSC binds to it as a transceiver whose
// system_id is its number's digits. What is for the number comes to it as
// deliver_sm, and what it sends goes out as submit_sm. A number whose handset is
// in the SMSC's own process, or bound already, is not given away.

// isNumber tells a handset's system_id from an ESME's.
func isNumber(systemID string) bool {
	if systemID == "" || systemID[0] < '0' || systemID[0] > '9' { // most, and each message asks
		return false
	}
	_, err := simcard.ParseMSISDN("+" + systemID)
	return err == nil
}

func (c *SMSC) handsetAccount(number string) (smpp.Account, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l := c.lines[number]
	if c.HandsetPassword == "" || l != nil && l.Handset != nil || c.Lines != nil && c.Lines.Has(number) {
		return smpp.Account{}, false
	}
	return smpp.Account{Password: c.HandsetPassword, Binds: 1}, true
}

func (c *SMSC) handsetBound(s *smpp.Session) {
	number := s.Request().SystemID
	if !s.Receives() || !s.Transmits() { // half a telephone
		c.beside(func() { _ = s.Close() })
		return
	}
	c.mu.Lock()
	c.remote[number] = s
	c.mu.Unlock()
	c.beside(func() {
		<-s.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.remote[number] == s {
			delete(c.remote, number)
		}
	})
}

// toRemote brings a message to a handset in another process.
func (c *SMSC) toRemote(s *smpp.Session, m *smpp.ShortMessage) error {
	plain := *m
	plain.RegisteredDelivery, plain.Validity = 0, "" // between centre and ESME
	err := s.Deliver(c.ctx, &plain)
	var status smpp.Status
	switch {
	case err == nil || errors.Is(err, smpp.ErrUnanswered):
		return err
	case !errors.As(err, &status):
		return errOff
	case status == statusBusy:
		return ErrBusy
	case status == statusNoCard:
		return errOff
	}
	return fmt.Errorf("emulator: the handset refused it: %w", err)
}

// What a handset says that cannot take a message now.
const (
	statusBusy   = smpp.StatusTemporary
	statusNoCard = smpp.StatusSystemError
)

// fromRemote takes what a handset in another process sends. Its number is the
// one that it is bound as, whatever it says.
func (c *SMSC) fromRemote(number string, m *smpp.ShortMessage) {
	c.mu.RLock()
	operator := everyone
	if l := c.lines[number]; l != nil {
		operator = l.Operator
	}
	c.mu.RUnlock()
	// Nothing of it but what an SMS-SUBMIT carries: it must not look like a receipt.
	out := &smpp.ShortMessage{
		Source: smpp.International(number), Dest: m.Dest, ESMClass: m.ESMClass & smpp.ESMClassUDHI,
		ProtocolID: m.ProtocolID, DataCoding: m.DataCoding, Message: slices.Clone(m.Content()),
	}
	c.carry(operator, number, out)
}

// Attach connects a handset to the SMSC at an address, until the context ends or
// the connection does. It returns once the connection is over; attached, if set,
// is called when it stands.
func Attach(ctx context.Context, addr, password string, number simcard.MSISDN, h *Handset, attached func(), log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer h.connect(nil)
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	options := smpp.Options{Log: log, Handler: func(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
		tpdu, err := deliverTPDU(m, time.Now())
		if err == nil {
			err = h.Deliver(tpdu)
		}
		switch {
		case errors.Is(err, ErrBusy):
			return "", statusBusy
		case errors.Is(err, errNoCard) || errors.Is(err, errOff):
			return "", statusNoCard
		case err != nil:
			log.Warn("handset: not delivered", "err", err)
			return "", smpp.StatusPermanent
		}
		return "", smpp.StatusOK
	}}
	// The network is there before the first message can come.
	bound := make(chan *smpp.Session, 1)
	h.connect(func(tpdu []byte) error { return originate(ctx, bound, number, tpdu) })
	s, err := smpp.Bind(ctx, conn, smpp.BindTransceiver, smpp.BindRequest{SystemID: number.Digits(), Password: password}, options)
	switch {
	case errors.Is(err, smpp.StatusInvalidSystemID):
		err = fmt.Errorf("its telephone is in the message centre's own process, or others may not come: %w", err)
	case errors.Is(err, smpp.StatusAlreadyBound):
		err = fmt.Errorf("its telephone is on already, elsewhere: %w", err)
	}
	if err != nil {
		conn.Close()
		return fmt.Errorf("emulator: %s: %w", number, err)
	}
	defer s.Close()
	bound <- s
	if attached != nil {
		attached()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.Done():
		return fmt.Errorf("emulator: the message centre: %w", s.Err())
	}
}

// originate sends what a handset originates, once its session is bound.
func originate(ctx context.Context, bound chan *smpp.Session, number simcard.MSISDN, tpdu []byte) error {
	m, err := sms.ParseSubmit(tpdu)
	if err != nil {
		return err
	}
	select {
	case s := <-bound:
		bound <- s
		_, err = s.Submit(ctx, originated(number, &m))
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
