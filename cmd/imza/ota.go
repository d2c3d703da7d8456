package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"imza/simcard/ota"
)

type otaCommand struct {
	Seal otaSealCommand `cmd:"" help:"Make a command packet and print it in hex, from CPL on."`
	Open otaOpenCommand `cmd:"" help:"Open a packet and print what is in it as JSON."`
}

// octets is a flag in hex; blanks between the digits are passed over.
type octets []byte

func (o *octets) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return fmt.Errorf("%d characters that are not hex", len(text)) // it may be a key: not repeated
	}
	*o = raw
	return nil
}

// counter is a CNTR in hex.
type counter uint64

func (c *counter) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.Join(strings.Fields(string(text)), ""), 16, 64)
	if err != nil || n > ota.MaxCounter {
		return fmt.Errorf("%q is not hex of up to 5 octets", text)
	}
	*c = counter(n)
	return nil
}

// exactly checks how many octets a flag has.
func (o octets) exactly(n int, flag string) error {
	if len(o) != n {
		return fmt.Errorf("--%s has %d octets, not %d", flag, len(o), n)
	}
	return nil
}

type otaKeys struct {
	KIc octets `name:"kic" placeholder:"HEX" help:"The ciphering key."`
	KID octets `name:"kid" placeholder:"HEX" help:"The checksum key."`
}

func (k otaKeys) keys() ota.Keys { return ota.Keys{KIc: k.KIc, KID: k.KID} }

type otaSealCommand struct {
	SPI     octets  `name:"spi" required:"" placeholder:"HEX" help:"Security parameter indicator, 2 octets."`
	KIcByte octets  `name:"kic-byte" required:"" placeholder:"HEX" help:"The KIc octet."`
	KIDByte octets  `name:"kid-byte" required:"" placeholder:"HEX" help:"The KID octet."`
	TAR     octets  `name:"tar" required:"" placeholder:"HEX" help:"Toolkit application reference, 3 octets."`
	Counter counter `required:"" placeholder:"HEX" help:"CNTR, up to 5 octets."`
	Data    octets  `required:"" placeholder:"HEX" help:"The data."`
	otaKeys
}

// Run seals.
func (c *otaSealCommand) Run(s streams) error {
	for flag, check := range map[string]struct {
		value octets
		n     int
	}{"spi": {c.SPI, 2}, "kic-byte": {c.KIcByte, 1}, "kid-byte": {c.KIDByte, 1}, "tar": {c.TAR, 3}} {
		if err := check.value.exactly(check.n, flag); err != nil {
			return err
		}
	}
	security := ota.Security{SPI: ota.SPI(c.SPI), KIc: c.KIcByte[0], KID: c.KIDByte[0]}
	packet, err := ota.SealCommand(ota.TAR(c.TAR), security, c.keys(), uint64(c.Counter), c.Data)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, hex.EncodeToString(packet))
	return nil
}

type otaOpenCommand struct {
	Response bool   `help:"The packet is a card's response."`
	Packet   octets `arg:"" name:"hex" help:"The packet, with or without its UDH (02 70 00, 02 71 00)."`
	otaKeys
}

// Run opens.
func (c *otaOpenCommand) Run(s streams) error {
	open := ota.InspectCommand
	if c.Response {
		open = ota.InspectResponse
	}
	seen, err := open(c.Packet, c.keys())
	if err != nil {
		return err
	}
	// What the kind of packet does not carry stays empty: a response does not
	// say how it is secured, a command has no status.
	out := map[string]string{
		"tar": seen.TAR.String(), "counter": fmt.Sprintf("%010x", seen.Counter),
		"spi": "", "status": "", "data": hex.EncodeToString(seen.Data),
	}
	if c.Response {
		out["status"] = fmt.Sprintf("%02x", byte(seen.Status))
	} else {
		out["spi"] = seen.Security.SPI.String()
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, string(text))
	return nil
}
