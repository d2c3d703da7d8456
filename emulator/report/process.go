package report

import (
	"slices"
	"time"

	"imza/emulator/load"
)

// Process is what a process used.
type Process struct {
	Name         string
	At           []time.Duration
	Cores        []float64 // that it kept busy, since the sample before
	Memory       []float64 // octets
	CPU          time.Duration
	PerSignature time.Duration // 0: there was none
	MeanCores    float64
	PeakMemory   float64
}

// usual processes, in their order.
var usual = []string{"gateway", "emulator", "load", "redis"}

// processes are in the order of the usual ones, then as the run names them.
func processes(results *load.Results, released []time.Duration) (all []Process) {
	slices.Sort(released)
	index := map[string]int{}
	last := map[string]load.Process{}
	for _, s := range results.Samples {
		at := time.Duration(s.At) * time.Millisecond
		for _, now := range s.Processes {
			i, met := index[now.Name]
			if !met {
				i = len(all)
				index[now.Name] = i
				all = append(all, Process{Name: now.Name})
			} else {
				all[i].used(at, now.CPU-last[now.Name].CPU)
			}
			p := &all[i]
			last[now.Name] = now
			p.At = append(p.At, at)
			p.Memory = append(p.Memory, now.RSS)
			p.PeakMemory = max(p.PeakMemory, now.RSS)
		}
	}
	for i := range all {
		all[i].share(released)
	}
	slices.SortStableFunc(all, func(a, b Process) int { return order(a.Name) - order(b.Name) })
	return all
}

func order(name string) int {
	if i := slices.Index(usual, name); i >= 0 {
		return i
	}
	return len(usual)
}

// used adds CPU seconds since the sample before. A process that was started anew
// counts from nothing again: what it used in between is not known.
func (p *Process) used(at time.Duration, cpu float64) {
	cores := 0.0
	if since := at - p.At[len(p.At)-1]; since > 0 && cpu > 0 {
		p.CPU += time.Duration(cpu * float64(time.Second))
		cores = cpu / since.Seconds()
	}
	p.Cores = append(p.Cores, cores)
}

// share divides what was used by the signatures of the same time.
func (p *Process) share(released []time.Duration) {
	first, last := p.At[0], p.At[len(p.At)-1]
	if n := between(released, first, last); n > 0 {
		p.PerSignature = p.CPU / time.Duration(n)
	}
	if last > first {
		p.MeanCores = p.CPU.Seconds() / (last - first).Seconds()
	}
}
