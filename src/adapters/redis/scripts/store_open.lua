-- Describes the store once. KEYS: 1 store. ARGV: 1 schema, 2 shards, 3 id. Answer: schema, shards, id.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'schema', ARGV[1], 'shards', ARGV[2], 'id', ARGV[3], 'epoch', 0)
end
return redis.call('HMGET', KEYS[1], 'schema', 'shards', 'id')
