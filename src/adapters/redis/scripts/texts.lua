-- Appends texts to a list, whatever their number: a command takes a few thousand at most. Returns the length of the list.
local function push_texts(key, texts)
  local length
  for first = 1, #texts, 4000 do
    length = redis.call('RPUSH', key, unpack(texts, first, math.min(first + 3999, #texts)))
  end
  return length
end
