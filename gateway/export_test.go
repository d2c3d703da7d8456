package gateway

import "context"

// AdmitUnsent admits as Admit does, and sends no challenge.
func (g *Gateway) AdmitUnsent(ctx context.Context, r Request) (*Transaction, error) {
	t, err := g.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	return g.decide(ctx, t, r)
}
