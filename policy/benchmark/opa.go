package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"imza/policy"
)

// prepareOPA asks for a rule that is undefined for all but the excepted, which
// is cheaper than a rule with a default: allow where all are blocked, and deny
// where all are allowed. Partial evaluation makes a rule of each exception, and
// the index of rules finds it.
func prepareOPA(set policy.Set, asked []policy.Provider) (decide, error) {
	rule := "deny"
	if set.BlockAll {
		rule = "allow"
	}
	names := make([]string, len(set.Exceptions))
	for i, p := range set.Exceptions {
		names[i] = fmt.Sprintf("%q", p)
	}
	exceptions := "set()" // {} is an object
	if len(names) > 0 {
		exceptions = "{" + strings.Join(names, ", ") + "}"
	}
	module := fmt.Sprintf("package imza\n\nexceptions := %s\n\n%s if input.provider in exceptions\n", exceptions, rule)

	ctx := context.Background()
	store := inmem.New()
	query, err := rego.New(rego.Query("data.imza."+rule), rego.Module("permissions.rego", module), rego.Store(store)).
		PrepareForEval(ctx, rego.WithPartialEval())
	if err != nil {
		return nil, err
	}
	transaction, err := store.NewTransaction(ctx, storage.TransactionParams{}) // else each evaluation has its own
	if err != nil {
		return nil, err
	}
	requests := make([][]rego.EvalOption, len(asked))
	for i, p := range asked {
		input := ast.NewObject([2]*ast.Term{ast.StringTerm("provider"), ast.StringTerm(string(p))})
		requests[i] = []rego.EvalOption{rego.EvalParsedInput(input), rego.EvalTransaction(transaction)}
	}
	return func(i int) (bool, error) {
		results, err := query.Eval(ctx, requests[i]...)
		if err != nil {
			return false, err
		}
		return results.Allowed() == set.BlockAll, nil
	}, nil
}
