-- Forgets counters by prefix, glob-free. KEYS: 1 counters. ARGV: 1 prefix.
local fields = redis.call('HKEYS', KEYS[1])
for _, field in ipairs(fields) do
  if string.sub(field, 1, #ARGV[1]) == ARGV[1] then redis.call('HDEL', KEYS[1], field) end
end
return 1
