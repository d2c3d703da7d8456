package emulator

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"imza/simcard"
)

// turn is an APDU and what the card answers to it: data and status word, where
// "*" stands for data that another test looks at.
type turn struct{ apdu, answer string }

// converse has a card that was just reset answer one APDU after another.
func converse(t *testing.T, c *card, turns []turn) {
	t.Helper()
	c.Reset()
	for _, turn := range turns {
		data, sw := answered(t, c, turn.apdu)
		got := fmt.Sprintf("%X%s", data, sw)
		want := strings.ReplaceAll(turn.answer, " ", "")
		if rest, any := strings.CutPrefix(want, "*"); any && len(data) > 0 {
			got, want = sw.String(), rest
		}
		if got != want {
			t.Fatalf("%s: %s, want %s", turn.apdu, got, want)
		}
	}
}

const (
	usimAID   = "A0000000871002FFFFFFFF8900000100"
	iccidIs   = "989904010000000010F8" // EF_ICCID of the test's cards
	readICCID = "00B000000A"
)

// isCurrent are turns that show which DF is the current one: the MF has an
// EF_ICCID, the others are told by their AIDs.
var (
	isMF     = turn{"00B0820005", iccidIs[:10] + "9000"}
	isUSIM   = turn{"80F2000112", "8410" + usimAID + "9000"}
	isSigner = turn{"80F2000108", "8406F0494D5A4101 9000"}
)

// SELECT (TS 102 221 §8.4, §11.1.1).
func TestSelect(t *testing.T) {
	for name, turns := range map[string][]turn{
		"after a reset the MF is selected, and no file": {{readICCID, "6986"}, isMF},
		"by file id":               {{"00A4000C022FE2", "9000"}, {readICCID, iccidIs + "9000"}, {"00A4000C023F00", "9000"}, {readICCID, "6986"}},
		"the DF itself, by its id": {{"00A4000C023F00", "9000"}, {"00A4000C023F00", "9000"}, isMF},
		"what is in another DF is not found": {{"00A4000C026F07", "6A82"}, {"00A4000C026F01", "6A82"}, {"00A4000C02FFFF", "6A82"}, {"00A4000C020000", "6A82"},
			{selectsUSIM, "9000"}, {"00A4000C022FE2", "6A82"}, {"00A4000C026F01", "6A82"}, {selectsSigner, "9000"}, {"00A4000C026F07", "6A82"}},
		"the MF, by its id or by none, from anywhere": {{selectsUSIM, "9000"}, isUSIM, {"00A4000C023F00", "9000"}, isMF,
			{selectsSigner, "9000"}, isSigner, {"00A4000C", "9000"}, isMF, {selectsUSIM, "9000"}, {"00A4000C00", "9000"}, isMF},
		"ids of other lengths": {{"00A4000C012F", "6700"}, {"00A4000C032FE200", "6700"}},
		// An AID may be given in part (§8.5).
		"by AID":                          {{"00A4040C10" + usimAID, "9000"}, isUSIM, {"00A4040C06F0494D5A4101", "9000"}, isSigner},
		"by the beginning of an AID":      {{"00A4040C07A0000000871002", "9000"}, isUSIM, {"00A4040C05F0494D5A41", "9000"}, isSigner, {"00A4040C05A000000087", "9000"}, isUSIM},
		"by an AID that is selected":      {{selectsUSIM, "9000"}, {selectsUSIM, "9000"}, isUSIM},
		"AIDs that are too short or long": {{"00A4040C04A0000000", "6700"}, {"00A4040C01A0", "6700"}, {"00A4040C", "6700"}, {"00A4040C11" + usimAID + "00", "6700"}},
		"AIDs of others": {{selectsUSIM, "9000"}, {"00A4040C07A0000000871004", "6A82"}, {"00A4040C05A000000088", "6A82"},
			{"00A4040C10A0000000871002FFFFFFFF8900000101", "6A82"}, {"00A4040C07F0494D5A410100", "6A82"}, isUSIM},
		// P2: first, last, next and previous occurrence (table 11.2).
		"there is one of each AID": {{"00A4040C07A0000000871002", "9000"}, {"00A4040E07A0000000871002", "6A82"}, isUSIM, {"00A4040E05F0494D5A41", "6A82"}, isUSIM},
		// The last, the previous, and the end of an application: not done, and said so.
		"other occurrences": {{selectsUSIM, "9000"}, {"00A4040D07A0000000871002", "6A86"}, {"00A4040F07A0000000871002", "6A86"}, {"00A4044C07A0000000871002", "6A86"}, isUSIM},
		"the parent": {{selectsUSIM, "9000"}, {"00A4030C", "9000"}, isMF, {"00A4030C", "6A82"}, {"00A4030C00", "6A82"}, isMF,
			{selectsSigner, "9000"}, {"00A4000C026F01", "9000"}, {"00A4030C", "9000"}, isMF, {"00A4030C023F00", "6700"}},
		// 7FFF is the application that is selected (§8.3).
		"7FFF": {{"00A4000C027FFF", "6A82"}, {"00A4080C027FFF", "6A82"}, {"00A4080C047FFF6F01", "6A82"}, {selectsSigner, "9000"}, {"00A4000C026F01", "9000"},
			{"00A4000C027FFF", "9000"}, isSigner, {"00B000000F", "6986"}, {"00A4080C047FFF6F01", "9000"}, {"00B0000003", "800101 9000"},
			{"00A4080C027FFF", "9000"}, isSigner, {"00A4000C023F00", "9000"}, {"00A4000C027FFF", "6A82"}},
		"by path from the MF": {{selectsUSIM, "9000"}, {"00A4080C022FE2", "9000"}, {readICCID, iccidIs + "9000"}, isMF, {"00A4080C022FE3", "6A82"}},
		// The MF's id stands in no path, and nothing is below a file (§8.4.2).
		"paths that lead nowhere": {{"00A4080C043F002FE2", "6A82"}, {"00A4080C042FE26F07", "6A82"}, {"00A4080C042FE22FE2", "6A82"}, {"00A4090C022FE3", "6A82"},
			{"00A4080C", "6700"}, {"00A4080C012F", "6700"}, {"00A4080C032FE26F", "6700"}, {"00A4090C", "6700"}, {"00A4090C032FE26F", "6700"}},
		"by path from the current DF": {{"00A4090C022FE2", "9000"}, {readICCID, iccidIs + "9000"}, {selectsSigner, "9000"}, {"00A4090C026F01", "9000"}, {"00B0000003", "800101 9000"}},
		"what fails selects nothing": {{"00A4000C022FE2", "9000"}, {"00A4000C022FE3", "6A82"}, {readICCID, iccidIs + "9000"}, {"00A4040C05A000000088", "6A82"}, {readICCID, iccidIs + "9000"},
			{"00A4080C047FFF6F01", "6A82"}, {readICCID, iccidIs + "9000"}, {"00A4000C012F", "6700"}, {readICCID, iccidIs + "9000"}, {"00A4FF0C022F00", "6A86"}, {readICCID, iccidIs + "9000"},
			{"00A400FF022F00", "6A86"}, {readICCID, iccidIs + "9000"}},
		"other ways":            {{"00A4020C022FE2", "6A86"}, {"00A4050C022FE2", "6A86"}, {"00A40A0C022FE2", "6A86"}, {"00A4800C022FE2", "6A86"}},
		"other answers":         {{"00A40008022FE2", "6A86"}, {"00A40010022FE2", "6A86"}, {"00A40014022FE2", "6A86"}, {"00A40084022FE2", "6A86"}, {"00A4002C022FE2", "6A86"}},
		"with an FCP":           {{"00A40004022FE2", "6119"}, {"00C0000019", "*9000"}, {readICCID, iccidIs + "9000"}},
		"with an FCP, and data": {{"00A4040406F0494D5A4101", "6126"}, {"00C0000026", "*9000"}, isSigner},
		// Even without data P3 is their length: the FCP waits, whatever P3 says.
		"an FCP without data": {{selectsUSIM, "9000"}, {"00A40304", "6122"}, {"00C0000022", "*9000"}, isMF,
			{selectsUSIM, "9000"}, {"00A4000400", "6122"}, {"00C0000022", "*9000"}, isMF, {selectsUSIM, "9000"}, {"00A4030422", "6122"}, isMF},
		"an Le that is too much": {{"00A40004022FE200", "6119"}, {"00C0000019", "*9000"}},
	} {
		t.Run(name, func(t *testing.T) { converse(t, fileCard(t), turns) })
	}
}

// READ BINARY (TS 102 221 §11.1.3).
func TestReadBinary(t *testing.T) {
	selects := turn{"00A4000C022FE2", "9000"}
	for name, turns := range map[string][]turn{
		"all of it":                     {selects, {readICCID, iccidIs + "9000"}, {readICCID, iccidIs + "9000"}},
		"another length":                {selects, {"00B0000000", "6C0A"}, {"00B00000", "6C0A"}, {"00B000000B", "6C0A"}, {"00B00000FF", "6C0A"}, {readICCID, iccidIs + "9000"}},
		"the beginning":                 {selects, {"00B0000001", "98 9000"}, {"00B0000005", "9899040100 9000"}},
		"from an offset":                {selects, {"00B0000505", "00000010F8 9000"}, {"00B0000901", "F8 9000"}, {"00B0000500", "6C05"}, {"00B0000902", "6C01"}, {"00B000050A", "6C05"}},
		"from behind its end":           {selects, {"00B0000A00", "6B00"}, {"00B0000A01", "6B00"}, {"00B000FF01", "6B00"}, {"00B0010001", "6B00"}, {"00B07FFF01", "6B00"}},
		"by short id":                   {{"00B082000A", iccidIs + "9000"}, {"00B0820505", "00000010F8 9000"}, {"00B0820000", "6C0A"}, {"00B0820A01", "6B00"}, {readICCID, iccidIs + "9000"}},
		"by another's short id":         {selects, {"00B09D0001", "6A82"}, {"00B0810001", "6A82"}, {readICCID, iccidIs + "9000"}},
		"by the short id of records":    {selects, {"00B09E0001", "6981"}},
		"short id 0 is nobody's":        {{selectsUSIM, "9000"}, {givesPIN, "9000"}, {"00B080002E", "6A82"}, {"00A4000C026FC4", "9000"}, {"00B080002E", "6A82"}},
		"short id 1F is nobody's":       {{"00B09F0001", "6A82"}},
		"bits 7 and 6 beside one":       {{"00B0A20001", "6A86"}, {"00B0C20001", "6A86"}, {"00B0E20001", "6A86"}},
		"nothing is selected":           {{"00B0000001", "6986"}, {selects.apdu, "9000"}, {selectsUSIM, "9000"}, {"00B0000001", "6986"}},
		"records":                       {{"00A4000C022F00", "9000"}, {"00B0000001", "6981"}},
		"with data":                     {selects, {"00B000000100", "6700"}, {"00B00000010000", "6700"}},
		"a PIN is asked for":            {{selectsUSIM, "9000"}, {"00A4000C026F07", "9000"}, {"00B0000009", "6982"}, {"00B0000901", "6982"}, {"00B0870009", "6982"}, {givesPIN, "9000"}, {"00B0000009", "*9000"}, {"00B0870009", "*9000"}},
		"a PIN is asked for, elsewhere": {{givesPIN, "9000"}, {selectsUSIM, "9000"}, {"00B0870009", "*9000"}, {selectsSigner, "9000"}, {selectsUSIM, "9000"}, {"00B0870009", "*9000"}},
		"another's PIN is no use":       {{selectsSigner, "9000"}, {"002000020831333537FFFFFFFF", "9000"}, {"0020000A08 3131323233333434", "9000"}, {selectsUSIM, "9000"}, {"00B0870009", "6982"}},
		"an empty file":                 {{selectsSigner, "9000"}, {"00A4000C024C07", "9000"}, {"00B0000000", "6B00"}, {"00B0000001", "6B00"}},
		"more than 256 octets": {{selectsSigner, "9000"}, {"00A4000C024D01", "9000"}, {"00B0000000", strings.Repeat("5A", 256) + "9000"}, {"00B00000FF", strings.Repeat("5A", 255) + "9000"},
			{"00B0010000", "6C2C"}, {"00B001002C", strings.Repeat("5A", 44) + "9000"}, {"00B0002C00", strings.Repeat("5A", 256) + "9000"}, {"00B0002D00", "6CFF"}, {"00B0012B01", "5A 9000"}, {"00B0012C01", "6B00"}},
	} {
		t.Run(name, func(t *testing.T) { converse(t, fileCard(t), turns) })
	}
}

// READ RECORD (TS 102 221 §11.1.5).
func TestReadRecord(t *testing.T) {
	c := fileCard(t)
	done(t, c, "00A4000C022F00")
	first, second := fmt.Sprintf("%X", done(t, c, "00B201041A")), fmt.Sprintf("%X", done(t, c, "00B202041A"))
	if first == second || !strings.HasPrefix(first, "61184F10"+usimAID) || !strings.HasPrefix(second, "610E4F06F0494D5A4101") {
		t.Fatalf("EF_DIR is %s, %s", first, second)
	}
	one, two := first+"9000", second+"9000"
	selects := turn{"00A4000C022F00", "9000"}
	for name, turns := range map[string][]turn{
		"by number":              {selects, {"00B201041A", one}, {"00B202041A", two}, {"00B201041A", one}},
		"a number that is none":  {selects, {"00B203041A", "6A83"}, {"00B2FF041A", "6A83"}},
		"another length":         {selects, {"00B2010400", "6C1A"}, {"00B20104", "6C1A"}, {"00B2010419", "6C1A"}, {"00B201041B", "6C1A"}, {"00B2020400", "6C1A"}},
		"next":                   {selects, {"00B200021A", one}, {"00B200021A", two}, {"00B200021A", "6A83"}, {"00B200041A", two}},
		"previous":               {selects, {"00B200031A", two}, {"00B200031A", one}, {"00B200031A", "6A83"}, {"00B200041A", one}},
		"there and back":         {selects, {"00B200021A", one}, {"00B200021A", two}, {"00B200031A", one}, {"00B200021A", two}},
		"the current one":        {selects, {"00B200041A", "6A83"}, {"00B200021A", one}, {"00B200041A", one}},
		"by number moves not":    {selects, {"00B200021A", one}, {"00B202041A", two}, {"00B200041A", one}, {"00B200021A", two}},
		"a wrong length nor":     {selects, {"00B2000200", "6C1A"}, {"00B200021A", one}, {"00B2000201", "6C1A"}, {"00B200041A", one}},
		"SELECT forgets it":      {selects, {"00B200021A", one}, selects, {"00B200041A", "6A83"}, {"00B200021A", one}},
		"next with a number":     {selects, {"00B201021A", "6A86"}, {"00B201031A", "6A86"}},
		"other modes":            {selects, {"00B201001A", "6A86"}, {"00B201011A", "6A86"}, {"00B201051A", "6A86"}, {"00B201061A", "6A86"}, {"00B201071A", "6A86"}},
		"by short id":            {{"00B201F41A", one}, {"00B202041A", two}, {"00B202F41A", two}, {"00B203F41A", "6A83"}, {"00B201F400", "6C1A"}},
		"by short id, next":      {{"00B200F21A", one}, {"00B200021A", two}, {"00B200F21A", one}, {"00B200F31A", two}},
		"by another's short id":  {selects, {"00B200021A", one}, {"00B201EC1A", "6A82"}, {"00B200041A", one}},
		"short id 1F":            {{"00B201FC1A", "6A86"}},
		"of a transparent file":  {{"00A4000C022FE2", "9000"}, {"00B201040A", "6981"}, {"00B201140A", "6981"}},
		"nothing is selected":    {{"00B201041A", "6986"}},
		"with data":              {selects, {"00B201040100", "6700"}},
		"a PIN is asked for":     {{selectsUSIM, "9000"}, {"00A4000C026F40", "9000"}, {"00B201040E", "6982"}, {givesPIN, "9000"}, {"00B201040E", strings.Repeat("FF", 14) + "9000"}},
		"a file without records": {{selectsSigner, "9000"}, {"00A4000C026F02", "9000"}, {"00B2010404", "01010101 9000"}, {"00B2020404", "07020200 9000"}, {"00B2030404", "6A83"}},
	} {
		t.Run(name, func(t *testing.T) { converse(t, fileCard(t), turns) })
	}
}

// STATUS (TS 102 221 §11.1.2).
func TestStatus(t *testing.T) {
	c := fileCard(t)
	fcps := make(map[string]string)
	for _, selects := range []string{selectsMF, selectsUSIM, selectsSigner} {
		fcps[selects] = fmt.Sprintf("%X", fetched(t, c, strings.Replace(selects, "0C", "04", 1)))
	}
	tells := func(selects string, p1 int) turn {
		fcp := fcps[selects]
		return turn{fmt.Sprintf("80F2%02X00%02X", p1, len(fcp)/2), fcp + "9000"}
	}
	length := func(selects string) string { return fmt.Sprintf("6C%02X", len(fcps[selects])/2) }
	for name, turns := range map[string][]turn{
		"of the MF":                         {tells(selectsMF, 0), {"80F2000000", length(selectsMF)}, {"80F20000", length(selectsMF)}, {"80F20000FF", length(selectsMF)}},
		"of an application":                 {{selectsUSIM, "9000"}, tells(selectsUSIM, 0), {"80F2000000", length(selectsUSIM)}, {selectsSigner, "9000"}, tells(selectsSigner, 0)},
		"of the DF that a file is in":       {{selectsUSIM, "9000"}, {"00A4000C026F07", "9000"}, tells(selectsUSIM, 0), {"00A4080C022FE2", "9000"}, tells(selectsMF, 0)},
		"it selects nothing":                {{"00A4000C022FE2", "9000"}, tells(selectsMF, 0), {readICCID, iccidIs + "9000"}},
		"the beginning":                     {{"80F2000002", fcps[selectsMF][:4] + "9000"}, {"80F2000008", fcps[selectsMF][:16] + "9000"}},
		"what the terminal does":            {tells(selectsMF, 1), tells(selectsMF, 2), {selectsUSIM, "9000"}, tells(selectsUSIM, 1), tells(selectsUSIM, 2)},
		"what a terminal does not do":       {{"80F2030000", "6A86"}, {"80F2FF0000", "6A86"}},
		"the application's name":            {{selectsUSIM, "9000"}, isUSIM, {"80F2000100", "6C12"}, {"80F2000110", "8410" + usimAID[:28] + "9000"}, {"80F2010112", "8410" + usimAID + "9000"}, {selectsSigner, "9000"}, isSigner},
		"there is no application":           {{"80F2000100", "6985"}, {selectsUSIM, "9000"}, {selectsMF, "9000"}, {"80F2000112", "6985"}},
		"nothing":                           {{"80F2000C", "9000"}, {"80F2010C", "9000"}, {"80F2000C00", "9000"}},
		"other answers":                     {{"80F2000200", "6A86"}, {"80F2000400", "6A86"}, {"80F200FF00", "6A86"}},
		"with data":                         {{"80F200000100", "6700"}},
		"in ISO's class there is no STATUS": {{"00F2000000", "6E00"}},
	} {
		t.Run(name, func(t *testing.T) { converse(t, fileCard(t), turns) })
	}
}

// GET RESPONSE (TS 102 221 §7.3.1.1, §12.1.1).
func TestGetResponse(t *testing.T) {
	fcp := fmt.Sprintf("%X", fetched(t, fileCard(t), "00A40004022FE2"))
	selects := turn{"00A40004022FE2", "6119"}
	nothing := turn{"00C0000019", "6985"}
	for name, turns := range map[string][]turn{
		"what waits":                   {selects, {"00C0000019", fcp + "9000"}, nothing},
		"nothing waits":                {nothing, {"00C0000000", "6985"}, {"00C00000", "6985"}},
		"in pieces":                    {selects, {"00C0000001", fcp[:2] + "6118"}, {"00C0000010", fcp[2:34] + "6108"}, {"00C0000008", fcp[34:] + "9000"}, nothing},
		"another length":               {selects, {"00C0000000", "6C19"}, {"00C000001A", "6C19"}, {"00C00000FF", "6C19"}, {"00C00000", "6C19"}, {"00C0000019", fcp + "9000"}, nothing},
		"another length, of the rest":  {selects, {"00C0000001", fcp[:2] + "6118"}, {"00C0000019", "6C18"}, {"00C0000000", "6C18"}, {"00C0000018", fcp[2:] + "9000"}, nothing},
		"only directly afterwards":     {selects, {"80F2000C", "9000"}, nothing, selects, {"00B0000001", "98 9000"}, nothing, selects, {"00B0000B01", "6B00"}, nothing},
		"not after what is not taken":  {selects, {"00EE0000", "6D00"}, nothing, selects, {"FFFFFFFF", "6E00"}, nothing, selects, {"00", "6700"}, nothing},
		"what comes last is had":       {{"00A40004022F00", "611C"}, selects, {"00C0000019", fcp + "9000"}},
		"what fails leaves nothing":    {selects, {"00A40004022FE3", "6A82"}, nothing},
		"other parameters":             {selects, {"00C001001D", "6A86"}, nothing, selects, {"00C000011D", "6A86"}, nothing},
		"with data":                    {selects, {"00C000000100", "6700"}, nothing},
		"in the toolkit's class":       {selects, {"80C000001D", "6E00"}, nothing},
		"on another channel":           {selects, {"01C000001D", "6881"}, nothing},
		"with secure messaging":        {selects, {"0CC000001D", "6882"}, nothing},
		"after a command without data": {selects, {"00C0000019", fcp + "9000"}, {"00A4030C", "6A82"}, nothing},
	} {
		t.Run(name, func(t *testing.T) { converse(t, fileCard(t), turns) })
	}
	c := fileCard(t)
	answered(t, c, selects.apdu)
	c.Reset()
	if data, sw := answered(t, c, "00C0000019"); sw != simcard.SWConditions || len(data) > 0 {
		t.Errorf("after a reset: %X %s", data, sw)
	}
}

// There is the basic channel, and no other can be opened (TS 102 221 §10.1.1,
// §11.1.17).
func TestChannelsAreNotOpened(t *testing.T) {
	converse(t, fileCard(t), []turn{
		{"0070000001", "6881"}, // open one
		{"00700001", "6881"},   // open channel 1
		{"00708001", "6881"},   // close it
		{"01A4000C022FE2", "6881"}, {"03B0000001", "6881"}, {"81F2000000", "6881"},
		{"04A4000C022FE2", "6882"}, {"0CA4000C022FE2", "6882"}, {"84F2000000", "6882"}, {"0DA4000C022FE2", "6882"},
		{"A0A4000C022FE2", "6E00"}, {"40A4000C022FE2", "6E00"}, {"10A4000C022FE2", "6E00"}, {"80A4000C022FE2", "6E00"}, {"FFA4000C022FE2", "6E00"},
		{"00AA0000", "6D00"}, {"80AA0000", "6D00"}, {"00DC010404FFFFFFFF", "6D00"}, {"00880081", "6D00"},
		isMF,
	})
}

// The answer to reset, octet by octet (ISO 7816-3 §8.2, ISO 7816-4 §12.1.1,
// TS 102 221 §6.3).
func TestAnswerToReset(t *testing.T) {
	c := fileCard(t)
	atr := c.ATR()
	if len(atr) < 2 || len(atr) > 33 {
		t.Fatalf("%d octets", len(atr))
	}
	if atr[0] != 0x3B { // direct convention
		t.Errorf("TS %02X", atr[0])
	}
	// Y in the high half of T0 and of each TD says which of TA, TB, TC and TD
	// follow.
	characters, protocols := map[string]byte{}, []byte{}
	at, y, round := 2, atr[1]>>4, 1
	for y != 0 {
		next := byte(0)
		for bit, name := range []string{"TA", "TB", "TC", "TD"} {
			if y>>bit&1 == 0 {
				continue
			}
			characters[fmt.Sprint(name, round)] = atr[at]
			if name == "TD" {
				next = atr[at] >> 4
				protocols = append(protocols, atr[at]&0x0F)
			}
			at++
		}
		y, round = next, round+1
	}
	// 512 clocks for 32 bits, the fastest that all terminals take; the clock may
	// stop either way, and classes A, B and C are supported.
	if !maps.Equal(characters, map[string]byte{"TA1": 0x96, "TD1": 0x80, "TD2": 0x1F, "TA3": 0xC7}) || !bytes.Equal(protocols, []byte{0, 15}) {
		t.Errorf("interface characters %v, protocols %v", characters, protocols)
	}
	historical := int(atr[1] & 0x0F)
	if len(atr) != at+historical+1 { // another protocol than T=0 is named, so there is a TCK
		t.Fatalf("%d octets, %d of them historical, begin at %d", len(atr), historical, at)
	}
	sum := byte(0)
	for _, octet := range atr[1:] {
		sum ^= octet
	}
	if sum != 0 {
		t.Errorf("T0 to TCK give %02X, not 0", sum)
	}
	// COMPACT-TLVs: tag and length in one octet.
	h := atr[at : at+historical]
	if h[0] != 0x80 {
		t.Fatalf("category %02X", h[0])
	}
	compact := map[byte][]byte{}
	for h = h[1:]; len(h) > 0; {
		n := int(h[0] & 0x0F)
		compact[h[0]>>4] = h[1 : 1+n]
		h = h[1+n:]
	}
	// By full and by partial name, listed in EF_DIR, which READ RECORD reads.
	if s := compact[3]; len(s) != 1 || s[0] != 0xE0 {
		t.Errorf("card service data %X", s)
	}
	// By name, path, file id and short id; records by number; nothing of logical
	// channels, chaining or extended lengths.
	if s := compact[7]; len(s) != 3 || s[0] != 0xF6 || s[1] != 0x21 || s[2] != 0x00 {
		t.Errorf("capabilities %X", s)
	}
	if len(compact) != 3 || len(compact[6]) == 0 {
		t.Errorf("historical octets %X", compact)
	}
	// It is the caller's own: to change it changes nothing.
	atr[0] = 0
	if c.ATR()[0] != 0x3B {
		t.Error("the ATR can be changed")
	}
}
