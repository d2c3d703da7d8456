package load

import "time"

// SetPatience says how long a gateway may do nothing but fail, and how long it may
// take to count.
func (g *Generator) SetPatience(failing, counting time.Duration) {
	g.health.patience, g.countingTakes = failing, counting
}
