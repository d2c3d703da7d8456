//go:build pcsc

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"imza/emulator"
	"imza/simcard"
)

// A telephone whose own PIN was enabled stays off, and nobody guesses it, until
// somebody types it on its page. The others go on without it.
func TestLockedTelephone(t *testing.T) {
	dir := t.TempDir()
	if err := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}}).Close(); err != nil {
		t.Fatal(err)
	}
	iccid, err := demoICCID(1)
	if err != nil {
		t.Fatal(err)
	}
	path := emulator.Shelf{Dir: filepath.Join(dir, "cards")}.Path(iccid)
	tries := func() int {
		t.Helper()
		memory, err := emulator.OpenMemory(path)
		if err != nil {
			t.Fatal(err)
		}
		defer memory.Close()
		return memory.Profile.Telephone.PIN.Tries
	}
	memory, err := emulator.OpenMemory(path)
	if err != nil {
		t.Fatal(err)
	}
	card, err := memory.Card()
	if err != nil {
		t.Fatal(err)
	}
	if err := (signer{card}).do("ENABLE PIN", simcard.Command{INS: simcard.EnablePIN, P2: simcard.PINTelephone, Data: simcard.PadPIN("0000")}); err != nil {
		t.Fatal(err)
	}
	if err := memory.Close(); err != nil {
		t.Fatal(err)
	}

	p := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}})
	sign := func(n int) (int, string) {
		status, out, said := p.imza(t, "sign", "--in", document(t), "--msisdn", string(demoMSISDN(n)), "--user-id", demoUserID(n), "--timeout", "20")
		return status, out + said
	}
	if status, said := sign(1); status != exitRefused || !strings.Contains(said, "absent") {
		t.Errorf("status %d, %s", status, said)
	}
	if status, said := sign(2); status != exitOK {
		t.Errorf("status %d, %s", status, said)
	}
	h := hold(t, p, 1)
	_, id := h.reads("PIN")
	h.replies(id, "9999")
	_, id = h.reads("PIN (2)")
	h.replies(id, "0000")
	signed := make(chan string, 1)
	go func() {
		for range 10 { // it takes a moment until the network knows that it is on
			if status, said := sign(1); status == exitOK {
				signed <- ""
				return
			} else if !strings.Contains(said, "absent") {
				signed <- said
				return
			}
		}
		signed <- "always absent"
	}()
	_, id = h.reads("Kod: ")
	h.replies(id, "")
	_, id = h.reads("PIN2")
	h.replies(id, demoPIN2)
	if said := <-signed; said != "" {
		t.Error(said)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := tries(); left != 3 {
		t.Errorf("%d tries left", left)
	}
}
