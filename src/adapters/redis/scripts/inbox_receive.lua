-- Gives a consumer messages that nobody has been given.
-- ARGV: 4 most messages, 5 longest body. Answer: {last id given to anybody, messages}.
local function read()
  return redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[3], 'COUNT', ARGV[4], 'STREAMS', KEYS[1], '>')
end
local found = read()
if found and found.err and string.find(found.err, 'NOGROUP', 1, true) then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
  found = read()
end
if found and found.err then return found end
if found then
  local entries = found[1][2]
  return {entries[#entries][1], messages(entries, ARGV[5], function() return 1 end)}
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = fields(group)
  if about['name'] == ARGV[1] then return {about['last-delivered-id'], {}} end
end
return {'0-0', {}}
