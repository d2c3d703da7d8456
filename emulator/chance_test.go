package emulator

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// A seed that was written down with a result must give the same years later: these
// values never change. They were computed by another program.
func TestChanceStaysAsItIs(t *testing.T) {
	for _, c := range []struct {
		got, want uint64
	}{
		{Bits(0, "", ""), 0xd062c78e6c7ec60f},
		{Bits(1, "lost", "994500000001"), 0x345df82a34e64b2c},
		{Bits(1, "lost", "994500000001", 0), 0x66436534790e59c7},
		{Bits(1, "lost", "994500000001", 1, 2), 0x5ca9c261857a867a},
		{Bits(math.MaxUint64, "a decision of more than eight letters", "994500000001", math.MaxUint64), 0x2887381cc9559c1e},
	} {
		if c.got != c.want {
			t.Errorf("%#x, want %#x", c.got, c.want)
		}
	}
}

// Decisions that differ in anything at all have nothing to do with each other.
func TestChanceTellsDecisionsApart(t *testing.T) {
	seen := make(map[uint64]string)
	put := func(name string, bits uint64) {
		if other, ok := seen[bits]; ok {
			t.Errorf("%s is decided as %s", name, other)
		}
		seen[bits] = name
	}
	for seed := range uint64(4) {
		for _, what := range []string{"", "a", "ab", "abc", "abcdefgh", "abcdefgh\x00", "abcdefghi"} {
			for _, number := range []string{"", "c", "bc", "994500000001", "994500000002"} {
				put(fmt.Sprint(seed, what, "/", number), Bits(seed, what, number))
				for n := range uint64(4) {
					put(fmt.Sprint(seed, what, "/", number, n), Bits(seed, what, number, n))
					for m := range uint64(4) {
						put(fmt.Sprint(seed, what, "/", number, n, m), Bits(seed, what, number, n, m))
					}
				}
			}
		}
	}
}

// Numbers and ordinals that follow each other, which is what there is, are spread
// evenly: chi-square over 64 classes, of which one in a million would be above 137.
func TestChanceIsEven(t *testing.T) {
	const n, classes = 64_000, 64
	for name, draw := range map[string]func(i int) float64{
		"numbers":  func(i int) float64 { return Chance(1, "lost", fmt.Sprint(994500000000+i)) },
		"ordinals": func(i int) float64 { return Chance(1, "lost", "994500000001", uint64(i)) },
		"segments": func(i int) float64 { return Chance(1, "lost", "994500000001", uint64(i/8), uint64(i%8)) },
		"seeds":    func(i int) float64 { return Chance(uint64(i), "lost", "994500000001", 0) },
		"high":     func(i int) float64 { return Chance(1, "lost", "994500000001", uint64(i)<<40) },
	} {
		var count [classes]int
		for i := range n {
			c := draw(i)
			if c < 0 || c >= 1 {
				t.Fatalf("%s: %v", name, c)
			}
			count[int(c*classes)]++
		}
		square := 0.0
		for _, k := range count {
			square += float64((k-n/classes)*(k-n/classes)) / (n / classes)
		}
		if square > 137 {
			t.Errorf("%s: chi-square %.0f", name, square)
		}
	}
}

func TestNormal(t *testing.T) {
	const n = 100_000
	var sum, squares float64
	beyond := 0
	for i := range n {
		x := Normal(1, "delay", "994500000001", uint64(i))
		if sum, squares = sum+x, squares+x*x; math.Abs(x) > 2 {
			beyond++
		}
		if math.IsInf(x, 0) || math.IsNaN(x) {
			t.Fatal(x)
		}
	}
	mean, deviation := sum/n, math.Sqrt(squares/n)
	if math.Abs(mean) > 0.02 || math.Abs(deviation-1) > 0.02 || math.Abs(float64(beyond)/n-0.0455) > 0.005 {
		t.Errorf("mean %.3f, deviation %.3f, %d of %d beyond two", mean, deviation, beyond, n)
	}
}

func TestLogNormal(t *testing.T) {
	for _, c := range []struct {
		l      LogNormal
		normal float64
		want   time.Duration
	}{
		{LogNormal{}, 3, 0},
		{LogNormal{Median: time.Second}, 3, time.Second},
		{LogNormal{time.Second, 0.5}, 0, time.Second},
		{LogNormal{time.Second, 0.5}, 2, 2718281828},
		{LogNormal{time.Second, 0.5}, -2, 367879441},
		{LogNormal{time.Second, 100}, 5, 24 * time.Hour},
		{LogNormal{0, 0.5}, 2, 0},
	} {
		if got := c.l.At(c.normal); got != c.want {
			t.Errorf("%+v at %v: %s, want %s", c.l, c.normal, got, c.want)
		}
	}
}

func TestChanceAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Normal(1, "delay to handset", "994500000001", 7, 2) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkChance(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		Chance(1, "delay to handset", "994500000001", uint64(i), 2)
	}
}
