-- Makes claimed entries due again. KEYS: 1 ready, 2 asleep, 3 parks, then queues.
-- ARGV: 1 channel for news, 2 MessagePack {queues (see queue.lua), {queue, id, token, score, ...}}.
-- Answer: the time, for each queue its first score or 0, the queues that moved forward.

local batch = cmsgpack.unpack(ARGV[2])
local queues, claims = batch[1], batch[2]
for i = 1, #claims, 4 do
  local key = KEYS[queues[claims[i]][1]]
  local score = redis.call('ZSCORE', key, claims[i + 1])
  if score and math.floor(tonumber(score)) == claims[i + 2] then
    redis.call('ZADD', key, string.format('%.0f', claims[i + 3]), claims[i + 1])
  end
end
local firsts, forward, news = {}, {}, {}
for q, queue in ipairs(queues) do firsts[q] = settle_queue(q, queue, news, forward) end
local now = micros()
publish(ARGV[1], now, news)
return {now, firsts, forward}
