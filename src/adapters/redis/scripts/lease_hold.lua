-- Takes or prolongs a named lease. KEYS: 1 lease. ARGV: 1 owner, 2 term in µs. Answer: the epoch, or 0 while another holds it.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local term = tonumber(ARGV[2])
local lease = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'until')
local epoch, ends = tonumber(lease[2] or '0'), tonumber(lease[3] or '0')
-- An end further away than the term was given by a clock that has stepped back since.
local live = ends > now and ends <= now + math.max(term, tonumber(redis.call('HGET', KEYS[1], 'term') or '0'))
if live and lease[1] ~= ARGV[1] then return 0 end
if not live or lease[1] ~= ARGV[1] then epoch = epoch + (lease[1] == ARGV[1] and 0 or 1) end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', epoch, 'until', string.format('%.0f', now + term), 'term', ARGV[2])
return epoch
