-- Keeps `ready` and `asleep` true after a queue has changed. KEYS[1] is ready, KEYS[2] asleep, KEYS[3] parks.
-- Every queue that holds something is in exactly one of the two, under the score of its first entry.

local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- queue: {key index, name, park of the tenant or '', park of the flow}; timer lanes have no parks.
-- Returns the first score (nil if the queue is empty), whether the queue is in service, and its first score before.
local function settle_queue(queue)
  local name = queue[2]
  local first = redis.call('ZRANGE', KEYS[queue[1]], 0, 0, 'WITHSCORES')[2]
  local was = redis.call('ZSCORE', KEYS[1], name)
  local set, in_service = KEYS[1], true
  if not was then
    was = redis.call('ZSCORE', KEYS[2], name)
    if was then
      set, in_service = KEYS[2], false
    elseif first and queue[3] ~= '' then
      local parked = redis.call('SMISMEMBER', KEYS[3], queue[3], queue[4])
      if parked[1] == 1 or parked[2] == 1 then
        set, in_service = KEYS[2], false
      end
    end
  end
  if not first then
    if was then redis.call('ZREM', set, name) end
    return nil, in_service, nil
  end
  if first ~= was then redis.call('ZADD', set, first, name) end
  return tonumber(first), in_service, tonumber(was)
end

-- Tells all brokers what has become due earlier, and that events were appended; the first line is the time.
local function publish(channel, now, news)
  if #news > 0 then redis.call('SPUBLISH', channel, string.format('%.0f\n', now) .. table.concat(news, '\n')) end
end
