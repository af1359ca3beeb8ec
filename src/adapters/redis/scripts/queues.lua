-- The queues in sets of one or more shards. KEYS: ready or asleep sets. Answer: the time, for each set {name, first score, ...}.
local time = redis.call('TIME')
local sets = {}
for i, key in ipairs(KEYS) do sets[i] = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
return {time[1] * 1000000 + time[2], sets}
