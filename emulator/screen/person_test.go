package screen

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"imza/emulator"
	"imza/simcard/toolkit"
)

// other replies at once, and remembers.
type other struct{ asked, told []string }

func (o *other) Prompt(_ context.Context, p emulator.Prompt) emulator.Reply {
	o.asked = append(o.asked, p.Text)
	return emulator.Reply{Result: toolkit.Backward}
}
func (o *other) Note(text string) { o.told = append(o.told, text) }

func TestNobodyLooks(t *testing.T) {
	o := &other{}
	s := &Screen{Number: number, Otherwise: o}
	server := serve(t, "", s)
	if r := s.Prompt(t.Context(), shows); r.Result != toolkit.Backward || len(o.asked) != 1 {
		t.Errorf("with no page open: %v, and %q were asked otherwise", r, o.asked)
	}
	page := listen(t, server.URL)
	reply := ask(t.Context(), s, asksPIN)
	id := page.prompted()
	if status, body := send(t, server.URL+path+"/reply", map[string]any{"prompt": id, "result": "ok", "typed": pin}); status != http.StatusNoContent {
		t.Fatalf("%d %s", status, body)
	}
	if r := receive(t, reply, "the reply"); r != typedPIN || len(o.asked) != 1 {
		t.Errorf("with a page open: %v, and %q were asked otherwise", r, o.asked)
	}
	s.Note("Göndərilir")
	page.until("the note", func(s state) bool { return s.Note != nil && s.Note.Text == "Göndərilir" && s.Note.For > 0 })
	if len(o.told) != 1 {
		t.Errorf("%q were told otherwise", o.told)
	}
	page.close()
	for deadline := time.Now().Add(wait); len(o.asked) == 1; time.Sleep(time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		s.Prompt(ctx, shows)
		cancel()
		if time.Now().After(deadline) {
			t.Fatal("a page that was closed is still the person")
		}
	}
}

// With nobody else to ask, prompts wait for a page.
func TestPromptWaitsForPage(t *testing.T) {
	s := &Screen{Number: number}
	server := serve(t, "", s)
	for _, c := range []struct {
		prompt emulator.Prompt
		body   map[string]any
		want   emulator.Reply
	}{
		{shows, map[string]any{"result": "ok"}, emulator.Reply{Result: toolkit.Done}},
		{asksPIN, map[string]any{"result": "cancel"}, emulator.Reply{Result: toolkit.SessionEnded}},
		{chooses, map[string]any{"result": "ok", "item": 7}, emulator.Reply{Result: toolkit.Done, Chosen: 7}},
	} {
		reply := ask(t.Context(), s, c.prompt)
		for s.shownNow() == "" {
			time.Sleep(time.Millisecond)
		}
		page := listen(t, server.URL)
		c.body["prompt"] = s.shownNow()
		send(t, server.URL+path+"/reply", c.body)
		if r := receive(t, reply, "the reply"); r != c.want {
			t.Errorf("%s: %v, want %v", c.prompt.Kind, r, c.want)
		}
		page.until("an empty screen", func(s state) bool { return s.Prompt == nil })
	}
}

func (s *Screen) shownNow() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown == nil {
		return ""
	}
	return s.shown.id
}

// Pages may come and go; all show the same, and one that comes back has the
// prompt that is on the screen.
func TestPagesComeAndGo(t *testing.T) {
	s := &Screen{Number: number, Otherwise: nobody{t}}
	server := serve(t, "", s)
	first, second := listen(t, server.URL), listen(t, server.URL)
	reply := ask(t.Context(), s, shows)
	id := first.prompted()
	if got := second.prompted(); got != id {
		t.Errorf("two pages show prompts %s and %s", id, got)
	}
	first.close()
	second.close()
	<-first.closed
	<-second.closed
	third := listen(t, server.URL)
	status, _ := send(t, server.URL+path+"/reply", map[string]any{"prompt": id, "result": "ok"})
	if r := receive(t, reply, "the reply"); status != http.StatusNoContent || r.Result != toolkit.Done {
		t.Errorf("the page that came back: %d, %v", status, r)
	}
	third.close()
}

func TestFirstReplyCounts(t *testing.T) {
	s := &Screen{Number: number, Otherwise: nobody{t}}
	server := serve(t, "", s)
	page := listen(t, server.URL)
	for range 20 {
		reply := ask(t.Context(), s, asksPIN)
		id := page.prompted()
		var taken atomic.Int64
		done := make(chan int)
		const pages = 8
		for i := range pages {
			go func() {
				status, _ := send(t, server.URL+path+"/reply", map[string]any{"prompt": id, "result": "ok", "typed": fmt.Sprintf("000%d", i)})
				if status == http.StatusNoContent {
					taken.Store(int64(i))
				}
				done <- status
			}()
		}
		count := map[int]int{}
		for range pages {
			count[<-done]++
		}
		if count[http.StatusNoContent] != 1 || count[http.StatusConflict] != pages-1 {
			t.Fatalf("of %d replies to one prompt: %v", pages, count)
		}
		if r := receive(t, reply, "the reply"); r.Typed != fmt.Sprintf("000%d", taken.Load()) {
			t.Errorf("the reply is %v, the page that was told so is %d", r, taken.Load())
		}
		page.until("an empty screen", func(s state) bool { return s.Prompt == nil })
	}
}

// A telephone that is switched off takes the prompt from the page, and no reply
// to it counts.
func TestSwitchedOff(t *testing.T) {
	s := &Screen{Number: number, Otherwise: nobody{t}}
	server := serve(t, "", s)
	page := listen(t, server.URL)
	ctx, off := context.WithCancel(t.Context())
	reply := ask(ctx, s, asksPIN)
	id := page.prompted()
	off()
	if r := receive(t, reply, "the reply"); r != nothing {
		t.Errorf("%v", r)
	}
	page.until("an empty screen", func(s state) bool { return s.Prompt == nil })
	if status, _ := send(t, server.URL+path+"/reply", map[string]any{"prompt": id, "result": "ok", "typed": pin}); status != http.StatusConflict {
		t.Errorf("a reply to a prompt that is gone: %d", status)
	}
	if r := s.Prompt(ctx, shows); r != nothing {
		t.Errorf("a prompt on a telephone that is off: %v", r)
	}
}

// The zero value waits two minutes for somebody to look.
func TestGivesUp(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{0: 2 * time.Minute, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &Screen{GivesUp: given}
			begin := time.Now()
			if r := s.Prompt(t.Context(), shows); r != nothing || time.Since(begin) != want {
				t.Errorf("after %v: %v, want it after %v", time.Since(begin), r, want)
			}
			if s.shownNow() != "" {
				t.Error("the prompt is still on the screen")
			}
		})
	}
}

// A page that was told that its reply was taken is not told a lie, though it was
// at the last moment.
func TestReplyAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := 0
		for range 300 {
			s := &Screen{GivesUp: time.Second}
			reply := ask(t.Context(), s, asksPIN)
			synctest.Wait()
			id := s.shownNow()
			time.Sleep(time.Second)
			want := nothing
			if s.accept(id, typedPIN) == nil {
				want = typedPIN
				taken++
			}
			if r := <-reply; r != want {
				t.Errorf("the reply is %v, the page was told %v", r, want)
			}
		}
		t.Logf("%d of 300 were in time", taken)
	})
}

// Prompts are asked one after another.
func TestPromptsWaitForTheirTurn(t *testing.T) {
	s := &Screen{Number: number, Otherwise: nobody{t}}
	server := serve(t, "", s)
	page := listen(t, server.URL)
	replies := make(chan emulator.Reply)
	for range 2 {
		go func() { replies <- s.Prompt(t.Context(), shows) }()
	}
	id := ""
	for range 2 {
		id = page.until("the next prompt", func(s state) bool { return s.Prompt != nil && s.Prompt.ID != id }).Prompt.ID
		select {
		case <-replies:
			t.Fatal("a prompt ended that was not replied to")
		case <-time.After(10 * time.Millisecond):
		}
		send(t, server.URL+path+"/reply", map[string]any{"prompt": id, "result": "ok"})
		receive(t, replies, "the reply")
	}
}

// A note is on the screen for a while.
func TestNotePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Screen{}
		s.Note("İmzalandı")
		time.Sleep(noteTime - time.Second)
		if now, _, _ := s.look(); now.Note == nil || now.Note.Text != "İmzalandı" || now.Note.For != 1000 {
			t.Errorf("the note is %v", now.Note)
		}
		time.Sleep(time.Second)
		if now, _, _ := s.look(); now.Note != nil {
			t.Error("the note is still there")
		}
	})
}
