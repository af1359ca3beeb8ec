-- Gives a consumer messages that nobody has been given. Answer: {last id given to anybody, messages}.
local function read()
  return redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[3], 'COUNT', 1, 'STREAMS', KEYS[1], '>')
end
while has_room() do
  local found = read()
  if found and found.err and string.find(found.err, 'NOGROUP', 1, true) then
    redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
    found = read()
  end
  if found and found.err then return found end
  if not found then break end
  take(found[1][2][1], 1)
end
if #given > 0 then return {given[#given][1], given} end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = fields(group)
  if about['name'] == ARGV[1] then return {about['last-delivered-id'], given} end
end
return {'0-0', given}
