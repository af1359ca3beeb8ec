-- Puts a document `version bytes`. KEYS: 1 document, 2 docs, 3 doc-ends.
-- ARGV: 1 name, 2 bytes, 3 'any', 'absent' or the version expected, 4 milliseconds to live or '', 5 channel for news.
-- Answer: {version} when kept, else {'', what is kept or ''}. What was put stands even if this user may announce nothing.
local kept = redis.call('GET', KEYS[1])
local version = kept and tonumber(string.match(kept, '^%d+')) or 0
local fits = ARGV[3] == 'any' or (ARGV[3] == 'absent' and not kept) or (kept and tonumber(ARGV[3]) == version)
if not fits then return {'', kept or ''} end

local value = string.format('%.0f', version + 1) .. ' ' .. ARGV[2]
redis.call('ZADD', KEYS[2], 0, ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Documents end by themselves; their names are swept here, a few at a time.
local ended = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now), 'LIMIT', 0, 8)
for _, name in ipairs(ended) do
  redis.call('ZREM', KEYS[3], name)
  if name ~= ARGV[1] then redis.call('ZREM', KEYS[2], name) end
end
if ARGV[4] == '' then
  redis.call('SET', KEYS[1], value)
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.pcall('SPUBLISH', ARGV[5], '0\ndocuments')
else
  redis.call('SET', KEYS[1], value, 'PX', ARGV[4])
  redis.call('ZADD', KEYS[3], string.format('%.0f', now + tonumber(ARGV[4])), ARGV[1])
end
return {version + 1}
