package load

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

var sampleRun = Run{
	Started: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), Seed: 7, Command: "imza load --rate 500", URL: "http://127.0.0.1:8080",
	Phases: []Phase{{Name: "500/s", From: 500, To: 500, Duration: time.Minute}}, Providers: []string{"load-1", "load-2"}, Cards: 1000,
	Host: Host{Cores: 2, Model: "test"},
}

var sampleRequests = []Request{
	{Index: 1, Subscriber: 0x01020304, Phase: 0, Provider: 1, Certificate: Government, Expect: ExpectAccept, End: Signed, Status: 200,
		Due: 1500 * time.Microsecond, Sent: 2, Accepted: 900, Pushed: 1500, Answered: 2500, Verified: 2600, Released: 3000},
	{Index: 0, Subscriber: 5, Expect: ExpectRefuse, End: RefusedByPolicy, Status: 403,
		Due: time.Hour, Sent: 3, Accepted: Never, Pushed: Never, Answered: Never, Verified: Never, Released: 700},
	{Index: 2, Expect: ExpectRefuse, End: refused + "something_new", Fault: RefusedOtherwise, Status: 418,
		Sent: -1, Accepted: Never, Pushed: Never, Answered: Never, Verified: Never, Released: 700},
}

// written is a file with everything in it, and where its frames begin.
func written(t testing.TB) (file []byte, frames []int) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRun)
	if err != nil {
		t.Fatal(err)
	}
	mark := func() { w.flush(); frames = append(frames, out.Len()) }
	frames = append(frames, len(magic))
	mark()
	for i := range sampleRequests {
		if err := w.Request(&sampleRequests[i]); err != nil {
			t.Fatal(err)
		}
		mark()
	}
	if err := w.Sample(Sample{At: 1000, Processes: []Process{{"gateway", 1.5, 1 << 20}}, Depths: map[string]float64{"in flight": 3}}); err != nil {
		t.Fatal(err)
	}
	mark()
	var b Balance
	for i := range sampleRequests {
		b.Count(&sampleRequests[i])
	}
	b.Asked = 3
	if err := w.End(Ending{Ended: sampleRun.Started.Add(time.Minute), Balance: b, Notes: []string{"a note"}}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), frames
}

func TestResultsComeBack(t *testing.T) {
	file, _ := written(t)
	got, err := Read(bytes.NewReader(file))
	if err != nil || got.Cut != nil {
		t.Fatal(err, got.Cut)
	}
	if !reflect.DeepEqual(got.Requests, sampleRequests) {
		t.Errorf("requests came back as %+v", got.Requests)
	}
	if len(got.Samples) != 1 || got.Samples[0].Processes[0].CPU != 1.5 || got.Samples[0].Depths["in flight"] != 3 {
		t.Errorf("samples came back as %+v", got.Samples)
	}
	if got.Run.Seed != 7 || got.Run.Phases[0] != sampleRun.Phases[0] || got.Ending.Notes[0] != "a note" {
		t.Errorf("the rest came back as %+v, %+v", got.Run, got.Ending)
	}
	if recount := got.Recount(); !reflect.DeepEqual(recount, got.Ending.Balance) {
		t.Errorf("recounted %+v; it says %+v", recount, got.Ending.Balance)
	}
}

// The octets of a record, written down by hand from the package's doc.
func TestRecordAsDocumented(t *testing.T) {
	want := "01000000" + "04030201" + "00" + "01" + "02" + "00" + "00" + "00" + "c800" + "dc05000000000000" +
		"02000000" + "84030000" + "dc050000" + "c4090000" + "280a0000" + "b80b0000"
	if got := hex.EncodeToString(appendRecord(nil, &sampleRequests[0], 0)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r, _, err := parseRecord(appendRecord(nil, &sampleRequests[1], 10))
	if err != nil || r.Accepted.Reached() {
		t.Error("what was not reached is said to be", err)
	}
	if latency, ok := r.Latency(); !ok || latency != 700*time.Microsecond {
		t.Errorf("latency %v", latency)
	}
}

// A file that was cut off anywhere is read up to its last whole frame, and says so.
func TestCutOff(t *testing.T) {
	file, frames := written(t)
	for n := range file {
		got, err := Read(bytes.NewReader(file[:n]))
		if n < frames[1] { // not even the header
			if !errors.Is(err, ErrNotResults) {
				t.Fatalf("%d octets: %v", n, err)
			}
			continue
		}
		if err != nil || got.Cut == nil || got.Ending != nil {
			t.Fatalf("%d of %d octets: %v, read as whole", n, len(file), err)
		}
		last := 0
		for _, at := range frames {
			if at <= n {
				last = at
			}
		}
		// A frame that names an end stands alone before its request.
		if got.Cut.Offset != int64(last) && got.Cut.Offset < int64(last) {
			t.Fatalf("%d octets: cut at %d, the last whole frame ends at %d", n, got.Cut.Offset, last)
		}
	}
}

func TestNotResults(t *testing.T) {
	file, frames := written(t)
	newer := bytes.Clone(file)
	newer[versionAt] = 2
	unknownKind := bytes.Clone(file)
	unknownKind[frames[1]] = 'X'
	badExpect := bytes.Clone(file)
	badExpect[frames[1]+2+11] = 9
	badPhase := bytes.Clone(file)
	badPhase[frames[1]+2+8] = 1
	badEnd := bytes.Clone(file)
	badEnd[frames[1]+2+12] = 200
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"empty":           {nil, "empty"},
		"other file":      {[]byte("PK\x03\x04 and so on and on"), "begins with"},
		"newer":           {newer, "newer"},
		"unknown kind":    {unknownKind, "octet " /* with its offset */},
		"bad expectation": {badExpect, "expect 9"},
		"bad phase":       {badPhase, "phase 1"},
		"bad end":         {badEnd, "end 200"},
		"longer":          {append(bytes.Clone(file), file[frames[1]:frames[2]]...), "after the ending"},
		"no header":       {append([]byte(magic), file[frames[1]:]...), "header"},
		"two headers":     {append(bytes.Clone(file[:frames[1]]), file[frames[0]:]...), "header"},
		"huge frame":      {append(bytes.Clone(file[:frames[1]]), 'R', 0xFF, 0xFF, 0xFF, 0xFF, 0x7F), "none has more"},
	} {
		_, err := Read(bytes.NewReader(test.file))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A disk that is full is said, and again.
func TestFullDisk(t *testing.T) {
	full := errors.New("no space left on device")
	w, err := NewWriter(&limited{left: 4096, err: full}, sampleRun)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		if err = w.Request(&sampleRequests[0]); err == nil {
			err = w.Sample(Sample{})
		}
	}
	if !errors.Is(err, full) || !errors.Is(w.Request(&sampleRequests[0]), full) || !errors.Is(w.End(Ending{}), full) {
		t.Error(err)
	}
}

type limited struct {
	left int
	err  error
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.left {
		return 0, l.err
	}
	l.left -= len(b)
	return len(b), nil
}

func FuzzRead(f *testing.F) {
	file, frames := written(f)
	f.Add(file)
	for _, n := range frames {
		f.Add(file[:n])
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := Read(bytes.NewReader(file))
		if err != nil {
			return
		}
		// What was read can be written and read again.
		w, err := NewWriter(io.Discard, got.Run)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Requests {
			if err := w.Request(&got.Requests[i]); err != nil {
				t.Fatal(err)
			}
		}
	})
}
