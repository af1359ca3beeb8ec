-- Gives a consumer the unsettled messages of all, and lower epochs nothing any more.
-- ARGV: 4 most messages, 5 longest body, 6 where to begin, 7 ms after which a consumer without messages is forgotten.
-- Answer: {where to go on, or '' at the end, messages}.
if reigning < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
local created = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if created.err and not string.find(created.err, 'BUSYGROUP', 1, true) then return created end
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[6], 'COUNT', ARGV[4])
local function deliveries(id)
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  return pending[1] and pending[1][4] or 1
end
local taken = messages(claimed[2], ARGV[5], deliveries)
if claimed[1] ~= '0-0' then return {claimed[1], taken} end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local about = fields(consumer)
  if about['pending'] == 0 and about['idle'] > tonumber(ARGV[7]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about['name'])
  end
end
return {'', taken}
