-- Takes queues out of service or puts them back. KEYS: 1 ready, 2 asleep, 3 parks.
-- ARGV: 1 channel for news, 2 'park' or 'unpark', 3 tenant, 4 flow or ''.
-- Answer: the time, {name, first score or 0 when out of service, ...} of the queues that changed.

local tenant, flow = ARGV[3], ARGV[4]
local park = flow == '' and tenant or tenant .. ':' .. flow
local from, to = KEYS[1], KEYS[2]
if ARGV[2] == 'park' then
  redis.call('SADD', KEYS[3], park)
else
  redis.call('SREM', KEYS[3], park)
  from, to = KEYS[2], KEYS[1]
end

local changed, news = {}, {}
local prefix = tenant .. ':'
local entries = redis.call('ZRANGE', from, 0, -1, 'WITHSCORES')
for i = 1, #entries, 2 do
  local name = entries[i]
  if string.sub(name, 1, #prefix) == prefix then
    local lane, its_flow = string.match(name, '^([^:]*):(.*)$', #prefix + 1)
    local concerned = lane ~= 'timer' and (flow == '' or flow == its_flow)
    if concerned and ARGV[2] == 'unpark' then
      -- The other kind of park may still hold it.
      local held = redis.call('SMISMEMBER', KEYS[3], tenant, prefix .. its_flow)
      concerned = held[1] == 0 and held[2] == 0
    end
    if concerned then
      redis.call('ZREM', from, name)
      redis.call('ZADD', to, entries[i + 1], name)
      changed[#changed + 1] = name
      changed[#changed + 1] = ARGV[2] == 'park' and 0 or tonumber(entries[i + 1])
      if ARGV[2] == 'unpark' then
        news[#news + 1] = string.format('due %.0f %s', tonumber(entries[i + 1]), name)
      end
    end
  end
end
local now = micros()
publish(ARGV[1], now, news)
return {now, changed}
