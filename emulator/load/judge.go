package load

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.mozilla.org/pkcs7"
)

// sweepPatience is how long after its deadline a gateway may find out that a
// request has expired.
const sweepPatience = 2 * time.Second

// judgeEnd judges when a transaction ended, by the gateway's own clock.
func judgeEnd(r *Request, ended, expires time.Time) Fault {
	late := ended.Sub(expires)
	switch {
	case ended.IsZero() || expires.IsZero():
		return AnswerNotUnderstood
	case r.End == Expired && late > sweepPatience, r.End != Expired && late > 0:
		return EndedLate
	}
	return NoFault
}

// judge tells whether that may have become of a request, when all is known of
// it. A fault that was found before stays.
func judge(r *Request) Fault {
	if r.Fault != NoFault {
		return r.Fault
	}
	switch {
	case r.Expect == ExpectAccept && (r.End == RefusedByPolicy || r.End == Blocked):
		return RefusedAllowed
	case r.Expect == ExpectUnsigned && r.End == Signed:
		return SignedBlocked
	case r.Expect == ExpectRefuse && r.Accepted.Reached():
		return AcceptedBlocked
	case r.Expect == ExpectRefuse && r.End.Refused() && r.End != RefusedByPolicy && r.End != RefusedUnknown: // unknown means no
		return RefusedOtherwise
	}
	return NoFault
}

// judgeSignature judges a signature as the provider would who asked for it. Of
// each it looks whether it is there; of one in VerifyEvery, with code that is not
// the gateway's, whether it is by whom and of what was asked, under a certificate
// of this gateway's authority.
func (g *Generator) judgeSignature(a *asked, cms, certificate []byte) Fault {
	if len(cms) == 0 || len(certificate) == 0 {
		return DoesNotVerify
	}
	if g.VerifyEvery == 0 || a.Index%uint32(g.VerifyEvery) != 0 {
		return NoFault
	}
	g.verified.Add(1)
	if err := g.verify(a, cms, certificate); err != nil {
		g.remark(fmt.Sprintf("the signature of request %d: %v", a.Index, err))
		return DoesNotVerify
	}
	return NoFault
}

func (g *Generator) verify(a *asked, cms, certificate []byte) error {
	der, err := base64.StdEncoding.AppendDecode(nil, cms)
	if err != nil {
		return err
	}
	of, err := base64.StdEncoding.AppendDecode(nil, certificate)
	if err != nil {
		return err
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		return err
	}
	p7.Content = g.content(a.Index)
	if err := p7.VerifyWithChain(g.anchors); err != nil {
		return err
	}
	signer := p7.GetOnlySigner()
	switch {
	case signer == nil:
		return errors.New("it is not of one signer")
	case !bytes.Equal(signer.Raw, of):
		return errors.New("it is by another certificate than the gateway says")
	case !strings.HasSuffix(signer.Subject.SerialNumber, "-"+a.who.FIN):
		return errors.New("it is by somebody else")
	}
	return nil
}

// fetchAnchors fetches whom to trust: the authority of this gateway.
func (g *Generator) fetchAnchors() error {
	g.anchors = x509.NewCertPool()
	err := g.control.control(message{method: http.MethodGet, path: "/pki/ca.pem"}, func(pem []byte) error {
		if !g.anchors.AppendCertsFromPEM(pem) {
			return errors.New("it has no certificate in it")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("whom signatures are to be verified against is not known: %w", err)
	}
	return nil
}
