package emulator

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// The published attacks on cards, as far as somebody tries who has no key:
//
//	2013  error receipts under single DES over known text: the key in minutes
//	2013  applets that take what is signed by nobody, whatever the level says
//	2019  Simjacker, WIBattack: TARs at level 00
//	      receipts with a deciphered counter or padding: the card is an oracle
//	      old packets again, answers sent back as commands
//
// attack_test.go goes through all levels, algorithms and TARs. Here is what such
// a sender gets to see, octet by octet.

// seen is all that a card shows to who brought it a TPDU: the answer to the
// ENVELOPE, what it wants then, and whether it stored something.
func seen(t testing.TB, c *card, tpdu []byte, fetch bool) string {
	t.Helper()
	saves := c.saves
	answer, err := c.Transmit(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.SMSDownload(nil, tpdu)}.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("ENVELOPE %x", answer)
	if fetch {
		if answer, err = c.Transmit([]byte{0x80, simcard.Fetch, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf(", FETCH %x", answer)
	}
	return fmt.Sprintf("%s, %d saves", text, c.saves-saves)
}

// cmacOf is CMAC of NIST SP 800-38B, written a second time.
func cmacOf(t testing.TB, key []byte, parts ...[]byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	message := bytes.Join(parts, nil)
	double := func(k []byte) []byte {
		hi, lo := binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[8:])
		out := binary.BigEndian.AppendUint64(nil, hi<<1|lo>>63)
		return binary.BigEndian.AppendUint64(out, lo<<1^0x87*(hi>>63))
	}
	subkey := make([]byte, 16)
	block.Encrypt(subkey, subkey)
	subkey = double(subkey)
	if len(message) == 0 || len(message)%16 != 0 {
		subkey = double(subkey)
		message = append(message, 0x80)
		message = append(message, make([]byte, (16-len(message)%16)%16)...)
	}
	last := message[len(message)-16:]
	for i := range last {
		last[i] ^= subkey[i]
	}
	cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(message, message)
	return last[:8]
}

// crafted is a command packet written octet by octet, to say what none should.
type crafted struct {
	level    ota.Security
	counter  uint64
	pcntr    byte
	data     []byte // with its padding; it is cut to whole blocks
	checksum []byte // nil: the right one
}

func (p crafted) packet(t testing.TB) []byte {
	t.Helper()
	block, err := aes.NewCipher(testKeys.KIc)
	if err != nil {
		t.Fatal(err)
	}
	checksum := p.checksum
	if checksum == nil {
		checksum = p.rightChecksum(t)
	}
	head, counter, data := p.parts()
	secured := slices.Concat(counter, []byte{p.pcntr}, checksum, data)
	cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(secured, secured)
	return append(head, secured...)
}

func (p crafted) parts() (head, counter, data []byte) {
	data = p.data[:len(p.data)-(5+1+8+len(p.data))%16]
	head = binary.BigEndian.AppendUint16(nil, uint16(1+13+8+len(data)))
	head = append(head, 13+8, p.level.SPI[0], p.level.SPI[1], p.level.KIc, p.level.KID)
	return append(head, applet.TAR[:]...), binary.BigEndian.AppendUint64(nil, p.counter)[3:], data
}

func (p crafted) rightChecksum(t testing.TB) []byte {
	t.Helper()
	head, counter, data := p.parts()
	return cmacOf(t, testKeys.KID, head, counter, []byte{p.pcntr}, data)
}

// putRight writes into a packet how long it is.
func putRight(packet []byte) []byte {
	binary.BigEndian.PutUint16(packet, uint16(len(packet)-2))
	return packet
}

// challengeData is a challenge that needs n octets of padding.
func challengeData(t testing.TB, pad int) []byte {
	t.Helper()
	asked := challenge()
	for ; ; asked.Text += "x" {
		data, err := asked.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if (5+1+8+len(data)+pad)%16 == 0 {
			return append(data, make([]byte, pad)...)
		}
	}
}

// packets are packets of who has no key, or not both, by what they are after.
type packets map[string][][]byte

func (p packets) add(what string, packet []byte) { p[what] = append(p[what], packet) }

const clearHead = 10 // octets of a packet that are never ciphered: CPL to TAR

// ciphertexts has the good packet's ciphertext changed: the questions of who
// would have the card decipher for them.
func (p packets) ciphertexts(good []byte) {
	changed := func(change func([]byte)) []byte {
		packet := bytes.Clone(good)
		change(packet)
		return packet
	}
	for n := range 160 { // noise of all lengths
		noise := make([]byte, n)
		_, _ = rand.Read(noise)
		p.add("noise", putRight(slices.Concat(good[:clearHead], noise)))
	}
	for at := clearHead; at < len(good); at++ {
		step := 1
		if at >= clearHead+16 && at < len(good)-32 {
			step = 16 // in the middle some of the other values will do
		}
		for delta := 1; delta < 256; delta += step {
			p.add("other octets", changed(func(packet []byte) { packet[at] ^= byte(delta) }))
		}
	}
	for i := clearHead; i < len(good); i += 16 {
		for j := clearHead; j < len(good); j += 16 {
			if i != j {
				p.add("blocks copied", changed(func(packet []byte) { copy(packet[i:i+16], good[j:j+16]) }))
			}
		}
		p.add("blocks left out", putRight(slices.Concat(good[:i], good[i+16:])))
		p.add("blocks doubled", putRight(slices.Concat(good[:i+16], good[i:])))
	}
	for at := range 3 { // CPL and CHL
		for delta := 1; delta < 256; delta++ {
			p.add("lengths", changed(func(packet []byte) { packet[at] ^= byte(delta) }))
		}
	}
}

// checksums are of packets that are deciphered well and checksummed badly: what
// their counter and padding say is nobody's business. last is the counter that
// the card has, next one that it would take.
func (p packets) checksums(t testing.TB, last, next uint64) {
	t.Helper()
	data := challengeData(t, 4)
	for _, counter := range []uint64{0, 1, last, next, next + 1<<32, ota.MaxCounter - 1, ota.MaxCounter} {
		for pcntr := range 256 {
			p.add("counter and PCNTR without checksum", crafted{ota.Signing, counter, byte(pcntr), data, make([]byte, 8)}.packet(t))
		}
	}
	good := crafted{level: ota.Signing, counter: next, pcntr: 4, data: data}
	right := good.rightChecksum(t)
	for n := range 8 { // as if each octet could be guessed for itself
		for delta := range 255 {
			good.checksum = bytes.Clone(right)
			good.checksum[n] ^= byte(delta + 1)
			p.add("checksums right but for an octet", good.packet(t))
		}
	}
}

// unprotected are packets in clear, under every claim that they should be taken
// so, and to applets that others had.
func (p packets) unprotected(t testing.TB, next uint64) {
	t.Helper()
	plain := append(binary.BigEndian.AppendUint64(nil, next)[3:], 0)
	data := challengeData(t, 4)
	for octet := range 256 {
		for _, level := range []ota.Security{
			{SPI: ota.SPI{byte(octet), 0x39}, KIc: 0x12, KID: 0x12},
			{SPI: ota.SPI{byte(octet), 0x21}, KIc: 0x00, KID: 0x00},
			{SPI: ota.SPI{0x02, byte(octet)}, KIc: 0x11, KID: 0x11}, // single DES, and a receipt asked for
			{SPI: ota.SPI{0x12, 0x29}, KIc: byte(octet), KID: byte(octet)},
			{SPI: ota.SPI{0x16, byte(octet)}, KIc: 0x12, KID: 0x11},
			{SPI: ota.SPI{0x16, 0x39}, KIc: byte(octet), KID: 0x12},
			{SPI: ota.SPI{0x16, 0x39}, KIc: 0x12, KID: byte(octet)},
		} {
			for _, cc := range [][]byte{{}, make([]byte, 8), {0, 0}, {0, 0, 0, 0}} {
				head := []byte{0, 0, 13 + byte(len(cc)), level.SPI[0], level.SPI[1], level.KIc, level.KID, 'I', 'M', 'Z'}
				p.add("levels in clear", putRight(slices.Concat(head, plain, cc, data)))
			}
		}
	}
	// The card manager, toolkit browsers, and those next to ours.
	for _, tar := range []string{"000000", "b00000", "b00001", "b00010", "b00011", "505348", "534054", "494d59", "494d5b", "ffffff"} {
		for _, spi := range []string{"0000", "0001", "0021", "0400", "1021"} {
			p.add("TARs without security", putRight(slices.Concat([]byte{0, 0, 13}, unhex(t, spi), []byte{0, 0}, unhex(t, tar), plain, data)))
		}
	}
}

// Whatever a packet is after, the card looks the same to who brings it as long
// as its checksum does not hold: at rest, with a challenge on the screen, and
// with an answer that waits to leave.
func TestCardIsNoOracle(t *testing.T) {
	type state struct {
		prepare func(*terminal, *card)
		quiet   string
		fetch   bool
		ends    func(*terminal, *card) // as if nothing had been
	}
	var display toolkit.Command
	for name, s := range map[string]state{
		"at rest": {func(x *terminal, c *card) { x.signs(c) }, "ENVELOPE 9000, FETCH 6985, 0 saves", true, func(*terminal, *card) {}},
		"a challenge on the screen": {
			func(x *terminal, c *card) { x.bring(c.segments(x, challenge())); display = x.want(toolkit.DisplayText) },
			"ENVELOPE 9000, FETCH 6985, 0 saves", true,
			func(x *terminal, c *card) {
				x.respond(display.Respond(toolkit.Done))
				x.respond(typed(x.want(toolkit.GetInput), testPIN2))
				if a := x.answer(c); a.Result != applet.Signed {
					t.Errorf("answered %s", a.Result)
				}
			}},
		"an answer that waits": {
			func(x *terminal, c *card) {
				asked := challenge()
				asked.Short = true
				x.sign(c.segments(x, asked), testPIN2)
			}, "", false,
			func(x *terminal, c *card) {
				if a := x.answer(c); a.Result != applet.Signed {
					t.Errorf("answered %s", a.Result)
				}
			}},
	} {
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		s.prepare(x, c)
		if s.quiet == "" { // it announces its answer again and again
			s.quiet = fmt.Sprintf("ENVELOPE %04x, 0 saves", uint16(x.sw))
		}
		before, err := json.Marshal(c.profile)
		if err != nil {
			t.Fatal(err)
		}
		all, next := make(packets), c.counter+1000
		all.ciphertexts(crafted{level: ota.Signing, counter: next, pcntr: 4, data: challengeData(t, 4)}.packet(t))
		all.checksums(t, c.counter, next)
		all.unprotected(t, next)
		tried := 0
		for what, some := range all {
			for _, packet := range some {
				parts, err := sms.Segment(sms.CommandPacket, packet, byte(tried))
				if err != nil {
					t.Fatal(err)
				}
				for _, ud := range parts {
					if got := seen(t, c, deliver(t, ud), s.fetch); got != s.quiet {
						t.Fatalf("%s, %s: %x\nis answered %s, want %s", name, what, packet, got, s.quiet)
					}
				}
				tried++
			}
		}
		if tried < 10_000 {
			t.Errorf("%d packets are few", tried)
		}
		if after, err := json.Marshal(c.profile); err != nil || !bytes.Equal(after, before) {
			t.Errorf("%s: the card remembers something", name)
		}
		s.ends(x, c)
		x.idle()
		x.signs(c)
	}
}

// receipt is what a card says of a packet whose checksum held.
type receipt struct {
	name    string
	packet  []byte
	counter uint64
	status  ota.Status
}

// receipts are all that this card gives, of a card that has signed once.
func receipts(t testing.TB, c *card) []receipt {
	t.Helper()
	next := c.counter + 1000
	data := challengeData(t, 4)
	all := []receipt{
		{"the last one again", crafted{ota.Signing, c.counter, 4, data, nil}.packet(t), c.counter, ota.StatusCounterLow},
		{"one from before", crafted{ota.Signing, 1, 4, data, nil}.packet(t), 1, ota.StatusCounterLow},
		{"counter 0", crafted{ota.Signing, 0, 4, data, nil}.packet(t), 0, ota.StatusCounterLow},
		{"the last counter there is", crafted{ota.Signing, ota.MaxCounter, 4, data, nil}.packet(t), ota.MaxCounter, ota.StatusCounterBlocked},
		{"no padding can be 16", crafted{ota.Signing, next, 16, data, nil}.packet(t), next, ota.StatusSecurityError},
		{"nor 255", crafted{ota.Signing, next, 255, data, nil}.packet(t), next, ota.StatusSecurityError},
		{"nor more than there is", crafted{ota.Signing, next, 3, make([]byte, 2), nil}.packet(t), next, ota.StatusSecurityError},
		{"bad padding under an old counter", crafted{ota.Signing, 1, 200, data, nil}.packet(t), 1, ota.StatusSecurityError},
	}
	for _, spi := range []ota.SPI{{0x06, 0x39}, {0x0E, 0x39}, {0x1E, 0x39}, {0x16, 0x00}, {0x16, 0x01}, {0x16, 0x21}, {0x16, 0x19}} {
		level := ota.Security{SPI: spi, KIc: 0x12, KID: 0x12}
		all = append(all, receipt{"level " + spi.String(), crafted{level, next, 4, data, nil}.packet(t), next, ota.StatusInsufficientSecurity})
	}
	return all
}

// refusedBy brings a packet and takes the one message that comes of it.
func refusedBy(x *terminal, packet []byte) (ud []byte) {
	x.Helper()
	x.bring(segment(x, packet))
	c := x.want(toolkit.SendShortMessage)
	x.respond(c.Respond(toolkit.Done))
	x.idle()
	submit, err := sms.ParseSubmit(c.TPDU)
	if err != nil {
		x.Fatal(err)
	}
	return submit.UserData
}

// A receipt is for who holds the keys: it is ciphered and checksummed, has no
// data, and opens for nobody else. Read here by other code than the card's.
func TestReceiptsTellNothingToOthers(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	x.signs(c)
	block, err := aes.NewCipher(testKeys.KIc)
	if err != nil {
		t.Fatal(err)
	}
	saves := c.saves
	for _, r := range receipts(t, c) {
		c.refusals = 0 // how many there may be is tested elsewhere
		ud := refusedBy(x, r.packet)
		// 02 71 00, RPL, RHL, TAR; then CNTR, PCNTR, status, CC and nothing but the
		// padding: 15 octets, so one of it.
		if want := unhex(t, "02 7100 0014 12 494d5a"); len(ud) != len(want)+16 || !bytes.HasPrefix(ud, want) {
			t.Fatalf("%s: the receipt is %x", r.name, ud)
		}
		plain := make([]byte, 16)
		cipher.NewCBCDecrypter(block, make([]byte, 16)).CryptBlocks(plain, ud[9:])
		counter := binary.BigEndian.AppendUint64(nil, r.counter)[3:]
		head := append(bytes.Clone(counter), 1, byte(r.status))
		if !bytes.Equal(plain[:7], head) || plain[15] != 0 {
			t.Errorf("%s: the receipt says %x, want %x", r.name, plain, head)
		}
		if mac := cmacOf(t, testKeys.KID, ud[:9], head, plain[15:]); !bytes.Equal(plain[7:15], mac) {
			t.Errorf("%s: the receipt's checksum is %x, want %x", r.name, plain[7:15], mac)
		}
		for bit := range 8 * (len(ud) - 3) {
			forged := bytes.Clone(ud[3:])
			forged[bit/8] ^= 0x80 >> (bit % 8)
			if got, err := c.channel.OpenResponse(forged); err == nil {
				t.Fatalf("%s: with bit %d flipped it is %+v", r.name, bit, got)
			}
		}
		// Without its checksum the same packet is met with silence.
		forged := bytes.Clone(r.packet)
		forged[len(forged)-1] ^= 1
		silent(t, c, forged, r.name+", forged")
	}
	if c.saves != saves {
		t.Error("a refusal was stored")
	}
	x.signs(c)
}

// Every padding there can be, under a right checksum: it is taken if it fits, and
// else refused with status 06, whose packet's counter does not count.
func TestPaddingOfWhoHoldsTheKeys(t *testing.T) {
	for pcntr := range 256 {
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		c.counter++
		packet := crafted{ota.Signing, c.counter, byte(pcntr), challengeData(t, 4), nil}.packet(t)
		if pcntr >= aes.BlockSize {
			refuses(t, c, packet, c.counter, ota.StatusSecurityError)
			x.signs(c)
			continue
		}
		x.bring(segment(t, packet))
		if c.profile.Counter != c.counter {
			t.Errorf("PCNTR %d: the counter is not taken", pcntr)
		}
		switch answers := x.drain(c); { // a zero too many in the text is none of it
		case len(answers) != 1, answers[0].Result == applet.Signed, pcntr < 4 != (answers[0].Result == applet.NotUnderstood):
			t.Errorf("PCNTR %d: answered %+v", pcntr, answers)
		}
	}
}

// What the card sends is of no use as a command: not as it is, nor with a
// command's header around its ciphertext.
func TestWhatTheCardSendsIsNoCommand(t *testing.T) {
	c := newCard(t, nil)
	said := &recorder{card: c}
	x := &terminal{TB: t, card: said}
	x.signs(c)
	for _, r := range receipts(t, c) {
		c.refusals = 0
		refusedBy(x, r.packet)
	}
	var messages [][]byte // user data, of full answers and receipts
	for i, answer := range said.answers {
		if said.commands[i][1] != simcard.Fetch || len(answer) < 3 {
			continue
		}
		command, err := toolkit.ParseCommand(answer[:len(answer)-2])
		if err != nil {
			t.Fatal(err)
		}
		if command.Type == toolkit.SendShortMessage {
			submit, err := sms.ParseSubmit(command.TPDU)
			if err != nil {
				t.Fatal(err)
			}
			messages = append(messages, submit.UserData)
		}
	}
	if len(messages) < 15 {
		t.Fatalf("%d messages", len(messages))
	}
	for i, ud := range messages {
		quiet(t, c, deliver(t, ud), "a message of the card, sent back")
		asCommand := bytes.Clone(ud)
		if at := bytes.IndexByte(asCommand[:9], 0x71); at > 0 {
			asCommand[at] = 0x70
		}
		quiet(t, c, deliver(t, asCommand), "a message of the card, marked as a command")
		part, err := sms.ParseUserData(ud)
		if err != nil {
			t.Fatal(err)
		}
		if part.Total > 1 {
			continue
		}
		secured := part.Payload[6:]
		for _, level := range []ota.Security{ota.Signing, {}, {SPI: ota.SPI{0x16, 0x00}, KIc: 0x12, KID: 0x12}} {
			for _, chl := range []byte{13, 13 + 8, 13 + 9} {
				packet := append([]byte{0, 0, chl, level.SPI[0], level.SPI[1], level.KIc, level.KID, 'I', 'M', 'Z'}, secured...)
				silent(t, c, putRight(packet), fmt.Sprintf("message %d with a command's header", i))
			}
		}
	}
	x.signs(c)
}

// Old packets of all kinds, brought over and over: there is at most one message
// that leaves, and one that waits.
func TestOldPacketsCostOneMessageAtATime(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	old := c.segments(t, long())
	x.sign(old, testPIN2)
	x.answer(c)
	kinds := receipts(t, c)
	storm := func() {
		t.Helper()
		for n := range 60 {
			switch n % 3 {
			case 0:
				x.bring(old)
			case 1:
				x.bring(segment(t, kinds[n%len(kinds)].packet))
			default: // under other references, as if it were new
				parts, err := sms.Segment(sms.CommandPacket, kinds[0].packet, byte(n))
				if err != nil {
					t.Fatal(err)
				}
				x.bring(parts)
			}
		}
	}
	one := func() toolkit.Command {
		t.Helper()
		command := x.want(toolkit.SendShortMessage)
		if submit, err := sms.ParseSubmit(command.TPDU); err != nil || len(submit.UserData) != 9+16 {
			t.Fatalf("a receipt of %d octets, %v", len(submit.UserData), err)
		}
		return command
	}
	storm()
	leaving := one()
	storm() // while it leaves
	x.respond(leaving.Respond(toolkit.Done))
	leaving = one()
	x.respond(leaving.Respond(toolkit.SMSError)) // one that the network refuses is not made again
	if x.sw != simcard.SWOK {
		t.Errorf("%s: a third message", x.sw)
	}
	x.idle()
	// None gets between a person and their challenge.
	x.bring(c.segments(t, challenge()))
	display := x.want(toolkit.DisplayText)
	storm()
	x.respond(display.Respond(toolkit.Done))
	leaving = one()
	x.respond(leaving.Respond(toolkit.Done))
	input := x.want(toolkit.GetInput)
	storm()
	x.respond(typed(input, testPIN2))
	leaving = one()
	x.respond(leaving.Respond(toolkit.Done))
	if a := x.answer(c); a.Result != applet.Signed {
		t.Errorf("answered %s", a.Result)
	}
	x.idle()
}

// The counter's end closes the card for good, and a packet that would take it
// there from afar is refused, so that nobody does it by accident.
func TestCounterIsNotBlockedFromAfar(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for range 3 {
		refuses(t, c, sealed(t, applet.TAR, ota.Signing, testKeys, ota.MaxCounter), ota.MaxCounter, ota.StatusCounterBlocked)
		x.signs(c)
	}
}
