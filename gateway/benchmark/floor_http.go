package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/valyala/fasthttp"
)

// What goes over HTTP for one signature, as long as it really is: an
// organisation's certificate by P-256, a text of 14 characters.
var (
	requestBody = []byte(`{"msisdn":"+994501000000","userId":"123456","certificate":{"type":"business","voen":"1512345678"},` +
		`"digest":{"algorithm":"SHA-256","value":"` + strings.Repeat("A", 43) + `="},"text":"imza load test","timeout":120}`)
	acceptedBody  = []byte(`{"id":"hhg3iverkn7xsdef","status":"pending","verificationCode":"6841","expiresAt":"2026-01-01T12:00:00.31Z"}`)
	signatureBody = []byte(`{"id":"hhg3iverkn7xsdef","status":"signed","verificationCode":"6841","expiresAt":"2026-01-01T12:00:00.31Z",` +
		`"endedAt":"2026-01-01T12:00:00.32Z","signingTime":"2026-01-01T12:00:00Z",` +
		`"cms":"` + strings.Repeat("A", (cmsLen+2)/3*4) + `","certificate":"` + strings.Repeat("A", (certificateLen+2)/3*4) + `"}`)
)

// Octets of a released signature, and of the certificate in it.
const (
	cmsLen         = 1212
	certificateLen = 757
)

// echoing is an echo server that does nothing, and a client of it.
type echoing struct {
	url    string
	server *http.Server
	client *fasthttp.HostClient
}

func newEcho(callers int) (*echoing, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.POST("/v1/signatures", func(c echo.Context) error {
		if _, err := io.Copy(io.Discard, c.Request().Body); err != nil {
			return err
		}
		return c.JSONBlob(http.StatusAccepted, acceptedBody)
	})
	whole := fmt.Sprint(len(signatureBody)) // said, so that it need not be cut into chunks
	e.GET("/v1/signatures/:id", func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentLength, whole)
		return c.JSONBlob(http.StatusOK, signatureBody)
	})
	s := &echoing{url: "http://" + l.Addr().String() + "/v1/signatures", server: &http.Server{Handler: e}}
	s.client = &fasthttp.HostClient{Addr: l.Addr().String(), MaxConns: callers, NoDefaultUserAgentHeader: true, MaxIdleConnDuration: time.Minute}
	go func() {
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // the callers would only see connections that are refused
		}
	}()
	return s, nil
}

func (s *echoing) Close() {
	s.client.CloseIdleConnections()
	_ = s.server.Close()
}

// both asks for a signature and fetches it.
func (s *echoing) both(context.Context, int, uint64) error {
	if err := s.call(http.MethodPost, s.url, requestBody, http.StatusAccepted, len(acceptedBody)); err != nil {
		return err
	}
	return s.call(http.MethodGet, s.url+"/hhg3iverkn7xsdef?wait=60", nil, http.StatusOK, len(signatureBody))
}

func (s *echoing) call(method, url string, body []byte, status, octets int) error {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod(method)
	request.SetRequestURI(url)
	request.Header.Set("Authorization", "Bearer imza-p-23s6c3e3uuzafyrf4gtrjnafmj")
	if body != nil {
		request.Header.SetContentType("application/json")
		request.SetBodyRaw(body)
	}
	if err := s.client.Do(request, response); err != nil {
		return err
	}
	if response.StatusCode() != status || len(response.Body()) != octets {
		return fmt.Errorf("%s: status %d, %d octets", method, response.StatusCode(), len(response.Body()))
	}
	return nil
}
