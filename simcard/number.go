package simcard

import (
	"fmt"
	"regexp"
)

// MSISDN is a subscriber's number as imza writes it everywhere: E.164 with its
// plus, "+994500000001".
type MSISDN string

var e164 = regexp.MustCompile(`^\+[1-9][0-9]{7,14}$`)

// ParseMSISDN takes a number in international form. Blanks and hyphens are not
// forgiven: a provider's key for a person must have one spelling.
func ParseMSISDN(s string) (MSISDN, error) {
	if !e164.MatchString(s) {
		return "", fmt.Errorf("not a telephone number in international form, like +994500000001")
	}
	return MSISDN(s), nil
}

// Digits is the number without its plus, as SMPP and TPDUs carry it.
func (m MSISDN) Digits() string { return string(m[1:]) }

// ICCID is the number printed on a card: 18 to 20 digits, the last a Luhn
// check digit (ITU-T E.118).
type ICCID string

// ParseICCID checks length, digits and check digit.
func ParseICCID(s string) (ICCID, error) {
	if len(s) < 18 || len(s) > 20 {
		return "", fmt.Errorf("simcard: an ICCID of %d digits", len(s))
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return "", fmt.Errorf("simcard: ICCID has %q in it", c)
		}
	}
	if want := luhn(s[:len(s)-1]); s[len(s)-1] != want {
		return "", fmt.Errorf("simcard: the check digit of ICCID is %c, not %c", s[len(s)-1], want)
	}
	return ICCID(s), nil
}

// NewICCID appends the check digit to the 17 to 19 digits before it.
func NewICCID(digits string) (ICCID, error) {
	return ParseICCID(digits + string(luhn(digits)))
}

func luhn(digits string) byte {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return byte('0' + (10-sum%10)%10)
}
