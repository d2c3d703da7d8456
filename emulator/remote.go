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
	_, err := simcard.ParseMSISDN("+" + systemID)
	return err == nil
}

func (c *SMSC) handsetAccount(number string) (smpp.Account, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[number]
	if c.HandsetPassword == "" || l != nil && l.Handset != nil {
		return smpp.Account{}, false
	}
	return smpp.Account{Password: c.HandsetPassword, Binds: 1}, true
}

func (c *SMSC) handsetBound(s *smpp.Session) {
	number := s.Request().SystemID
	c.mu.Lock()
	c.remote[number] = s
	c.mu.Unlock()
	c.running.Go(func() {
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
	case err == nil:
		return nil
	case errors.As(err, &status) && status == smpp.StatusTemporary:
		return ErrBusy
	case errors.As(err, &status):
		return fmt.Errorf("emulator: the handset refused it: %w", err)
	}
	return errOff
}

// fromRemote takes what a handset in another process sends. Its number is the
// one that it is bound as, whatever it says.
func (c *SMSC) fromRemote(number string, m *smpp.ShortMessage) {
	c.mu.Lock()
	operator := everyone
	if l := c.lines[number]; l != nil {
		operator = l.Operator
	}
	c.mu.Unlock()
	out := *m
	out.Source, out.RegisteredDelivery, out.Validity, out.TLVs = smpp.International(number), 0, "", slices.Clone(m.TLVs)
	out.Message = slices.Clone(m.Message)
	c.running.Go(func() { c.hand(operator, &out) })
}

// Attach connects a handset to the SMSC at an address, until the context ends or
// the connection does. It returns once the connection is over; attached, if set,
// is called when it stands.
func Attach(ctx context.Context, addr, password string, number simcard.MSISDN, h *Handset, attached func(), log *slog.Logger) error {
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
			return "", smpp.StatusTemporary
		case err != nil:
			log.Warn("handset: not delivered", "err", err)
			return "", smpp.StatusPermanent
		}
		return "", smpp.StatusOK
	}}
	s, err := smpp.Bind(ctx, conn, smpp.BindTransceiver, smpp.BindRequest{SystemID: number.Digits(), Password: password}, options)
	if err != nil {
		conn.Close()
		return fmt.Errorf("emulator: %s: %w", number, err)
	}
	defer s.Close()
	h.connect(func(tpdu []byte) error {
		m, err := sms.ParseSubmit(tpdu)
		if err != nil {
			return err
		}
		_, err = s.Submit(ctx, originated(number, &m))
		return err
	})
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
