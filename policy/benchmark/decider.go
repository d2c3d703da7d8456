package main

import "imza/policy"

// A decider is one of those who are compared.
type decider struct {
	name    string
	recalls bool // gives an answer from before: no decision
	prepare func(policy.Set, []policy.Provider) (decide, error)
}

// decide answers the question with this index: may he sign for that provider?
// Whatever could be done before the question was asked has been done.
type decide func(i int) (bool, error)

// deciders begins with ours.
var deciders = []decider{
	{"imza", false, prepareOurs},
	{"casbin", false, prepareCasbin},
	{"casbin, cached", true, prepareCasbinCached},
	{"cedar-go", false, prepareCedar},
	{"OPA", false, prepareOPA},
}

func prepareOurs(set policy.Set, asked []policy.Provider) (decide, error) {
	return func(i int) (bool, error) { return set.Allows(asked[i]), nil }, nil
}
