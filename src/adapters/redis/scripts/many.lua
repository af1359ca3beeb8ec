-- Runs one reading command on many keys of one server. KEYS: keys of one slot. ARGV: 1 the command's name, 2 how many arguments
-- follow its key, then these, then keys of other slots of this server, which no call can declare.
-- Answer: the time, and for each key the command's answer.
local rest, answers = {unpack(ARGV, 3, 2 + ARGV[2])}, {}
local function read(key) answers[#answers + 1] = redis.call(ARGV[1], key, unpack(rest)) end
for _, key in ipairs(KEYS) do read(key) end
for i = 3 + ARGV[2], #ARGV do read(ARGV[i]) end
local time = redis.call('TIME')
return {time[1] * 1000000 + time[2], answers}
