-- Appends events. KEYS: 1 events, 2 feed. ARGV: 1 channel for news, 2 tenant, 3 most events kept, then ms, text of each.
-- An event is kept as `<ms of the store> <ms of the event after that><text>`.
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local events = {}
for i = 4, #ARGV, 2 do
  events[#events + 1] = string.format('%.0f %.0f', ms, tonumber(ARGV[i]) - ms) .. ARGV[i + 1]
end
local length = append_events(KEYS[1], KEYS[2], ARGV[2], events, tonumber(ARGV[3]))
redis.pcall('SPUBLISH', ARGV[1], string.format('%.0f\nevents', ms * 1000))
return length
