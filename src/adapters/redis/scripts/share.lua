-- Renews a broker's shares. KEYS: 1 store, then the apps' shares. ARGV: 1 broker, 2 term in µs, then for each app pace and demand.
-- A hash an app: broker → `until pace demand granted`, then `until granted` of its former grants that are greater and still live:
-- the answer that made them smaller may have been lost. The sum of live grants never exceeds the lowest pace asked for.
-- Answer: the grants, {id, epoch} of the store.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local broker, term = ARGV[1], tonumber(ARGV[2])

-- A fair part of `pace` for a demand among others: nobody gets more than it wants, what is left goes to the rest.
local function fair(pace, mine, demands)
  table.sort(demands)
  local left = pace
  for i, demand in ipairs(demands) do
    local part = left / (#demands - i + 1)
    if demand >= part then return math.min(mine, part) end
    left = left - demand
  end
  return mine
end

-- The grants in `text`, `until granted ...`, that are live and greater than `least`, cut to `most`; the text of these, the greatest.
local function live(text, least, most)
  local kept, greatest = '', least
  for ends, grant in string.gmatch(text, '(%S+) (%S+)') do
    local amount = math.min(tonumber(grant), most)
    if tonumber(ends) > now and tonumber(ends) <= now + 10 * term and amount > greatest then
      greatest = amount
      kept = kept .. string.format(' %s %.6f', ends, amount)
    end
  end
  return kept, greatest
end

local answer = {}
for i = 1, #KEYS - 1 do
  local key = KEYS[i + 1]
  local pace, demand = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local lowest, granted, demands, former = pace, 0, {demand}, ''
  local shares = redis.call('HGETALL', key)
  for j = 1, #shares, 2 do
    local ends, its_pace, its_demand, its_grant, rest = string.match(shares[j + 1], '^(%S+) (%S+) (%S+) (%S+)(.*)$')
    local grants = ends .. ' ' .. its_grant .. rest
    if shares[j] == broker then
      former = grants
    elseif tonumber(ends) > now and tonumber(ends) <= now + 10 * term then
      lowest = math.min(lowest, tonumber(its_pace))
      granted = granted + select(2, live(grants, 0, math.huge))
      demands[#demands + 1] = tonumber(its_demand)
    else
      redis.call('HDEL', key, shares[j])
    end
  end
  local grant = math.max(0, math.min(fair(lowest, demand, demands), lowest - granted))
  grant = string.format('%.6f', math.floor(grant * 1000000) / 1000000)
  -- Who asks starts no more than it asks for, whatever it had.
  former = live(former, tonumber(grant), demand)
  redis.call('HSET', key, broker, string.format('%.0f %s %s %s%s', now + term, ARGV[2 * i + 1], ARGV[2 * i + 2], grant, former))
  redis.call('PEXPIRE', key, math.max(1000, math.ceil(term / 100)))
  answer[i] = grant
end
return {answer, redis.call('HMGET', KEYS[1], 'id', 'epoch')}
