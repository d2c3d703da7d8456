package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"imza/emulator"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
)

// Every test of this package and of cabinet holds that no key, User ID or PIN is
// in log, metrics or answers. Here it is that this would be noticed, and what is
// kept in Redis and on disk besides.
func TestNoSecretLeavesItsPlace(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{Behaviour: emulator.WrongOnce})
		clumsy := s.Enrol(t, gatewaytest.Person{Behaviour: emulator.WrongAlways})
		mistaken := s.Enrol(t, gatewaytest.Person{})
		typo := registry.NewProviderKey()

		// Whatever goes wrong with a secret in it.
		signed := s.End(t, key, s.Ask(t, key, who.Request(), idempotencyKey, "order-1").ID)
		s.End(t, key, s.Ask(t, key, clumsy.Request()).ID)
		s.Do(t, post, signatures, key, with(mistaken.Request(), "userId", "484849")).Refused(t, http.StatusNotFound, "not_a_subscriber")
		s.Do(t, post, signatures, key, with(who.Request(), "userId", who.UserID+"0")).Refused(t, http.StatusBadRequest, "invalid_request")
		s.Do(t, post, signatures, key, with(who.Request(), "userId", []string{who.UserID})).Refused(t, http.StatusBadRequest, "invalid_request")
		s.Do(t, post, signatures, key, quoted(t, who.Request())+"}").Refused(t, http.StatusBadRequest, "invalid_request")
		s.Do(t, post, signatures, typo, who.Request()).Refused(t, http.StatusUnauthorized, "unauthorized")
		s.Do(t, "GET", signatures+"/"+key, key, nil).Refused(t, http.StatusNotFound, "not_found")

		said := s.Said()
		if !bytes.Contains(said, []byte("transaction ended")) || !bytes.Contains(said, []byte(signed.ID)) {
			t.Error("the log was not listened to")
		}
		secrets := []string{key, typo, s.AdminKey, who.UserID, clumsy.UserID, "484849"}
		for _, secret := range secrets {
			if found := s.Secrets([]byte("msg=\"id " + secret + "\"")); !slices.Contains(found, secret) {
				t.Error("a secret in the log would not be noticed")
			}
		}
		for what, text := range map[string][]byte{"log": said, "Redis": dump(t, s), "the record": record(t, s)} {
			if len(text) < 1000 {
				t.Errorf("%s is %d octets", what, len(text))
			}
			if found := s.Secrets(text); found != nil {
				t.Errorf("%s has %q in it", what, found)
			}
		}
	})
}

// dump is all that Redis holds.
func dump(t *testing.T, s *gatewaytest.Stack) []byte {
	t.Helper()
	ctx := t.Context()
	keys, err := s.Redis.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, key := range keys {
		kind := s.Redis.Type(ctx, key).Val()
		var value any
		switch kind {
		case "string":
			value = s.Redis.Get(ctx, key).Val()
		case "hash":
			value = s.Redis.HGetAll(ctx, key).Val()
		case "zset":
			value = s.Redis.ZRange(ctx, key, 0, -1).Val()
		case "stream":
			value = s.Redis.XRange(ctx, key, "-", "+").Val()
		case "none": // gone since
		default:
			t.Errorf("%s is a %s, which is not looked into", key, kind)
		}
		fmt.Fprintf(&all, "%s %v\n", key, value)
	}
	return []byte(all.String())
}

// record is all that the record holds: of SQLite what is on disk, of PostgreSQL
// every row.
func record(t *testing.T, s *gatewaytest.Stack) (all []byte) {
	t.Helper()
	var path string
	if err := s.DB.QueryRowContext(t.Context(), `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&path); err != nil {
		for _, table := range texts(t, s, `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`) {
			for _, row := range texts(t, s, `SELECT row::text FROM "`+table+`" row`) {
				all = fmt.Appendln(all, table, row)
			}
		}
		return all
	}
	for _, name := range []string{path, path + "-wal"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return all
}

func texts(t *testing.T, s *gatewaytest.Stack, query string) (all []string) {
	t.Helper()
	rows, err := s.DB.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
