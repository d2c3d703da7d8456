package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
)

// key is a card's, and the public half that its certificate has.
type key struct {
	*ecdsa.PrivateKey
	digest []byte
}

func newKey() (*key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	digest := sha256.Sum256([]byte("the attributes that are signed"))
	return &key{private, digest[:]}, err
}

// both signs and verifies.
func (k *key) both(context.Context, int, uint64) error {
	signature, err := k.Sign(rand.Reader, k.digest, crypto.SHA256)
	if err != nil {
		return err
	}
	if !ecdsa.VerifyASN1(&k.PublicKey, k.digest, signature) {
		return errors.New("a signature that does not verify")
	}
	return nil
}

// packets are a challenge and its short answer, which have one message each.
type packets struct {
	channel           *ota.Channel // whose keys are expanded already
	challenge, answer []byte
}

func newPackets() (*packets, error) {
	keys, err := ota.DeriveKeys(make([]byte, 16), "89994010000000000006")
	if err != nil {
		return nil, err
	}
	p := &packets{}
	if p.channel, err = ota.NewChannel(applet.TAR, ota.Signing, keys); err != nil {
		return nil, err
	}
	challenge := applet.Challenge{Short: true, Operation: applet.Sign, Key: 1, Algorithm: applet.SHA256, Digest: make([]byte, 32),
		Time: time.Unix(1, 0), Language: applet.Azerbaijani, Text: "imza load test"}
	if p.challenge, err = challenge.Append(nil); err != nil {
		return nil, err
	}
	p.answer = (&applet.Answer{Short: true, Result: applet.Signed, Signature: make([]byte, 64)}).Append(nil)
	return p, nil
}

// both seals and opens the two packets of a signature.
func (p *packets) both(_ context.Context, _ int, n uint64) error {
	command, err := p.channel.SealCommand(n, p.challenge)
	if err != nil {
		return err
	}
	counter, _, err := p.channel.OpenCommand(command)
	if err != nil {
		return err
	}
	response, err := p.channel.SealResponse(ota.Response{Counter: counter, Data: p.answer})
	if err != nil {
		return err
	}
	_, err = p.channel.OpenResponse(response)
	return err
}

// userData is what the two packets are as user data of short messages.
func (p *packets) userData() (challenge, answer []byte, err error) {
	command, err := p.channel.SealCommand(1, p.challenge)
	if err != nil {
		return nil, nil, err
	}
	response, err := p.channel.SealResponse(ota.Response{Counter: 1, Data: p.answer})
	if err != nil {
		return nil, nil, err
	}
	challenges, err := sms.Segment(sms.CommandPacket, command, 1)
	if err != nil {
		return nil, nil, err
	}
	answers, err := sms.Segment(sms.ResponsePacket, response, 1)
	if err == nil && len(challenges)+len(answers) != 2 {
		err = errors.New("a challenge or an answer of several messages")
	}
	if err != nil {
		return nil, nil, err
	}
	return challenges[0], answers[0], nil
}
