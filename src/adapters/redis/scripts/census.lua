-- How many entries queues hold. KEYS: the queues.
local counts = {}
for i, key in ipairs(KEYS) do counts[i] = redis.call('ZCARD', key) end
return counts
