package load

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Writer writes a results file. It may be used by many at once. After the first
// error it writes nothing more, and says that error from then on.
type Writer struct {
	mu    sync.Mutex
	out   *bufio.Writer
	run   Run
	codes map[End]uint8
	frame []byte
	err   error
}

// NewWriter begins a file with its header.
func NewWriter(w io.Writer, run Run) (*Writer, error) {
	if run.Ends == nil {
		run.Ends = slices.Clone(knownEnds)
	}
	out := &Writer{out: bufio.NewWriterSize(w, 64<<10), run: run, codes: make(map[End]uint8, len(run.Ends))}
	for i, e := range run.Ends {
		out.codes[e] = uint8(i)
	}
	if _, err := out.out.WriteString(magic); err != nil {
		return nil, err
	}
	out.json(frameHeader, run)
	out.flush()
	return out, out.err
}

// Request writes what became of a request.
func (w *Writer) Request(r *Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	code, ok := w.codes[r.End]
	if !ok {
		if code, ok = w.define(r.End); !ok {
			return w.err
		}
	}
	w.frame = appendRecord(w.frame[:0], r, code)
	w.write(frameRecord, w.frame)
	return w.err
}

// define gives an end a number.
func (w *Writer) define(e End) (uint8, bool) {
	if len(w.run.Ends) > 255 {
		w.fail(fmt.Errorf("there are more than 256 ends"))
		return 0, false
	}
	code := uint8(len(w.run.Ends))
	w.run.Ends = append(w.run.Ends, e)
	w.codes[e] = code
	w.write(frameName, append([]byte{code}, e...))
	return code, w.err == nil
}

// Sample writes how it is, and has all that was written so far in the file: what
// is later than a second may be lost in a crash.
func (w *Writer) Sample(s Sample) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.json(frameSample, s)
	w.flush()
	return w.err
}

// errEnded says that nothing comes after the ending.
var errEnded = errors.New("load: the results have been ended")

// End writes how the run ended. Nothing comes after it.
func (w *Writer) End(e Ending) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.json(frameEnding, e)
	w.flush()
	err := w.err
	w.fail(errEnded)
	return err
}

func (w *Writer) json(kind byte, what any) {
	payload, err := json.Marshal(what)
	if err != nil {
		w.fail(err)
		return
	}
	w.write(kind, payload)
}

func (w *Writer) write(kind byte, payload []byte) {
	if w.err != nil {
		return
	}
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = kind
	n := 1 + binary.PutUvarint(head[1:], uint64(len(payload)))
	if _, err := w.out.Write(head[:n]); err != nil {
		w.fail(err)
		return
	}
	if _, err := w.out.Write(payload); err != nil {
		w.fail(err)
	}
}

func (w *Writer) flush() {
	if w.err == nil {
		w.fail(w.out.Flush())
	}
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}
