-- Gives a consumer the unsettled messages of all, and lower epochs nothing any more.
-- ARGV: 7 where to begin, 8 ms after which a consumer without messages is forgotten.
-- Answer: {where to go on, or '' at the end, messages}.
if reigning < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
local created = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if created.err and not string.find(created.err, 'BUSYGROUP', 1, true) then return created end
local function deliveries(id)
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  return pending[1] and pending[1][4] or 1
end
local from = ARGV[7]
repeat
  local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, from, 'COUNT', 1)
  from = claimed[1]
  for _, entry in ipairs(claimed[2]) do take(entry, deliveries(entry[1])) end
until from == '0-0' or not has_room()
if from ~= '0-0' then return {from, given} end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local about = fields(consumer)
  if about['pending'] == 0 and about['idle'] > tonumber(ARGV[8]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about['name'])
  end
end
return {'', given}
