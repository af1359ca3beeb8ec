-- Gives a lease back. KEYS: 1 lease. ARGV: 1 owner. The epoch stays, so that it only rises.
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'owner', '', 'until', 0)
end
return 1
