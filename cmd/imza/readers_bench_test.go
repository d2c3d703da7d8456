//go:build pcsc

package main

import (
	"path/filepath"
	"testing"

	"imza/emulator"
	"imza/simcard"
	"imza/simcard/ota"
	"imza/simcard/pcsc"
	"imza/simcard/pcsc/pcsctest"
)

// BenchmarkReaderRoundTrip has a SELECT go to the software SIM and back: package
// pcsc, pcscd, vpcd, emulator.Plug. The project wants 3,000 a second.
func BenchmarkReaderRoundTrip(b *testing.B) {
	d := pcsctest.Start(b, 1)
	iccid, err := demoICCID(1)
	if err != nil {
		b.Fatal(err)
	}
	profile := filepath.Join(b.TempDir(), "card.json")
	memory, err := emulator.CreateMemory(profile, emulator.NewProfile(iccid, ota.Keys{KIc: make([]byte, 16), KID: make([]byte, 16)}, "1234", demoPIN2, "12345678"))
	if err != nil {
		b.Fatal(err)
	}
	if err := memory.Close(); err != nil {
		b.Fatal(err)
	}
	put(newPlug(b, d.Readers[0], profile))
	card, err := pcsc.Connect(d.Readers[0].Name, pcsc.Options{Exclusive: true})
	if err != nil {
		b.Fatal(err)
	}
	defer card.Close()
	apdu := simcard.Command{INS: simcard.SelectFile, P2: 0x0C, Data: []byte{0x3F, 0x00}}.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		answer, err := card.Transmit(apdu)
		if err != nil || len(answer) != 2 || answer[0] != 0x90 {
			b.Fatalf("%x, %v", answer, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "APDU/s")
}
