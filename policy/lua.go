package policy

// Keys in Redis. An employee has two: the set, and the gate beside it.
const (
	keyEpoch = "imza:server" // hash: server (its run id), life, number (of the epoch)
	keyLease = "imza:lease"  // the epoch's number, while it is believed
)

// SetKey is where the set of an employee is in Redis, for scripts that use Lua.
func SetKey(e Employee) string { return "imza:permissions:" + e.String() }

func gateKey(e Employee) string { return "imza:gate:" + e.String() }

// Lua defines verdict(set, provider) for a script: "allow", "block" or, where
// the set is not in Redis or no longer believed, "unknown". An empty key is
// that of a certificate that no organisation has a say in.
const Lua = `
local function verdict(set, provider)
  if set == '' then return 'allow' end
  local found = redis.call('HMGET', set, 'default', 'x:' .. provider, 'epoch')
  if not found[3] or found[3] ~= redis.call('GET', '` + keyLease + `') then return 'unknown' end
  if not found[2] then return found[1] end
  if found[1] == 'allow' then return 'block' end
  return 'allow'
end
`
