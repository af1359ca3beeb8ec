-- Removes messages, and keeps the dead ones with their reason. KEYS: 1 inbox, 2 dead letters.
-- ARGV: 1 group, 2 most dead letters, 3 number of ids, then the ids, then id, command, body, bytes of the body and reason of
-- each dead letter.
local first_dead = 4 + tonumber(ARGV[3])
for i = first_dead, #ARGV, 5 do
  -- What another reader has settled meanwhile is in the dead letters already, if it is dead.
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'id', ARGV[i], 'command', ARGV[i + 1], 'body', ARGV[i + 2],
      'body_bytes', ARGV[i + 3], 'reason', ARGV[i + 4])
    redis.call('XDEL', KEYS[1], ARGV[i])
  end
end
if first_dead == 4 then return 1 end
local ids = {}
for i = 4, first_dead - 1 do ids[#ids + 1] = ARGV[i] end
redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
redis.call('XDEL', KEYS[1], unpack(ids))
return 1
