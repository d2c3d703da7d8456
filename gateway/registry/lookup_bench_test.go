package registry_test

import (
	"testing"

	"imza/gateway"
)

// What an admission asks of the record: who has the key, and who the number.
func BenchmarkSubscriber(b *testing.B) {
	r := fresh(b)
	p := person(1)
	if err := r.Enrol(b.Context(), p, []gateway.Certificate{
		certificate(b, p, gateway.Business, xezer, 1), certificate(b, p, gateway.Business, nicat, 2), certificate(b, p, gateway.Citizen, "", 3),
	}); err != nil {
		b.Fatal(err)
	}
	for name, userID := range map[string]string{"right": userID, "wrong": "000000"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := r.Subscriber(b.Context(), p.MSISDN, userID); (err == nil) != (name == "right") {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("unknown", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Subscriber(b.Context(), "+994500099999", userID); err != gateway.ErrNoSubscriber {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCertificate(b *testing.B) {
	r := fresh(b)
	serial := r.enrol(b, person(1)).Serial
	for b.Loop() {
		if _, err := r.Certificate(b.Context(), serial); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProviderByKey(b *testing.B) {
	r := fresh(b)
	if err := r.SetProvider(b.Context(), "demo", "Demo", "key"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, ok, err := r.ProviderByKey(b.Context(), "key"); err != nil || !ok {
			b.Fatal(err)
		}
	}
}
