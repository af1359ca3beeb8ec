-- Takes what is due, under a lease. KEYS: 1 ready, 2 asleep, 3 parks, 4 meta, 5 lower, then queues and device hashes by index.
-- ARGV: 1 lease in µs, then for each queue: key, name, device key, most entries.
-- The lease is the entry's score: an odd number of µs, unique in the shard, after which the entry is due again.
-- Answer: the time, the step back of the clock since the last claim or 0, then for each queue its first score (0 if empty or not
-- in service) and {id, value, token, score before, ...}.

local now = micros()
local step = 0
local seen = redis.call('HMGET', KEYS[4], 'clock', 'token')
local clock, token = tonumber(seen[1] or '0'), tonumber(seen[2] or '0')
if clock - now > 5000000 then
  -- What was written before lies too far ahead now: all queues are lowered by the step, see lower.lua.
  step = clock - now
  step = step - step % 2
  for _, set in ipairs({KEYS[1], KEYS[2]}) do
    for _, name in ipairs(redis.call('ZRANGE', set, 0, -1)) do
      redis.call('HSET', KEYS[5], name, string.format('%.0f %.0f', step, now))
    end
  end
end
local lease = now + tonumber(ARGV[1])
lease = lease - lease % 2 + 1
-- Never a token twice, unless the clock has stepped back further than a lease is long.
if lease <= token and token - lease < 60000000 then lease = token + 2 end
local unused = lease

local answer = {now, step}
for a = 2, #ARGV, 4 do
  local queue, name = KEYS[tonumber(ARGV[a])], ARGV[a + 1]
  local devices, limit = KEYS[tonumber(ARGV[a + 2])], ARGV[a + 3]
  local taken, first = {}, 0
  if redis.call('ZSCORE', KEYS[1], name) then
    local due = redis.call('ZRANGEBYSCORE', queue, '-inf', string.format('%.0f', now), 'WITHSCORES', 'LIMIT', 0, limit)
    if #due > 0 then
      local ids, held, gone = {}, {}, {}
      for i = 1, #due, 2 do ids[#ids + 1] = due[i] end
      local values = redis.call('HMGET', devices, unpack(ids))
      for i, id in ipairs(ids) do
        if values[i] then
          held[#held + 1] = string.format('%.0f', lease)
          held[#held + 1] = id
          taken[#taken + 1] = id
          taken[#taken + 1] = values[i]
          taken[#taken + 1] = lease
          taken[#taken + 1] = tonumber(due[2 * i])
          lease = lease + 2
        else
          gone[#gone + 1] = id
        end
      end
      if #held > 0 then redis.call('ZADD', queue, unpack(held)) end
      if #gone > 0 then redis.call('ZREM', queue, unpack(gone)) end
    end
    first = settle_queue(0, {tonumber(ARGV[a]), name, '', ''}, {}, {})
  end
  answer[#answer + 1] = first
  answer[#answer + 1] = taken
end

if lease ~= unused then
  redis.call('HSET', KEYS[4], 'clock', string.format('%.0f', now), 'token', string.format('%.0f', lease))
elseif step > 0 or now - clock > 1000000 then
  redis.call('HSET', KEYS[4], 'clock', string.format('%.0f', now))
end
return answer
