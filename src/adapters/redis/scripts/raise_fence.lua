-- Raises a fence. KEYS: 1 fences. ARGV: 1 name, 2 epoch.
local raised = redis.call('HGET', KEYS[1], ARGV[1])
if not raised or tonumber(raised) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
