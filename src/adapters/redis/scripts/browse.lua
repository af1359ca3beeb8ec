-- A page of a queue with the records. KEYS: 1 queue, 2 devices. ARGV: 1 cursor, 2 count. Answer: cursor, {id, value, ...}.
local page = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local ids, found = {}, {}
for i = 1, #page[2], 2 do ids[#ids + 1] = page[2][i] end
for first = 1, #ids, 1000 do
  local last = math.min(first + 999, #ids)
  local values = redis.call('HMGET', KEYS[2], unpack(ids, first, last))
  for i = first, last do
    if values[i - first + 1] then
      found[#found + 1] = ids[i]
      found[#found + 1] = values[i - first + 1]
    end
  end
end
return {page[1], found}
