-- Takes queues of one or more shards out of service or puts them back. KEYS: for each shard 1 ready, 2 asleep, 3 parks.
-- ARGV: 1 'park' or 'unpark', 2 tenant, 3 flow or '', then for each shard its channel for news.
-- Answer: for each shard the time, {name, first score or 0 when out of service, ...} of the queues that changed.

local what, tenant, flow = ARGV[1], ARGV[2], ARGV[3]
local park = flow == '' and tenant or tenant .. ':' .. flow
local prefix = tenant .. ':'

local function move(ready, asleep, parks, channel)
  local from, to = ready, asleep
  if what == 'park' then
    redis.call('SADD', parks, park)
  else
    redis.call('SREM', parks, park)
    from, to = asleep, ready
  end
  local changed, news = {}, {}
  local entries = redis.call('ZRANGE', from, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    local name = entries[i]
    if string.sub(name, 1, #prefix) == prefix then
      local lane, its_flow = string.match(name, '^([^:]*):(.*)$', #prefix + 1)
      local concerned = lane ~= 'timer' and (flow == '' or flow == its_flow)
      if concerned and what == 'unpark' then
        -- The other kind of park may still hold it.
        local held = redis.call('SMISMEMBER', parks, tenant, prefix .. its_flow)
        concerned = held[1] == 0 and held[2] == 0
      end
      if concerned then
        redis.call('ZREM', from, name)
        redis.call('ZADD', to, entries[i + 1], name)
        changed[#changed + 1] = name
        changed[#changed + 1] = what == 'park' and 0 or tonumber(entries[i + 1])
        if what == 'unpark' then
          news[#news + 1] = string.format('due %.0f %s', tonumber(entries[i + 1]), name)
        end
      end
    end
  end
  local now = micros()
  publish(channel, now, news)
  return {now, changed}
end

local answers = {}
for i = 1, #ARGV - 3 do
  answers[i] = move(KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i], ARGV[3 + i])
end
return answers
