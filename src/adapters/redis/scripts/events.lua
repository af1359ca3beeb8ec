-- Appends a tenant's events to its list, whatever their number: a command takes a few thousand at most. `feed` says how many are
-- gone from the list's beginning. Returns the length of the list before it was cut.
local function append_events(key, feed, tenant, texts, most)
  local length
  for first = 1, #texts, 4000 do
    length = redis.call('RPUSH', key, unpack(texts, first, math.min(first + 3999, #texts)))
  end
  if length == #texts then redis.call('HSETNX', feed, tenant, 0) end
  -- The janitor trims; this is for a store that has none.
  if length > 8 * most then
    redis.call('LTRIM', key, length - most, -1)
    redis.call('HINCRBY', feed, tenant, length - most)
  end
  return length
end
