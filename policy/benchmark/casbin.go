package main

import (
	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"

	"imza/policy"
)

// There are no policy lines: the matcher alone decides, and it is evaluated
// once. The role's links are a map, and so is what g remembers of them. No
// provider can have the role's name, which g would take for a link.
const casbinModel = `
[request_definition]
r = provider

[policy_definition]
p = provider

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = `

func casbinPolicy(set policy.Set) (m model.Model, links [][]string, err error) {
	matcher := `!g(r.provider, "Excepted")`
	if set.BlockAll {
		matcher = `g(r.provider, "Excepted")`
	}
	for _, p := range set.Exceptions {
		links = append(links, []string{string(p), "Excepted"})
	}
	m, err = model.NewModelFromString(casbinModel + matcher)
	return m, links, err
}

func prepareCasbin(set policy.Set, asked []policy.Provider) (decide, error) {
	m, links, err := casbinPolicy(set)
	if err != nil {
		return nil, err
	}
	enforcer, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	return casbinDecide(enforcer, links, asked)
}

func prepareCasbinCached(set policy.Set, asked []policy.Provider) (decide, error) {
	m, links, err := casbinPolicy(set)
	if err != nil {
		return nil, err
	}
	enforcer, err := casbin.NewCachedEnforcer(m)
	if err != nil {
		return nil, err
	}
	return casbinDecide(enforcer, links, asked)
}

func casbinDecide(enforcer casbin.IEnforcer, links [][]string, asked []policy.Provider) (decide, error) {
	if len(links) > 0 {
		if _, err := enforcer.AddGroupingPolicies(links); err != nil {
			return nil, err
		}
	}
	requests := make([][]any, len(asked))
	for i, p := range asked {
		requests[i] = []any{string(p)}
	}
	return func(i int) (bool, error) { return enforcer.Enforce(requests[i]...) }, nil
}
