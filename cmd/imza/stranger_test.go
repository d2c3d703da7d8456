//go:build pcsc

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"imza/simcard/pcsc/pcsctest"
)

// holder is a person at a telephone's page, by the page's own requests.
type holder struct {
	*testing.T
	url    string
	states chan pageState
}

// pageState is what a page is told, as far as it matters here.
type pageState struct {
	Prompt *struct{ ID, Kind, Text string }
	Note   *struct{ Text string }
}

// hold opens the page of a number.
func hold(t *testing.T, p *program, n int) *holder {
	t.Helper()
	h := &holder{t, p.url() + "/telephones/" + demoMSISDN(n).Digits(), make(chan pageState, 100)}
	ctx, leave := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { leave(); <-done })
	go func() {
		defer close(done)
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			if data, found := strings.CutPrefix(lines.Text(), "data: "); found {
				var s pageState
				if err := json.Unmarshal([]byte(data), &s); err != nil {
					t.Error(err)
				}
				h.states <- s
			}
		}
	}()
	return h
}

// reads waits for a prompt with a text, and returns the whole text and the
// prompt's id.
func (h *holder) reads(part string) (text, id string) {
	h.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case s := <-h.states:
			if s.Prompt != nil && strings.Contains(s.Prompt.Text, part) {
				return s.Prompt.Text, s.Prompt.ID
			}
		case <-late:
			h.Fatalf("%q is never on the page", part)
		}
	}
}

// replies to a prompt; what is typed may be nothing.
func (h *holder) replies(id, typed string) {
	h.Helper()
	reply := map[string]any{"prompt": id, "result": "ok"}
	if typed != "" {
		reply["typed"] = typed
	}
	body, _ := json.Marshal(reply)
	response, err := http.Post(h.url+"/reply", "application/json", bytes.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		h.Fatalf("the reply is answered %s", response.Status)
	}
}

// signsByHand has a stranger sign who reads the text and types the PIN.
func (h *holder) signsByHand(p *program, n int, pins ...string) {
	h.Helper()
	in := document(h.T)
	type result struct {
		status    int
		out, said string
	}
	signed := make(chan result, 1)
	go func() {
		status, out, said := p.imza(h.T, "sign", "--in", in, "--msisdn", string(demoMSISDN(n)), "--user-id", demoUserID(n), "--timeout", "30", "--text", "Müqavilə № 7")
		signed <- result{status, out, said}
	}()
	text, id := h.reads("Müqavilə № 7")
	h.replies(id, "")
	for i, pin := range pins {
		want := "PIN2 daxil edin"
		if i > 0 {
			want = "PIN2 səhvdir"
		}
		_, id = h.reads(want)
		h.replies(id, pin)
	}
	r := <-signed
	if r.status != exitOK || !strings.Contains(r.out, "Qonaq") {
		h.Fatalf("status %d, %s%s", r.status, r.out, r.said)
	}
	code := regexp.MustCompile(`Verification code (\d{4})`).FindStringSubmatch(r.said)
	if code == nil || !strings.HasSuffix(text, "\nKod: "+code[1]) {
		h.Errorf("the telephone shows %q, the provider %s", text, r.said)
	}
	opensslVerify(h.T, p, in+".p7s", in)
}

// row is a subscriber's row in what the program prints.
func (p *program) row(n int) string {
	var out bytes.Buffer
	p.welcome(&out)
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, string(demoMSISDN(n))) {
			return line
		}
	}
	return ""
}

// Cards that "imza card personalise" makes for this gateway become further
// subscribers, in the order of the flags, and keep their numbers.
func TestStrangersCards(t *testing.T) {
	d := pcsctest.Start(t, 4)
	dir := t.TempDir()
	makeData(t, dir)
	key := filepath.Join(dir, "master.key")
	plain := newPlug(t, d.Readers[0], personalise(t, key))
	// Its signing key is neither the first one nor of the usual kind, and its
	// telephone has a PIN of its own.
	other := newPlug(t, d.Readers[1], personalise(t, key, "--key", "P-256:authenticate", "--key", "RSA-2048:sign", "--ask-pin", "--full-only"))
	// One without any key gets one. The command makes at least one, so:
	bare := newPlug(t, d.Readers[2], personalise(t, key))
	bare.memory.Profile.Keys = nil
	put(plain, other, bare)
	t.Run("at first", func(t *testing.T) {
		log := &journal{T: t}
		p := bootLogging(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}, PCSC: []string{d.Readers[1].Name, d.Readers[0].Name, d.Readers[2].Name}}, log)
		for i, at := range []*plug{other, plain, bare} {
			if row := p.row(13 + i); !strings.Contains(row, "has the card in "+at.slot.Name) || !strings.Contains(row, demoUserID(13+i)) {
				t.Errorf("the table has %q", row)
			}
		}
		hold(t, p, 14).signsByHand(p, 14, strangerPIN2)
		hold(t, p, 15).signsByHand(p, 15, strangerPIN2)
		// It is on only when its PIN was typed.
		p.ends(t, 13, "absent")
		h := hold(t, p, 13)
		_, id := h.reads("PIN")
		h.replies(id, other.memory.Profile.Telephone.PIN.Digits)
		log.on(other.slot)
		h.signsByHand(p, 13, "1357", strangerPIN2)
		if left := other.memory.Profile.PIN2.Tries; left != 3 {
			t.Errorf("%d tries are left", left)
		}
	})
	t.Run("again, in other readers", func(t *testing.T) {
		plain.out()
		plain.slot = d.Readers[3]
		put(plain)
		p := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}, PCSC: []string{d.Readers[3].Name, d.Readers[1].Name}})
		for n, want := range map[int]string{13: d.Readers[1].Name, 14: d.Readers[3].Name, 15: "in no reader now"} {
			if row := p.row(n); !strings.Contains(row, want) {
				t.Errorf("the table has %q, want %q", row, want)
			}
		}
		p.ends(t, 15, "absent")
		hold(t, p, 14).signsByHand(p, 14, strangerPIN2)
		// Its telephone's page asks for the PIN, and the program stops all the same.
		hold(t, p, 13).reads("PIN")
		began := time.Now()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s to stop", took)
		}
	})
	t.Run("and one more", func(t *testing.T) {
		bare.out()
		one := newPlug(t, d.Readers[2], personalise(t, key, "--key", "P-384:sign"))
		put(one)
		p := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}, PCSC: []string{d.Readers[2].Name}})
		if row := p.row(16); !strings.Contains(row, "has the card in "+d.Readers[2].Name) {
			t.Errorf("the table has %q", row)
		}
		hold(t, p, 16).signsByHand(p, 16, strangerPIN2)
		// Pulled while its text is on the page, which then is gone from there.
		h := hold(t, p, 16)
		provider{t, p}.ask(16, 5)
		h.reads("Demo")
		one.out()
		eventually(t, "the page is empty", func() bool { s := <-h.states; return s.Prompt == nil })
	})
}
