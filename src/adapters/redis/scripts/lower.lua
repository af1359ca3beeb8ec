-- Lowers the scores of a queue after the clock has stepped back, a batch at a time, from the lowest on.
-- KEYS: 1 ready, 2 asleep, 3 parks, 4 lower, 5 queue. ARGV: 1 channel for news, 2 name, 3 most entries.
-- lower: queue → `<by> <from>`. What has been lowered lies below `from`, so nothing is lowered twice, whoever goes on.
-- Answer: 1 while there is more to do.
local by, from = string.match(redis.call('HGET', KEYS[4], ARGV[2]) or '', '^(%d+) (%d+)$')
if not by then return 0 end
local page = redis.call('ZRANGEBYSCORE', KEYS[5], from, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local lowered = {}
for i = 1, #page, 2 do
  lowered[i] = string.format('%.0f', tonumber(page[i + 1]) - by)
  lowered[i + 1] = page[i]
end
if #lowered > 0 then redis.call('ZADD', KEYS[5], unpack(lowered)) end
local more = #page == 2 * tonumber(ARGV[3])
if more then
  redis.call('HSET', KEYS[4], ARGV[2], string.format('%s %.0f', by, tonumber(page[#page])))
else
  redis.call('HDEL', KEYS[4], ARGV[2])
end
-- An empty park would put a sleeping queue back into service, but settle_queue finds it where it is.
local news = {}
settle_queue(1, {5, ARGV[2], '', ''}, news, {})
publish(ARGV[1], micros(), news)
return more and 1 or 0
