-- A page of a list after a member. KEYS: 1 members, 2 texts (only when apart).
-- ARGV: 1 count, 2 'apart' or 'together', 3 device after which the page begins ('' at the beginning), 4 its score.
-- Together, a member is `device text` and all scores are 0. Answer: {device, score, text, ...}.
local count, after = tonumber(ARGV[1]), ARGV[3]
local found = {}

if ARGV[2] == 'together' then
  local from = after == '' and '-' or '(' .. after .. '!'
  local members = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, count)
  for _, member in ipairs(members) do
    local blank = string.find(member, ' ', 1, true)
    found[#found + 1] = string.sub(member, 1, blank - 1)
    found[#found + 1] = '0'
    found[#found + 1] = string.sub(member, blank + 1)
  end
  return found
end

local first = 0
if after ~= '' then
  local rank = redis.call('ZRANK', KEYS[1], after)
  local score = rank and redis.call('ZSCORE', KEYS[1], after)
  if rank and tonumber(score) == tonumber(ARGV[4]) then
    first = rank + 1
  else
    -- The member has gone: the first of those with its score that comes after it, found by halving.
    first = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[4])
    local last = first + redis.call('ZCOUNT', KEYS[1], ARGV[4], ARGV[4])
    while first < last do
      local middle = math.floor((first + last) / 2)
      if redis.call('ZRANGE', KEYS[1], middle, middle)[1] > after then last = middle else first = middle + 1 end
    end
  end
end
local range = redis.call('ZRANGE', KEYS[1], first, first + count - 1, 'WITHSCORES')
local ids = {}
for i = 1, #range, 2 do ids[#ids + 1] = range[i] end
if #ids == 0 then return found end
local texts = redis.call('HMGET', KEYS[2], unpack(ids))
for i, id in ipairs(ids) do
  found[#found + 1] = id
  found[#found + 1] = range[2 * i]
  found[#found + 1] = texts[i] or ''
end
return found
