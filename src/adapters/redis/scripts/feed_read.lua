-- Events of a tenant from a position in each of some shards. KEYS: for each shard 1 events, 2 feed.
-- ARGV: 1 tenant, 2 most events of a shard, then for each shard its position, or 'oldest' or 'newest'.
-- Answer: for each shard {events trimmed so far, events kept, events from there}.
local answers = {}
for i = 1, #KEYS, 2 do
  local position = ARGV[2 + (i + 1) / 2]
  local trimmed = tonumber(redis.call('HGET', KEYS[i + 1], ARGV[1]) or '0')
  local kept = redis.call('LLEN', KEYS[i])
  local from = position == 'newest' and kept or position == 'oldest' and 0 or tonumber(position) - trimmed
  local events = {}
  if from >= 0 and from < kept then events = redis.call('LRANGE', KEYS[i], from, from + tonumber(ARGV[2]) - 1) end
  answers[#answers + 1] = {trimmed, kept, events}
end
return answers
