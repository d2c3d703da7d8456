//go:build pcsc

package pcsc

import (
	"sync"
	"testing"

	"imza/simcard/pcsc/pcsctest"
)

// BenchmarkRoundTrip has APDUs go to a quick card and back, through pcscd; the
// project wants 3,000 a second. In parallel there are 16 cards.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("one card", func(b *testing.B) { benchmark(b, 1) })
	b.Run("16 cards", func(b *testing.B) { benchmark(b, 16) })
}

func benchmark(b *testing.B, n int) {
	d := pcsctest.Start(b, n)
	cards := make([]*Card, n)
	for i, slot := range d.Readers {
		insert(b, slot, echo)
		await(b, slot, "a card", full)
		cards[i] = connectTo(b, slot, Options{Exclusive: true})
	}
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, c := range cards {
		all.Go(func() {
			for range (b.N + n - 1 - i) / n {
				if _, err := c.Transmit(command); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "APDU/s")
}
