-- Trims old events. KEYS: 1 events, 2 feed. ARGV: 1 tenant, 2 most events kept, 3 oldest time kept (ms), 4 most events trimmed.
-- An event is `<ms> …`; times of one device rise, those of a shard nearly. Answer: events trimmed.
local kept = redis.call('LLEN', KEYS[1])
local trimmed = math.min(math.max(kept - tonumber(ARGV[2]), 0), tonumber(ARGV[4]))
local oldest = tonumber(ARGV[3])
while trimmed < kept and trimmed < tonumber(ARGV[4]) do
  local event = redis.call('LINDEX', KEYS[1], trimmed)
  if (tonumber(string.match(event, '^%d+')) or 0) >= oldest then break end
  trimmed = trimmed + 1
end
if trimmed > 0 then
  redis.call('LTRIM', KEYS[1], trimmed, -1)
  redis.call('HINCRBY', KEYS[2], ARGV[1], trimmed)
end
return trimmed
