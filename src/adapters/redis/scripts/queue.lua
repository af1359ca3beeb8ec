-- Keeps `ready` and `asleep` true after a queue has changed: every queue that holds something is in exactly one of the two, under
-- the score of its first entry, or half a µs less where that was changed under its lease. The first keys of a shard are ready, asleep, parks; they follow KEYS[base].
local base = 0

local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Brings queue number q in line; {key index, name, park of the tenant or '', park of the flow}, timer lanes have no parks.
-- Returns its first score if it can be claimed from, else 0; one that moved forward is noted in news and forward. `least` is the
-- least score of what was added, where nothing else has changed.
local function settle_queue(q, queue, news, forward, least)
  local name = queue[2]
  local was = redis.call('ZSCORE', KEYS[base + 1], name)
  if least and was and tonumber(least) >= tonumber(was) then return tonumber(was) end
  local first = redis.call('ZRANGE', KEYS[base + queue[1]], 0, 0, 'WITHSCORES')[2]
  local set = KEYS[base + 1]
  if not was then
    was = redis.call('ZSCORE', KEYS[base + 2], name)
    if was then
      set = KEYS[base + 2]
    elseif first and queue[3] ~= '' then
      local parked = redis.call('SMISMEMBER', KEYS[base + 3], queue[3], queue[4])
      if parked[1] == 1 or parked[2] == 1 then set = KEYS[base + 2] end
    end
  end
  if not first then
    if was then redis.call('ZREM', set, name) end
    return 0
  end
  if first ~= was then redis.call('ZADD', set, first, name) end
  if set == KEYS[base + 2] then return 0 end
  if not was or tonumber(first) < tonumber(was) then
    news[#news + 1] = string.format('due %.0f %s', tonumber(first), name)
    forward[#forward + 1] = q
  end
  return tonumber(first)
end

-- Tells all brokers what has become due earlier, and that events were appended; the first line is the time. What was done stands
-- even if this user may announce nothing.
local function publish(channel, now, news)
  if #news > 0 then redis.pcall('SPUBLISH', channel, string.format('%.0f\n', now) .. table.concat(news, '\n')) end
end
