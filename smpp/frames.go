package smpp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrFraming says that command_length cannot be right, so nothing behind it can
// be understood any more.
var ErrFraming = errors.New("smpp: impossible command_length")

// ReadPDU reads one frame of at most limit octets, and not one octet more. The
// length is judged before anything else is waited for or allocated.
func ReadPDU(r io.Reader, limit int) (PDU, error) {
	var header [headerLen]byte
	if _, err := io.ReadFull(r, header[:4]); err != nil {
		return PDU{}, err
	}
	length, err := frameLength(header[:], limit)
	if err != nil {
		return PDU{}, err
	}
	frame := make([]byte, length)
	copy(frame, header[:4])
	if _, err := io.ReadFull(r, frame[4:]); err != nil {
		return PDU{}, cutOff(err)
	}
	return parseFrame(frame), nil
}

func frameLength(b []byte, limit int) (int, error) {
	length := binary.BigEndian.Uint32(b)
	if length < headerLen || length > uint32(limit) {
		return 0, fmt.Errorf("%w %d", ErrFraming, length)
	}
	return int(length), nil
}

// parseFrame takes a whole frame. The body aliases it.
func parseFrame(b []byte) PDU {
	return PDU{
		Command:  Command(binary.BigEndian.Uint32(b[4:])),
		Status:   Status(binary.BigEndian.Uint32(b[8:])),
		Sequence: binary.BigEndian.Uint32(b[12:]),
		Body:     b[headerLen:len(b):len(b)],
	}
}

// cutOff tells an end within a frame from one between two.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frameReader cuts frames from a connection, as many as there are at each read.
// Its buffer grows with what comes, never with what is announced, and shrinks
// again: a server has thousands.
type frameReader struct {
	r     io.Reader
	limit int // of command_length

	buffer     []byte
	start, end int       // what was read and not yet taken
	last       int       // how much the last read brought
	at         time.Time // when that was
}

// The sizes of a frameReader's buffer. A larger frame than the upper one makes
// it larger for a while.
const (
	smallBuffer = 2 << 10
	largeBuffer = 64 << 10
)

// next returns the next frame. Its body is good until the next call.
func (r *frameReader) next() (PDU, error) {
	for {
		if p, ok, err := r.buffered(); ok || err != nil {
			return p, err
		}
		if err := r.fill(); err != nil {
			if r.end > r.start {
				err = cutOff(err)
			}
			return PDU{}, err
		}
	}
}

// buffered returns the next frame if all of it is here.
func (r *frameReader) buffered() (p PDU, ok bool, err error) {
	rest := r.buffer[r.start:r.end]
	if len(rest) < 4 {
		return PDU{}, false, nil
	}
	length, err := frameLength(rest, r.limit)
	if err != nil || len(rest) < length {
		return PDU{}, false, err
	}
	r.start += length
	return parseFrame(rest[:length]), true, nil
}

// fill reads once.
func (r *frameReader) fill() error {
	r.fit()
	n, err := r.r.Read(r.buffer[r.end:])
	r.end += n
	r.last, r.at = n, time.Now()
	if n > 0 {
		return nil // what came with an error is looked at first; the error comes again
	}
	return err
}

// fit makes room behind what is not yet taken.
func (r *frameReader) fit() {
	size, full := len(r.buffer), r.end == len(r.buffer)
	kept := copy(r.buffer, r.buffer[r.start:r.end])
	switch {
	case size == 0:
		size = smallBuffer
	case kept == size, full && size < largeBuffer:
		size *= 2
	case kept == 0 && r.last < size/8 && size > smallBuffer:
		size /= 2
	}
	if size != len(r.buffer) {
		r.buffer = append(make([]byte, 0, size), r.buffer[:kept]...)[:size]
	}
	r.start, r.end = 0, kept
}
