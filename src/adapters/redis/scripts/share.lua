-- Renews a broker's shares. KEYS: 1 store, then the apps' shares. ARGV: 1 broker, 2 the call's number, 3 term in µs, then for each app
-- pace and demand. A broker's calls have rising numbers: what one grants that comes after a later one would be nobody's, so it gets 0.
-- A hash an app: broker → `until number pace demand granted`, then `until granted` of its former grants that are greater and still
-- live: the answer that made them smaller may have been lost. With what is granted the sum of live grants does not exceed the lowest
-- pace asked for. Answer: the grants, {id, epoch} of the store.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local broker, number, term = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

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

-- Grants one app's share; returns it as text.
local function renew(key, pace_text, demand_text)
  local pace, demand = tonumber(pace_text), tonumber(demand_text)
  local lowest, granted, demands, former = pace, 0, {demand}, ''
  local shares = redis.call('HGETALL', key)
  for j = 1, #shares, 2 do
    local ends, its_number, its_pace, its_demand, grant, rest =
      string.match(shares[j + 1], '^(%S+) (%S+) (%S+) (%S+) (%S+)(.*)$')
    local grants = ends .. ' ' .. grant .. rest
    local is_live = tonumber(ends) > now and tonumber(ends) <= now + 10 * term
    if shares[j] == broker then
      if is_live and tonumber(its_number) > number then return '0' end
      former = grants
    elseif is_live then
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
  local text = string.format('%.0f %.0f %s %s %s%s', now + term, number, pace_text, demand_text, grant, former)
  redis.call('HSET', key, broker, text)
  redis.call('PEXPIRE', key, math.max(1000, math.ceil(term / 100)))
  return grant
end

local answer = {}
for i = 1, (#ARGV - 3) / 2 do answer[i] = renew(KEYS[i + 1], ARGV[2 * i + 2], ARGV[2 * i + 3]) end
return {answer, redis.call('HMGET', KEYS[1], 'id', 'epoch')}
