-- Appends events. KEYS: 1 events, 2 feed. ARGV: 1 channel for news, 2 tenant, 3 most events kept, then events.
local length = redis.call('RPUSH', KEYS[1], unpack(ARGV, 4))
local most = tonumber(ARGV[3])
redis.call('HSETNX', KEYS[2], ARGV[2], 0)
if length > most + most / 8 then
  redis.call('LTRIM', KEYS[1], length - most, -1)
  redis.call('HINCRBY', KEYS[2], ARGV[2], length - most)
end
redis.call('SPUBLISH', ARGV[1], 'events')
return length
