-- Reads records. KEYS: device hashes. ARGV: 1 MessagePack, for each key its ids. Answer: for each key the values.
local answer = {}
for i, ids in ipairs(cmsgpack.unpack(ARGV[1])) do answer[i] = redis.call('HMGET', KEYS[i], unpack(ids)) end
return answer
