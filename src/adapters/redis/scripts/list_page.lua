-- A page of a list in each of some shards. KEYS: for each shard 1 members, 2 texts (only when apart).
-- ARGV: 1 count, 2 'apart' or 'together', 3 device after which the page begins ('' at the beginning), 4 its score.
-- Together, a member is `device text` and all scores are 0. Answer: for each shard {device, score, text, ...}.
local count, after = tonumber(ARGV[1]), ARGV[3]

local function together(members_key)
  local found = {}
  local from = after == '' and '-' or '(' .. after .. '!'
  for _, member in ipairs(redis.call('ZRANGEBYLEX', members_key, from, '+', 'LIMIT', 0, count)) do
    local blank = string.find(member, ' ', 1, true)
    found[#found + 1] = string.sub(member, 1, blank - 1)
    found[#found + 1] = '0'
    found[#found + 1] = string.sub(member, blank + 1)
  end
  return found
end

-- The rank at which the page begins.
local function begin(members_key)
  if after == '' then return 0 end
  local rank = redis.call('ZRANK', members_key, after)
  local score = rank and redis.call('ZSCORE', members_key, after)
  if rank and tonumber(score) == tonumber(ARGV[4]) then return rank + 1 end
  -- The member has gone: the first of those with its score that comes after it, found by halving.
  local first = redis.call('ZCOUNT', members_key, '-inf', '(' .. ARGV[4])
  local last = first + redis.call('ZCOUNT', members_key, ARGV[4], ARGV[4])
  while first < last do
    local middle = math.floor((first + last) / 2)
    if redis.call('ZRANGE', members_key, middle, middle)[1] > after then last = middle else first = middle + 1 end
  end
  return first
end

local function apart(members_key, texts_key)
  local found, ids = {}, {}
  local first = begin(members_key)
  local range = redis.call('ZRANGE', members_key, first, first + count - 1, 'WITHSCORES')
  for i = 1, #range, 2 do ids[#ids + 1] = range[i] end
  if #ids == 0 then return found end
  local texts = redis.call('HMGET', texts_key, unpack(ids))
  for i, id in ipairs(ids) do
    found[#found + 1] = id
    found[#found + 1] = range[2 * i]
    found[#found + 1] = texts[i] or ''
  end
  return found
end

local pages = {}
if ARGV[2] == 'together' then
  for i, key in ipairs(KEYS) do pages[i] = together(key) end
else
  for i = 1, #KEYS, 2 do pages[#pages + 1] = apart(KEYS[i], KEYS[i + 1]) end
end
return pages
