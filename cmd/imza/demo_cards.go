package main

import (
	"context"
	"fmt"

	"imza/emulator"
	"imza/gateway"
	"imza/gateway/registry"
	"imza/pki"
	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
)

// issueCard makes a subscriber's card and enrols it. The card's file is there
// before the record knows the subscriber, so a start that is cut off in between
// begins this one anew.
func (d *demo) issueCard(ctx context.Context, p *program, n int, s demoSubscriber) error {
	iccid, err := demoICCID(n)
	if err != nil {
		return err
	}
	profile, err := newProfile(p.masterKey, iccid, "1234", demoPIN2, "12345678")
	if err != nil {
		return err
	}
	profile.Fault, profile.FullOnly = s.fault, s.old
	if err := d.shelf.Put(profile); err != nil {
		return err
	}
	memory, err := emulator.OpenMemory(d.shelf.Path(iccid))
	if err != nil {
		return err
	}
	defer memory.Close()
	card, err := memory.Card()
	if err != nil {
		return err
	}
	return d.enrol(ctx, p, n, s, card)
}

// newProfile makes the profile of a new card of ours: its OTA keys and its ADM
// code are the master key's.
func newProfile(masterKey []byte, iccid simcard.ICCID, pin1, pin2, puk string) (*emulator.Profile, error) {
	keys, err := ota.DeriveKeys(masterKey, string(iccid))
	if err != nil {
		return nil, err
	}
	adm, err := ota.DeriveADM(masterKey, string(iccid))
	if err != nil {
		return nil, err
	}
	profile := emulator.NewProfile(iccid, keys, pin1, pin2, puk)
	profile.ADM = emulator.NewPUK(adm)
	return profile, nil
}

// enrol has a card make the keys that a subscriber needs, certifies them, and
// records all. It asks the card by APDU, so the card may be anywhere.
func (d *demo) enrol(ctx context.Context, p *program, n int, s demoSubscriber, at simcard.Card) error {
	card := signer{at}
	iccid, err := card.iccid()
	if err != nil {
		return err
	}
	about, err := card.open()
	if err != nil {
		return err
	}
	adm, err := ota.DeriveADM(p.masterKey, string(iccid))
	if err != nil {
		return err
	}
	if err := card.admit(adm); err != nil {
		return fmt.Errorf("card %s was not made for this master key: %w", iccid, err)
	}
	var certificates []gateway.Certificate
	for i, w := range s.wanted() {
		key := applet.KeyRecord{Number: byte(i + 1), Operation: applet.Sign, Kind: applet.P256}
		if s.rsa {
			key.Kind = applet.RSA2048
		}
		if s.stranger { // whose card may have come with keys
			if key, err = card.signingKey(); err != nil {
				return err
			}
		}
		request, err := card.makeKey(key)
		if err != nil {
			return err
		}
		holder := pki.Holder{FIN: string(demoFIN(n)), GivenName: s.givenName, Surname: s.surname,
			VOEN: string(w.voen), Organisation: demoOrganisations[w.voen]}
		cert, err := p.authority.IssueFor(request, string(iccid), holder, pki.Signing, now())
		if err != nil {
			return err
		}
		if err := card.putCertificate(key.Number, cert.Raw); err != nil {
			return err
		}
		certificates = append(certificates, gateway.Certificate{Serial: registry.Serial(cert.SerialNumber), Type: w.kind, VOEN: w.voen, Key: key.Number, X509: cert})
	}
	return p.registry.Enrol(ctx, registry.Person{MSISDN: demoMSISDN(n), ICCID: iccid, FIN: demoFIN(n),
		GivenName: s.givenName, Surname: s.surname, UserID: demoUserID(n), ShortAnswers: about.Short}, certificates)
}
