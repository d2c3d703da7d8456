package emulator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// Control octets from the reader (vsmartcard's vpcd), each a message of its own;
// every other message is a command APDU.
const (
	vpcdOff   = 0x00
	vpcdOn    = 0x01
	vpcdReset = 0x02
	vpcdATR   = 0x04 // the only one with a reply
)

// Plug puts a card into the virtual PC/SC reader at an address (vpcd of
// vsmartcard, whose first slot listens on TCP 35963, the second on 35964), and
// serves it until the context ends or the reader goes away. Each message is two
// octets of length, big-endian, and as many octets.
//
// The reader has no password, and a card that comes second waits, without a
// word, until the first is gone: inserted, if set, is called with the first word
// of the reader.
func Plug(ctx context.Context, addr string, card *SIM, inserted func()) error {
	dialled, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("emulator: no virtual reader: %w", err)
	}
	defer dialled.Close()
	conn := dialled.(*net.TCPConn)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	r := reader{conn: conn}
	r.quickACK()
	for {
		message, err := r.next()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("emulator: the virtual reader went away: %w", err)
		}
		if inserted != nil {
			inserted()
			inserted = nil
		}
		reply, err := r.reply(card, message)
		if err != nil {
			return err
		}
		if reply == nil {
			continue
		}
		if err := r.send(reply); err != nil && ctx.Err() == nil {
			return fmt.Errorf("emulator: the virtual reader went away: %w", err)
		}
	}
}

// reader is the connection to a virtual reader.
type reader struct {
	conn *net.TCPConn
	in   [2 + 1<<16]byte
	out  []byte
}

// next is the reader's next message.
func (r *reader) next() ([]byte, error) {
	if _, err := io.ReadFull(r.conn, r.in[:2]); err != nil {
		return nil, err
	}
	// The reader writes length and body apart, and waits with the body for the
	// length's acknowledgement, which would come after 40 ms otherwise.
	r.quickACK()
	body := r.in[2 : 2+int(binary.BigEndian.Uint16(r.in[:2]))]
	_, err := io.ReadFull(r.conn, body)
	return body, err
}

// reply is what the card says to a message; nil is nothing.
func (r *reader) reply(card *SIM, message []byte) ([]byte, error) {
	if len(message) == 1 {
		switch message[0] {
		case vpcdOff, vpcdOn, vpcdReset:
			card.Reset()
			return nil, nil
		case vpcdATR:
			return card.ATR(), nil
		}
	}
	if len(message) == 0 {
		return nil, errors.New("emulator: the virtual reader sent an empty message")
	}
	return card.Transmit(message)
}

// send writes length and reply at once: two writes would wait for one another.
func (r *reader) send(reply []byte) error {
	r.out = binary.BigEndian.AppendUint16(r.out[:0], uint16(len(reply)))
	r.out = append(r.out, reply...)
	_, err := r.conn.Write(r.out)
	return err
}
