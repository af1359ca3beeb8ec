-- Adds events to the outbox if its place in the feed is as expected. KEYS: 1 outbox, 2 place.
-- ARGV: 1 place expected or '', 2 place after, 3 most events kept, then type and JSON of each. Answer: 1, or 0 if it is not.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
for i = 4, #ARGV, 2 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'type', ARGV[i], 'event', ARGV[i + 1])
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
