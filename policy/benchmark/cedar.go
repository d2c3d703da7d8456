package main

import (
	"fmt"

	"github.com/cedar-policy/cedar-go"

	"imza/policy"
)

// A group of the excepted is found faster than a set among the attributes of
// the employee, and one permit is evaluated faster than a permit and a forbid.
const (
	cedarAllowed = `permit (principal, action, resource) unless { resource in Group::"excepted" };`
	cedarBlocked = `permit (principal, action, resource in Group::"excepted");`
)

func prepareCedar(set policy.Set, asked []policy.Provider) (decide, error) {
	text := cedarAllowed
	if set.BlockAll {
		text = cedarBlocked
	}
	policies, err := cedar.NewPolicySetFromBytes("permissions.cedar", []byte(text))
	if err != nil {
		return nil, err
	}
	excepted := cedar.NewEntityUIDSet(cedar.NewEntityUID("Group", "excepted"))
	entities := make(cedar.EntityMap, len(set.Exceptions))
	for _, p := range set.Exceptions {
		uid := cedar.NewEntityUID("Provider", cedar.String(p))
		entities[uid] = cedar.Entity{UID: uid, Parents: excepted}
	}
	requests := make([]cedar.Request, len(asked))
	for i, p := range asked {
		requests[i] = cedar.Request{
			Principal: cedar.NewEntityUID("Employee", "1400000011/7DEM001"),
			Action:    cedar.NewEntityUID("Action", "sign"),
			Resource:  cedar.NewEntityUID("Provider", cedar.String(p)),
		}
	}
	return func(i int) (bool, error) {
		decision, diagnostic := cedar.Authorize(policies, entities, requests[i])
		if len(diagnostic.Errors) > 0 {
			return false, fmt.Errorf("cedar: %v", diagnostic.Errors)
		}
		return decision == cedar.Allow, nil
	}, nil
}
