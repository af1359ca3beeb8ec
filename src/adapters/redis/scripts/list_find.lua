-- Single members of a list. KEYS: 1 members, 2 texts (unless they follow the members). ARGV: 1 'apart' or 'together', then ids.
-- Answer: for each id {score, text} or {}.
local found = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  if ARGV[1] == 'apart' then
    local score = redis.call('ZSCORE', KEYS[1], id)
    found[i - 1] = score and {score, redis.call('HGET', KEYS[2], id) or ''} or {}
  else
    local member = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. id .. ' ', '(' .. id .. '!', 'LIMIT', 0, 1)[1]
    found[i - 1] = member and {'0', string.sub(member, #id + 2)} or {}
  end
end
return found
