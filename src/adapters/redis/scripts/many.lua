-- Runs one reading command on many keys. KEYS: the keys. ARGV: the command's name, then what follows its key. Answer: each answer.
local answers = {}
for i, key in ipairs(KEYS) do answers[i] = redis.call(ARGV[1], key, unpack(ARGV, 2)) end
return answers
