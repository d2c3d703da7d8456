package fleet

import (
	"log/slog"
	"syscall"
	"testing"
	"time"
)

// BenchmarkTelephone is what it costs to have a telephone for a message: one that
// has to be made, whole with its card, keys and certificate; and one that is
// there.
func BenchmarkTelephone(b *testing.B) {
	const cards = 1000
	f, a := newFleet(b, Plan{Seed: 1, Cards: cards, Operators: []Operator{{"azercell", "99450"}}}), newAuthority(b)
	numbers := make([]string, cards)
	for i := range cards {
		a.enrol(b, f, i)
		numbers[i] = f.Subscriber(i).MSISDN.Digits()
	}
	for name, warm := range map[string]int{"cold": 1, "warm": cards} {
		b.Run(name, func(b *testing.B) {
			p := newCrowd(f, &Scenario{}, warm, slog.Default())
			p.Begin(1, func() {})
			defer p.Close()
			lines := p.networks[0]
			if warm == cards {
				for _, n := range numbers {
					l := lines.Line(n)
					if l == nil {
						b.Fatal(p.run.warm, n)
					}
					lines.Release(l)
				}
			}
			b.ReportAllocs()
			i, before := 0, cpu(b)
			for b.Loop() {
				i = (i + 7) % cards
				lines.Release(lines.Line(numbers[i]))
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "µs-cpu/op")
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	f := newFleet(b, Plan{Seed: 1, Cards: 1000})
	i := 0
	for b.Loop() {
		i = (i + 1) % 1000
		if _, err := f.Request(i, firstKey); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetCertificate(b *testing.B) {
	f, a := newFleet(b, Plan{Seed: 1, Cards: 1}), newAuthority(b)
	request, err := f.Request(0, firstKey)
	if err != nil {
		b.Fatal(err)
	}
	der := a.issue(b, request, f.Subscriber(0))
	b.ReportMetric(float64(len(der)), "octets")
	for b.Loop() {
		if err := f.SetCertificate(0, firstKey, der); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSubscriber(b *testing.B) {
	f := newFleet(b, Plan{Seed: 1, Cards: 1000})
	i := 0
	for b.Loop() {
		i = (i + 1) % 1000
		f.Subscriber(i)
	}
}

// cpu is what the process has used: the machine may have other work, and a
// telephone is switched on by more than one goroutine.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
