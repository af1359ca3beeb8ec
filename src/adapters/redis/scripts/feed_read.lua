-- Events from a position. KEYS: 1 events, 2 feed. ARGV: 1 tenant, 2 position or 'oldest' or 'newest', 3 most events.
-- Answer: events trimmed so far, events kept, events from there.
local trimmed = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
local kept = redis.call('LLEN', KEYS[1])
local from = 0
if ARGV[2] == 'newest' then return {trimmed, kept, {}} end
if ARGV[2] ~= 'oldest' then from = tonumber(ARGV[2]) - trimmed end
if from < 0 or from >= kept then return {trimmed, kept, {}} end
return {trimmed, kept, redis.call('LRANGE', KEYS[1], from, from + tonumber(ARGV[3]) - 1)}
