package screen

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"imza/emulator"
)

// request makes a request as the page does, changed by headers; an empty one is
// taken out, and Host is the host.
func request(t testing.TB, method, url, body string, headers map[string]string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", "http://"+r.Host)
	for name, value := range headers {
		switch {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Set(name, value)
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, text := answerOf(t, response)
	return response, text
}

// Pages of others cannot reply, choose, or listen, by which they would be the
// person.
func TestHostilePages(t *testing.T) {
	s := &Screen{Number: number}
	server := serve(t, "", s)
	address := strings.TrimPrefix(server.URL, "http://")
	_, port, _ := strings.Cut(address, ":")
	for name, c := range map[string]struct {
		headers map[string]string
		post    int
		events  bool
	}{
		"its own":             {nil, http.StatusConflict, true},
		"no browser":          {map[string]string{"Sec-Fetch-Site": "", "Origin": ""}, http.StatusConflict, true},
		"charset":             {map[string]string{"Content-Type": "application/json; charset=utf-8"}, http.StatusConflict, true},
		"by name":             {map[string]string{"Host": "localhost:" + port, "Origin": "http://localhost:" + port}, http.StatusConflict, true},
		"by name, elsewhere":  {map[string]string{"Host": "LOCALHOST", "Origin": "https://localhost"}, http.StatusConflict, true},
		"by address":          {map[string]string{"Host": "[::1]:80", "Origin": "http://[::1]:80"}, http.StatusConflict, true},
		"by bare address":     {map[string]string{"Host": "[::1]", "Origin": "http://[::1]"}, http.StatusConflict, true},
		"another site":        {map[string]string{"Sec-Fetch-Site": "cross-site"}, http.StatusForbidden, false},
		"the same site":       {map[string]string{"Sec-Fetch-Site": "same-site"}, http.StatusForbidden, false},
		"the address bar":     {map[string]string{"Sec-Fetch-Site": "none"}, http.StatusForbidden, false},
		"another origin":      {map[string]string{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}, http.StatusForbidden, false},
		"another port":        {map[string]string{"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1:1"}, http.StatusForbidden, false},
		"no origin":           {map[string]string{"Sec-Fetch-Site": "", "Origin": "null"}, http.StatusForbidden, false},
		"a form":              {map[string]string{"Content-Type": "text/plain"}, http.StatusUnsupportedMediaType, true},
		"another form":        {map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, http.StatusUnsupportedMediaType, true},
		"no type":             {map[string]string{"Content-Type": ""}, http.StatusUnsupportedMediaType, true},
		"its name leads here": {map[string]string{"Host": "evil.example:" + port, "Origin": "http://evil.example:" + port}, http.StatusForbidden, false},
		"nearly localhost":    {map[string]string{"Host": "localhost.evil.example", "Origin": "http://localhost.evil.example"}, http.StatusForbidden, false},
		"a number for a name": {map[string]string{"Host": "2130706433", "Origin": "http://2130706433"}, http.StatusForbidden, false},
	} {
		response, body := request(t, http.MethodPost, server.URL+path+"/reply", `{"prompt":"x","result":"ok","typed":"`+pin+`"}`, c.headers)
		if response.StatusCode != c.post || strings.Contains(body, pin) {
			t.Errorf("%s: a reply has %s %s, want %d", name, response.Status, body, c.post)
		}
		if response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: the refusal is %s", name, response.Header.Get("Content-Type"))
		}
		wantSelect := c.post
		if wantSelect == http.StatusConflict {
			wantSelect = http.StatusBadRequest
		}
		if response, _ := request(t, http.MethodPost, server.URL+path+"/select", `{"item":1}`, c.headers); response.StatusCode != wantSelect {
			t.Errorf("%s: a choice has %s, want %d", name, response.Status, wantSelect)
		}
		if got := eventsOpen(t, server.URL, c.headers); got != c.events {
			t.Errorf("%s: listens: %t", name, got)
		}
	}
}

// eventsOpen reports whether the events are to be had.
func eventsOpen(t testing.TB, url string, headers map[string]string) bool {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path+"/events", nil)
	for name, value := range headers {
		if name == "Host" {
			r.Host = value
		} else if value != "" {
			r.Header.Set(name, value)
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Everything comes with the policy, is loaded from here, and only by an address
// that nobody can claim.
func TestEveryPageIsGuarded(t *testing.T) {
	server := serve(t, "", &Screen{Number: number, Name: `<b>"A&B"</b>`})
	for route, want := range map[string]int{
		"/telephones": 200, "/telephones/": 200, path: 200, "/telephones/static/telephone.js": 200, "/telephones/static/style.css": 200,
		"/telephones/994500000002": 404, "/telephones/994500000002/events": 404, "/telephones/static/none": 404, "/telephones/static/.": 404,
		"/telephones/static/..%2findex.html": 404, "/telephones/+994500000001": 404,
	} {
		response, body := request(t, http.MethodGet, server.URL+route, "", nil)
		if response.StatusCode != want {
			t.Errorf("%s: %s, want %d", route, response.Status, want)
		}
		if h := response.Header; h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", route, h)
		}
		if strings.Contains(body, "<b>") || strings.Contains(body, "https://") || strings.Contains(body, "style=") {
			t.Errorf("%s: %s", route, body)
		}
		if response, _ := request(t, http.MethodGet, server.URL+route, "", map[string]string{"Host": "evil.example"}); response.StatusCode != http.StatusForbidden {
			t.Errorf("%s by another's name: %s", route, response.Status)
		}
	}
	for _, route := range []string{"/reply", "/select"} {
		if response, _ := request(t, http.MethodPost, server.URL+"/telephones/994500000002"+route, "{}", nil); response.StatusCode != http.StatusNotFound {
			t.Errorf("%s of an unknown number: %s", route, response.Status)
		}
	}
}

// What a prompt does not allow is refused by field, and the prompt stays.
func TestRefusedReplies(t *testing.T) {
	s := &Screen{Number: number}
	server := serve(t, "", s)
	free := emulator.Prompt{Kind: emulator.Ask, Text: "Ad", Min: 1, Max: 4}
	for _, c := range []struct {
		prompt      emulator.Prompt
		body, field string
		status      int
	}{
		{asksPIN, `"result":"ok","typed":"123"`, "typed", 400},
		{asksPIN, `"result":"ok","typed":"730591730"`, "typed", 400},
		{asksPIN, `"result":"ok"`, "typed", 400},
		{asksPIN, `"result":"ok","typed":"73059x"`, "typed", 400},
		{asksPIN, `"result":"ok","typed":"٧٣٠٥"`, "typed", 400},
		{asksPIN, `"result":"ok","typed":730591`, "typed", 400},
		{asksPIN, `"result":"ok","typed":["730591"]`, "typed", 400},
		{asksPIN, `"result":"ok","typed":"730591","item":1`, "item", 400},
		{asksPIN, `"result":"cancel","typed":"730591"`, "typed", 400},
		{asksPIN, `"result":"back","typed":"730591"`, "result", 400},
		{asksPIN, `"typed":"730591"`, "result", 400},
		{asksPIN, `"result":"ok","typed":"730591","730591":1`, "body", 400},
		{asksPIN, `"result":"ok","Typed":"730591"`, "body", 400},
		{asksPIN, `"result":"ok","typed":"7305","typed":"730591"`, "body", 400},
		{asksPIN, `"result":"ok","typed":"730591"}{`, "body", 400},
		{asksPIN, `"result":"ok","typed":"730591`, "typed", 400},
		{asksPIN, `"result":"ok","typed":"` + strings.Repeat("730591", 1000) + `"`, "", 413},
		{asksPIN, `"result":"ok","typed":"730591"` + strings.Repeat(" ", 5000), "", 413},
		{free, `"result":"ok","typed":"şəkil"`, "typed", 400},
		{free, `"result":"ok","typed":"😀"`, "typed", 400},
		{free, `"result":"ok","typed":""`, "typed", 400},
		{shows, `"result":"ok","typed":"730591"`, "typed", 400},
		{shows, `"result":"ok","item":1`, "item", 400},
		{chooses, `"result":"ok","item":2`, "item", 400},
		{chooses, `"result":"ok"`, "item", 400},
		{chooses, `"result":"ok","item":300`, "item", 400},
		{chooses, `"result":"ok","item":-1`, "item", 400},
	} {
		s.show(c.prompt)
		id := s.shownNow()
		response, body := request(t, http.MethodPost, server.URL+path+"/reply", `{"prompt":"`+id+`",`+c.body+`}`, nil)
		var p struct{ Field, Code, Title, Detail string }
		if err := json.Unmarshal([]byte(body), &p); err != nil || response.StatusCode != c.status || p.Field != c.field || p.Code == "" || p.Title == "" || p.Detail == "" {
			t.Errorf("%s: %s %s, want %d for %q", c.body, response.Status, body, c.status, c.field)
		}
		if strings.Contains(body, "7305") {
			t.Errorf("%s: the refusal quotes what was typed: %s", c.body, body)
		}
		if s.shownNow() != id {
			t.Errorf("%s: the prompt is gone", c.body)
		}
	}
	for _, body := range []string{``, `null`, `[]`, `"730591"`, `730591`, `{`, `{"prompt"`, `{"prompt":}`, `{1:2}`} {
		if response, text := request(t, http.MethodPost, server.URL+path+"/reply", body, nil); response.StatusCode != http.StatusBadRequest || strings.Contains(text, "7305") {
			t.Errorf("%q: %s %s", body, response.Status, text)
		}
	}
}
