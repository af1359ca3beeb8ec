-- What is overdue in a shard, lest an announcement was missed. KEYS: 1 ready, 2 lower, 3 meta, 4 store (only if it is here).
-- ARGV: 1 most queues.
-- Answer: the time, queues that are still to be lowered, the last time seen, {name, first score, ...}, {id, epoch} of the store.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 2, #due, 2 do due[i] = tonumber(due[i]) end
local store = KEYS[4] and redis.call('HMGET', KEYS[4], 'id', 'epoch') or {}
return {now, redis.call('HLEN', KEYS[2]), tonumber(redis.call('HGET', KEYS[3], 'clock') or '0'), due, store}
