package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imza/gateway/cabinet"
	"imza/policy"
	"imza/policy/redistest"
)

// desk is where an administrator runs commands, all about the first organisation
// unless they say otherwise.
type desk struct {
	t   *testing.T
	p   *program
	key string
}

// run runs a command and returns what it said. Nothing that it says may be a key.
func (d desk) run(want int, args ...string) string {
	d.t.Helper()
	if args[0] == "block" || args[0] == "unblock" {
		args = append([]string{args[0], "--voen", string(firstVOEN)}, args[1:]...) // the last one counts
	}
	status, out, errors := d.p.imza(d.t, append(args, "--key", d.key)...)
	if status != want {
		d.t.Errorf("%q: status %d, want %d: %s%s", args, status, want, out, errors)
	}
	for _, key := range []string{d.key, d.p.demo.adminKey, d.p.demo.managerKey, d.p.demo.providerKey, d.p.demo.bankKey} {
		if strings.Contains(out+errors, key) {
			d.t.Errorf("%q says a key: %s%s", args, out, errors)
		}
	}
	return out + errors
}

// says runs a command that ends well, with these words.
func (d desk) says(want string, args ...string) {
	d.t.Helper()
	if got := d.run(exitOK, args...); got != want {
		d.t.Errorf("%q says %q, want %q", args, got, want)
	}
}

// refuses runs a command that is refused, with these words.
func (d desk) refuses(want string, args ...string) {
	d.t.Helper()
	if got := d.run(exitRefused, args...); !strings.HasPrefix(got, "imza: refused: "+want) {
		d.t.Errorf("%q says %q, want a refusal as %q", args, got, want)
	}
}

// signs has demo subscriber n sign for a provider, or be refused.
func (d desk) signs(n int, key string, blocked bool) {
	d.t.Helper()
	status, out, errors := d.p.imza(d.t, "sign", "--in", document(d.t), "--msisdn", string(demoMSISDN(n)), "--user-id", demoUserID(n), "--key", key)
	switch {
	case blocked && (status != exitRefused || !strings.Contains(errors, "refused: blocked_by_organisation")):
		d.t.Errorf("subscriber %d is blocked: status %d, %s%s", n, status, out, errors)
	case !blocked && status != exitOK:
		d.t.Errorf("subscriber %d is not blocked: status %d, %s%s", n, status, out, errors)
	}
}

// The manager's two ways, and that what the commands say is what holds.
func TestManager(t *testing.T) {
	inEach(t, func(t *testing.T, boot boots) {
		p := boot(t, upCommand{})
		manager := desk{t, p, p.demo.managerKey}
		demo, bank := p.demo.providerKey, p.demo.bankKey

		t.Run("by employee", func(t *testing.T) {
			d := desk{t, p, p.demo.managerKey}
			d.says("7DEM001 of 1400000011 may not sign for bank, demo (version 1).\n", "block", "--fin", "7DEM001", "--provider", "demo", "--provider", "bank")
			d.signs(1, demo, true)
			d.signs(1, bank, true)
			d.says("7DEM001 of 1400000011 may not sign for bank, demo (version 1): nothing changed.\n", "block", "--fin", "7DEM001", "--provider", "bank")
			d.says("7DEM001 of 1400000011 may not sign for demo (version 2).\n", "unblock", "--fin", "7DEM001", "--provider", "bank")
			d.signs(1, demo, true)
			d.signs(1, bank, false)
			d.says("7DEM001 of 1400000011 may not sign for any provider (version 3).\n", "block", "--fin", "7DEM001", "--all")
			d.signs(1, bank, true)
			d.says("7DEM001 of 1400000011 may sign for no provider but bank (version 4).\n", "unblock", "--fin", "7DEM001", "--provider", "bank")
			d.signs(1, demo, true)
			d.signs(1, bank, false)
			d.says("7DEM001 of 1400000011 may sign for all providers (version 5).\n", "unblock", "--fin", "7DEM001", "--all")
			d.says("7DEM001 of 1400000011 may sign for all providers (version 5): nothing changed.\n", "unblock", "--fin", "7DEM001", "--all")
			d.signs(1, demo, false)
		})
		t.Run("by provider", func(t *testing.T) {
			d := desk{t, p, p.demo.managerKey}
			d.run(exitOK, "block", "--fin", "7DEM001", "--all")
			if got := d.run(exitOK, "block", "--fin", "7DEM001", "--fin", "7DEM002", "--provider", "bank"); !strings.HasPrefix(got, "Already so for 7DEM001.\n7DEM001, 7DEM002 of 1400000011 may not sign for bank (version ") {
				t.Error(got)
			}
			d.signs(2, bank, true)
			d.signs(2, demo, false)
			list := filepath.Join(t.TempDir(), "fins")
			if err := os.WriteFile(list, []byte("\ufeff7DEM002\r\n\r\n 7DEM001 \n7DEM002\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := d.run(exitOK, "unblock", "--fins-from", list, "--provider", "bank"); !strings.HasPrefix(got, "All of 1400000011 may sign for bank (version ") {
				t.Error(got)
			}
			d.signs(1, bank, false)
			d.signs(1, demo, true)
			d.signs(2, bank, false)
			if got := d.run(exitOK, "unblock", "--fins-from", list, "--provider", "bank"); !strings.HasSuffix(got, "): nothing changed.\n") {
				t.Error(got)
			}
		})
		manager.refuses("forbidden: this organisation is not one of yours\n", "block", "--voen", string(secondVOEN), "--fin", "7DEM011", "--all")
		manager.refuses("forbidden: ", "unblock", "--voen", string(secondVOEN), "--fin", "7DEM011", "--fin", "7DEM001", "--provider", "bank")
		manager.refuses("forbidden: ", "blocks", "--voen", string(secondVOEN))
		manager.refuses("not_found: ", "block", "--fin", "7DEM099", "--all")
		manager.refuses("not_found: ", "block", "--fin", "7DEM002", "--fin", "7DEM003", "--provider", "dmeo")
		manager.refuses("not_found: ", "unblock", "--fin", "7DEM002", "--provider", "dmeo") // it would have changed nothing
		manager.refuses("invalid_request (exceptions[0]): there is no provider dmeo", "block", "--fin", "7DEM002", "--provider", "dmeo")
		manager.refuses("invalid_request (blocked[2]): 7DEM099 is not an employee", "block", "--fin", "7DEM099", "--fin", "7DEM003", "--provider", "demo")
		manager.refuses("invalid_request (fin): ", "block", "--fin", "7dem001", "--all")
		manager.refuses("invalid_request (voen): ten digits", "blocks", "--voen", "14")
		desk{t, p, "imza-a-nobody"}.refuses("unauthorized: ", "blocks")
		desk{t, p, p.demo.providerKey}.refuses("unauthorized: ", "block", "--fin", "7DEM001", "--all")
	})
}

// Several change one employee, and one provider's list, at the same time: what
// each of them meant holds.
func TestBlockBesideOthers(t *testing.T) {
	inEach(t, func(t *testing.T, boot boots) {
		p := boot(t, upCommand{})
		const n = 6
		var all sync.WaitGroup
		blocks := func(args ...string) {
			for left := 20; ; left-- { // a busy machine may be late
				status, out, errors := p.imza(t, append([]string{"block", "--voen", string(firstVOEN), "--key", p.demo.managerKey}, args...)...)
				if status == exitOK {
					return
				}
				if left == 1 || !strings.Contains(errors, "refused: policy_unavailable") {
					t.Errorf("%q: status %d, %s%s", args, status, out, errors)
					return
				}
			}
		}
		for i := range n {
			name := policy.Provider(fmt.Sprintf("service-%d", i))
			if err := p.registry.SetProvider(t.Context(), name, "Service", "key of "+string(name)); err != nil {
				t.Fatal(err)
			}
			all.Go(func() { blocks("--fin", "7DEM001", "--provider", string(name)) })
			all.Go(func() { blocks("--fin", string(demoFIN(2+i)), "--fin", string(demoFIN(3+i)), "--provider", "bank") })
		}
		all.Wait()
		got := desk{t, p, p.demo.managerKey}.run(exitOK, "blocks")
		for i := range n {
			if !strings.Contains(got, fmt.Sprintf("service-%d", i)) || !strings.Contains(got, string(demoFIN(3+i))+"  bank ") {
				t.Errorf("%d is missing:\n%s", i, got)
			}
		}
	})
}

// answering is a gateway that says the same to every PUT.
func answering(t *testing.T, status int, body string) (url string, puts *atomic.Int32) {
	puts = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			puts.Add(1)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return
		}
		fmt.Fprint(w, `{"default":"allow","exceptions":[],"blocked":[],"version":7}`)
	}))
	t.Cleanup(server.Close)
	return server.URL, puts
}

func TestBlockAnswers(t *testing.T) {
	for _, test := range []struct {
		name         string
		answer       int
		body         string
		status, puts int
		says         string
	}{
		{"conflicts without end", 409, `{"code":"version_conflict","detail":"again","current":{},"difference":[]}`, exitRefused, tries, "imza: refused: version_conflict: again\n"},
		{"another conflict", 409, `{"code":"last_operator","detail":"no"}`, exitRefused, 1, "imza: refused: last_operator: no\n"},
		{"not certain", 503, `{"code":"policy_unavailable","detail":"save it again"}`, exitRefused, 1, "imza: refused: policy_unavailable: save it again\n"},
		{"broken", 500, `{"code":"internal","title":"Internal error"}`, exitFailure, 1, "imza: the gateway fails: Internal error (internal)\n"},
		{"something else", 502, `<html>`, exitFailure, 1, "502 Bad Gateway"},
		{"no JSON", 200, `<html>`, exitFailure, 1, "the answer is not what was expected"},
	} {
		for _, fins := range [][]string{{"--fin", "7DEM001"}, {"--fin", "7DEM001", "--fin", "7DEM002"}} {
			t.Run(test.name+" "+fmt.Sprint(len(fins)/2), func(t *testing.T) {
				url, puts := answering(t, test.answer, test.body)
				var out, errors bytes.Buffer
				args := append([]string{"block", "--url", url, "--key", "imza-a-secret", "--voen", "1400000011", "--provider", "demo"}, fins...)
				status := run(t.Context(), args, streams{&out, &errors})
				if status != test.status || int(puts.Load()) != test.puts || !strings.Contains(errors.String(), test.says) || out.Len() > 0 || strings.Contains(errors.String(), "secret") {
					t.Errorf("status %d after %d PUTs: %s%s", status, puts.Load(), &out, &errors)
				}
			})
		}
	}
}

// What is not one save, or not a FIN, never leaves the command.
func TestBlockUsage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "\n \n", "bad": "7DEM001\n7DEM0O2\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"--provider demo", exitUsage, "missing flags: --fin=FIN or --fins-from=FILE"},
		{"--fin 7DEM001", exitUsage, "missing flags: --provider=NAME or --all"},
		{"--fin 7DEM001 --all --provider demo", exitUsage, "can't be used together"},
		{"--fin 7DEM001 --fin 7DEM002 --all", exitUsage, "--all goes with one employee"},
		{"--fins-from " + dir + "/bad --all", exitUsage, "--all goes with one employee"},
		{"--fin 7DEM001 --fin 7DEM002 --provider demo --provider bank", exitUsage, "a save is of one employee or of one provider"},
		{"--fins-from " + dir + "/bad --provider demo,bank", exitUsage, "a save is of one employee or of one provider"},
		{"--fins-from " + dir + "/bad --provider demo", exitFailure, `bad:2: "7DEM0O2" is not a FIN`},
		{"--fins-from " + dir + "/empty --provider demo", exitFailure, "no FIN is in there"},
		{"--fins-from " + dir + "/nowhere --provider demo", exitFailure, "no such file"},
		{"--fins-from " + dir + " --provider demo", exitFailure, "is a directory"},
		{"--fin 7DEM001 --fin 7dem002 --provider demo", exitFailure, `--fin "7dem002": not a FIN`},
	} {
		var out, errors bytes.Buffer
		args := append([]string{"unblock", "--url", "http://127.0.0.1:1", "--key", "k", "--voen", "1400000011"}, strings.Fields(test.args)...)
		if status := run(t.Context(), args, streams{&out, &errors}); status != test.status || !strings.Contains(errors.String(), test.says) {
			t.Errorf("%s: status %d, %s%s", test.args, status, &out, &errors)
		}
	}
}

// The list goes on over pages, and its filters find what they should.
func TestBlocksPages(t *testing.T) {
	p := boot(t, upCommand{gatewayFlags: gatewayFlags{Redis: "redis://" + redistest.Start(t).Addr}})
	const n = 1001 // more than a page
	const employeesHeader, blocksHeader = "voen,fin,given_name,surname\n", "voen,fin,provider,action\n"
	employees, blocks := employeesHeader, []string{blocksHeader + "1400000022,7DEM011,bank,block\n"}
	for i := range n {
		employees += fmt.Sprintf("1400000011,8%06d,Ad,Soyad\n", i)
		if i%200 == 0 {
			blocks = append(blocks, blocksHeader)
		}
		blocks[len(blocks)-1] += fmt.Sprintf("1400000011,8%06d,%s,block\n", i, []string{"demo", "*"}[i%2])
	}
	d := desk{t, p, p.demo.adminKey}
	file := filepath.Join(t.TempDir(), "import.csv")
	for _, text := range append([]string{employees}, blocks...) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "an import", func() bool { // a busy machine may be late
			status, _, _ := p.imza(t, "import", file)
			return status == exitOK
		})
	}
	d.run(exitOK, "unblock", "--fin", "8000001", "--provider", "bank")

	table := d.run(exitOK, "blocks")
	for _, want := range []string{"VÖEN        FIN      BLOCKED FOR   VERSION\n", "1400000011  8000000  demo          1\n", "1400000011  8000001  all but bank  2\n",
		"1400000011  8001000  demo          1\n", "1400000022  7DEM011  bank          1\n"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, test := range []struct {
		filter string
		want   int
	}{
		{"", n + 1}, {"--voen 1400000022", 1}, {"--provider demo", n}, {"--provider bank", n/2 - 1 + 1}, {"--provider bank --voen 1400000011", n/2 - 1},
		{"--fin 8000001", 1}, {"--fin 8000001 --provider bank", 0}, {"--fin 7DEM001", 0},
	} {
		lines := json.NewDecoder(strings.NewReader(d.run(exitOK, append([]string{"blocks", "--json"}, strings.Fields(test.filter)...)...)))
		found := 0
		for last := ""; lines.More(); found++ {
			var one cabinet.Permissions
			if err := lines.Decode(&one); err != nil {
				t.Fatal(err)
			}
			if name := string(one.VOEN) + "/" + string(one.FIN); name <= last {
				t.Errorf("%s comes after %s", name, last)
			} else {
				last = name
			}
		}
		if found != test.want {
			t.Errorf("blocks %s: %d, want %d", test.filter, found, test.want)
		}
	}
	d.run(exitUsage, "blocks", "--provider", "Demo")
	d.run(exitUsage, "blocks", "--fin", "7DEM01")
	manager := desk{t, p, p.demo.managerKey}
	if got := manager.run(exitOK, "blocks"); strings.Contains(got, string(secondVOEN)) {
		t.Error("a manager sees another organisation")
	}
}

// A folder of before there was a manager gets one, and keeps what it had.
func TestEnvironmentOfBefore(t *testing.T) {
	dir := t.TempDir()
	first := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}})
	old := fmt.Sprintf("export IMZA_KEY=%s\nexport IMZA_ADMIN_KEY=%s\n", first.demo.providerKey, first.demo.adminKey)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "demo.env"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	p := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}})
	text, err := os.ReadFile(p.environment())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{old[:strings.Index(old, "\n")+1], "export IMZA_ADMIN_KEY=" + first.demo.adminKey + "\n",
		"export IMZA_MANAGER_KEY=" + p.demo.managerKey + "\n", "export IMZA_BANK_KEY=" + p.demo.bankKey + "\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("demo.env lacks a line")
		}
	}
	if p.demo.managerKey == first.demo.managerKey || p.demo.bankKey == first.demo.bankKey {
		t.Error("those who were not in demo.env have their old keys")
	}
	desk{t, p, p.demo.managerKey}.run(exitOK, "block", "--fin", "7DEM001", "--all")
	desk{t, p, first.demo.managerKey}.refuses("unauthorized", "blocks")
}

// A gateway that hangs is noticed, one that is only slow to be read is not.
func TestSilence(t *testing.T) {
	fired := make(chan struct{}, 1)
	silence := time.AfterFunc(time.Hour, func() { fired <- struct{}{} })
	defer silence.Stop()
	l := &listened{strings.NewReader("x"), silence, patience}
	if _, err := l.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if silence.Stop() {
		t.Error("the time goes on while nobody waits")
	}
}
