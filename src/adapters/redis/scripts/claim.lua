-- Takes what is due in one or more shards, under a lease.
-- KEYS: for each shard 1 ready, 2 asleep, 3 parks, 4 meta, 5 lower, then the ones that its section names by index, counted from
-- its base. ARGV: 1 MessagePack {lease in µs, sections}. section: {base, {queue key, name, device key, most entries}, ...}
-- The lease is the entry's score: an odd number of µs, unique in the shard, after which the entry is due again.
-- Answer: for each section the time, the step back of the clock since the last claim or 0, then for each queue its first score (0 if
-- empty or not in service), {id, token, score before, ...}, and their values, or 0 if these are many: what goes through a script costs
-- twice as much as what does not, so the caller reads them then.

-- Entries of a queue from which on their values are not told.
local VALUES_MAX = 32

local batch = cmsgpack.unpack(ARGV[1])

local function notice_step(now, clock)
  if clock - now <= 5000000 then return 0 end
  -- What was written before lies too far ahead now: all queues are lowered by the step, see lower.lua.
  local step = clock - now
  step = step - step % 2
  for _, set in ipairs({KEYS[base + 1], KEYS[base + 2]}) do
    for _, name in ipairs(redis.call('ZRANGE', set, 0, -1)) do
      redis.call('HSET', KEYS[base + 5], name, string.format('%.0f %.0f', step, now))
    end
  end
  return step
end

-- Takes from one queue; leases begin at `lease`. Returns what was taken and the next lease.
local function take(want, now, lease)
  local queue, taken = KEYS[base + want[1]], {}
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', 0, want[4])
  local count = #due / 2
  if count == 0 then return taken, {}, lease end
  local ids, held = {}, {}
  for i = 1, count do
    local id = due[2 * i - 1]
    ids[i] = id
    held[2 * i - 1], held[2 * i] = lease, id
    taken[3 * i - 2], taken[3 * i - 1], taken[3 * i] = id, lease, tonumber(due[2 * i])
    lease = lease + 2
  end
  redis.call('ZADD', queue, unpack(held))
  local values = count < VALUES_MAX and redis.call('HMGET', KEYS[base + want[3]], unpack(ids)) or 0
  return taken, values, lease
end

local function claim(section)
  base = section[1]
  local now = micros()
  local seen = redis.call('HMGET', KEYS[base + 4], 'clock', 'token')
  local clock, token = tonumber(seen[1] or '0'), tonumber(seen[2] or '0')
  local answer = {now, notice_step(now, clock)}
  local lease = now + batch[1]
  lease = lease - lease % 2 + 1
  -- Never a token twice, unless the clock has stepped back further than a lease is long.
  if lease <= token and token - lease < 60000000 then lease = token + 2 end
  local unused = lease
  for i = 2, #section do
    local want, taken, values, first = section[i], {}, {}, 0
    if redis.call('ZSCORE', KEYS[base + 1], want[2]) then
      taken, values, lease = take(want, now, lease)
      first = settle_queue(0, {want[1], want[2], '', ''}, {}, {})
    end
    answer[#answer + 1] = first
    answer[#answer + 1] = taken
    answer[#answer + 1] = values
  end
  if lease ~= unused then
    redis.call('HSET', KEYS[base + 4], 'clock', string.format('%.0f', now), 'token', string.format('%.0f', lease))
  elseif answer[2] > 0 or now - clock > 1000000 then
    redis.call('HSET', KEYS[base + 4], 'clock', string.format('%.0f', now))
  end
  return answer
end

local answers = {}
for i, section in ipairs(batch[2]) do answers[i] = claim(section) end
return answers
