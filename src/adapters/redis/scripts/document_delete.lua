-- Removes a document. KEYS: 1 document, 2 docs, 3 doc-ends. ARGV: 1 name, 2 channel for news.
-- Answer: 1 if there was one that does not end by itself.
local had = redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
local ends = redis.call('ZREM', KEYS[3], ARGV[1])
if had == 0 or ends == 1 then return 0 end
redis.pcall('SPUBLISH', ARGV[2], '0\ndocuments')
return 1
