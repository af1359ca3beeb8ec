-- Trims old events of tenants. KEYS: for each tenant in a shard 1 events, 2 feed.
-- ARGV: 1 most events kept, 2 longest age in ms, 3 most events trimmed; of each. Then the tenants. Answer: for each the events trimmed.
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[2])
local answers = {}
for i = 1, 2 * (#ARGV - 3), 2 do
  local kept = redis.call('LLEN', KEYS[i])
  local most = math.min(kept, tonumber(ARGV[3]))
  local trimmed = math.min(math.max(kept - tonumber(ARGV[1]), 0), most)
  while trimmed < most do
    local event = redis.call('LINDEX', KEYS[i], trimmed)
    if (tonumber(string.match(event, '^%d+')) or 0) >= oldest then break end
    trimmed = trimmed + 1
  end
  if trimmed > 0 then
    redis.call('LTRIM', KEYS[i], trimmed, -1)
    redis.call('HINCRBY', KEYS[i + 1], ARGV[3 + (i + 1) / 2], trimmed)
  end
  answers[#answers + 1] = trimmed
end
return answers
