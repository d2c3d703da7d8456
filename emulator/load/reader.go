package load

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Results is all of a results file.
type Results struct {
	Run      Run
	Requests []Request // in the order in which they ended
	Samples  []Sample
	Ending   *Ending // nil: the file was cut off
	// Cut says where and how a file without an ending stops; nil if it has one.
	// What came before is whole.
	Cut *CutOff

	each func(*Request) // takes requests in place of Requests
}

// CutOff says that a file has no ending.
type CutOff struct {
	Offset int64  // the octets up to there are good
	What   string // is there, or is not
}

func (c *CutOff) Error() string {
	return fmt.Sprintf("the results have no ending: at octet %d %s", c.Offset, c.What)
}

// Errors of what is no results file.
var (
	ErrNotResults = errors.New("it is no results file of imza load")
	ErrNewer      = errors.New("it was written by a newer imza")
)

// ReadFile reads a results file.
func ReadFile(name string) (*Results, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// Read reads results. That they were cut off is no error: Results.Cut says so.
// Octets that no imza wrote are one, with their offset.
func Read(from io.Reader) (*Results, error) {
	all := new(Results)
	all.each = func(r *Request) { all.Requests = append(all.Requests, *r) }
	return all, all.read(from)
}

func (all *Results) read(from io.Reader) error {
	r := &reader{in: bufio.NewReaderSize(from, 64<<10)}
	if err := r.magic(); err != nil {
		return err
	}
	for {
		start := r.offset
		kind, payload, err := r.frame()
		switch {
		case err == io.EOF && all.Ending != nil:
			return nil
		case err == io.EOF:
			all.Cut = &CutOff{start, "the file ends"}
		case err == io.ErrUnexpectedEOF:
			all.Cut = &CutOff{start, "a frame begins and does not end"}
		case err != nil:
			return fmt.Errorf("octet %d: %w", start, err)
		case all.Ending != nil:
			return fmt.Errorf("octet %d: something comes after the ending", start)
		default:
			if err := all.take(kind, payload, start == int64(len(magic))); err != nil {
				return fmt.Errorf("octet %d: %w", start, err)
			}
			continue
		}
		if all.Run.Started.IsZero() {
			return fmt.Errorf("%w: it ends before its header does", ErrNotResults)
		}
		if all.Ending != nil {
			return fmt.Errorf("octet %d: something comes after the ending", start)
		}
		return nil
	}
}

// take puts a frame where it belongs.
func (all *Results) take(kind byte, payload []byte, first bool) error {
	if first != (kind == frameHeader) {
		return fmt.Errorf("a frame %q, where the header is wanted at the beginning and nowhere else", kind)
	}
	switch kind {
	case frameHeader:
		if err := decode("the header", payload, &all.Run); err != nil {
			return err
		}
		if all.Run.Started.IsZero() || len(all.Run.Phases) == 0 || len(all.Run.Providers) == 0 {
			return errors.New("the header says not when it was started, in which phases or for whom")
		}
	case frameName:
		if len(payload) < 2 || int(payload[0]) != len(all.Run.Ends) {
			return errors.New("the name of an end is not the next one")
		}
		all.Run.Ends = append(all.Run.Ends, End(payload[1:]))
	case frameRecord:
		return all.takeRequest(payload)
	case frameSample:
		var s Sample
		if err := decode("a sample", payload, &s); err != nil {
			return err
		}
		all.Samples = append(all.Samples, s)
	case frameEnding:
		all.Ending = new(Ending)
		return decode("the ending", payload, all.Ending)
	default:
		return fmt.Errorf("a frame of kind %02x is not known", kind)
	}
	return nil
}

func (all *Results) takeRequest(payload []byte) error {
	request, code, err := parseRecord(payload)
	if err != nil {
		return err
	}
	if request.End, err = all.Run.name(code); err != nil {
		return err
	}
	if int(request.Phase) >= len(all.Run.Phases) {
		return fmt.Errorf("phase %d is none of the %d that are known", request.Phase, len(all.Run.Phases))
	}
	if int(request.Provider) >= len(all.Run.Providers) {
		return fmt.Errorf("provider %d is none of the %d that are known", request.Provider, len(all.Run.Providers))
	}
	all.each(&request)
	return nil
}

func decode(what string, payload []byte, into any) error {
	if err := json.Unmarshal(payload, into); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// reader cuts a file into frames.
type reader struct {
	in     *bufio.Reader
	offset int64
	buffer []byte
}

func (r *reader) magic() error {
	head := make([]byte, len(magic))
	n, err := io.ReadFull(r.in, head)
	r.offset = int64(n)
	switch {
	case err == io.EOF:
		return fmt.Errorf("%w: it is empty", ErrNotResults)
	case err == io.ErrUnexpectedEOF:
		return fmt.Errorf("%w: it has %d octets", ErrNotResults, n)
	case err != nil:
		return err
	case string(head) == magic:
		return nil
	case !bytes.HasPrefix(head, []byte(magic[:versionAt])):
		return fmt.Errorf("%w: it begins with %q", ErrNotResults, head)
	case head[versionAt] > magic[versionAt]:
		return fmt.Errorf("%w: its version is %d, and %d is read", ErrNewer, head[versionAt], magic[versionAt])
	}
	return fmt.Errorf("%w: its version is %d, and %d is read", ErrNotResults, head[versionAt], magic[versionAt])
}

// frame reads the next one; it is good until the next call. io.EOF is an end
// between frames, io.ErrUnexpectedEOF one within.
func (r *reader) frame() (kind byte, payload []byte, err error) {
	if kind, err = r.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	r.offset++
	length, err := binary.ReadUvarint(counted{r})
	if err == io.EOF {
		return 0, nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, nil, err
	}
	if length > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d octets; none has more than %d", length, maxFrame)
	}
	if uint64(cap(r.buffer)) < length {
		r.buffer = make([]byte, length)
	}
	payload = r.buffer[:length]
	n, err := io.ReadFull(r.in, payload)
	r.offset += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return kind, payload, err
}

// counted reads single octets and counts them.
type counted struct{ *reader }

func (c counted) ReadByte() (byte, error) {
	b, err := c.in.ReadByte()
	if err == nil {
		c.offset++
	}
	return b, err
}
