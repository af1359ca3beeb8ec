-- Applies sections of which each item is as its caller expects, and leaves the others alone: a section is applied whole or not at
-- all. What is to be done has been worked out by the caller; `commit.lua` judges item by item.
-- KEYS: for each section 1 ready, 2 asleep, 3 parks, 4 feed, 5 fences, then the ones that it names by index, counted from its
-- base; a section is about one shard.
-- ARGV: 1 MessagePack {fence or '', epoch, most events kept, sections}, then new values, which are long and so not packed twice.
-- section: {1 base, 2 channel for news, 3 records, 4 unlisted, 5 least token, 6 queues, 7 commands, 8 texts, 9 counters, 10 events,
--           11 the ids of its items}
-- records: {dev key, ids, what their values begin with ('' for none), ids that get new values, place before the first of these, ...}
-- What the caller holds is proved by its lease, which is another as soon as the record is, and not looked at.
-- Where ids are those of all items, there is 0 in their place.
-- unlisted: {list key, ids that it must not hold, ...}
-- queue: {1 key, 2 name, 3 park of the tenant or '', 4 park of the flow, 5 ids held by the caller, 6 their tokens, 7 ids that nobody
--         may hold, 8 ids that leave, 9 scores and ids that enter, 10 their least score}
-- commands: {{name, key, argument, ...}, ...}; texts: {list key, {id, score or '', text, ...}, ...}
-- counters: {key, tenant, {field, by, ...}, ...}. Where there are several sections they name the same key for a tenant, so what they
-- add is added once.
-- events: {ev key, tenant, {ms, text, ...}, ...}
-- Answer: {time, for each section the first score of each of its queues, or nil if the section was left alone}; or F alone when the
-- fence has been raised. A score is 0 if there is nothing to claim, negative if it has moved forward.

local batch = cmsgpack.unpack(ARGV[1])
local fence, epoch, events_max, sections = batch[1], batch[2], batch[3], batch[4]
local call, sub, byte = redis.call, string.sub, string.byte

if fence ~= '' then
  for _, section in ipairs(sections) do
    local raised = call('HGET', KEYS[section[1] + 5], fence)
    if raised and tonumber(raised) > epoch then return 'F' end
  end
end

local now = micros()
local now_ms = math.floor(now / 1000)
local now_text = string.format('%.0f ', now_ms)

local function find(key, id)
  return call('ZRANGEBYLEX', key, '[' .. id .. ' ', '(' .. id .. '!', 'LIMIT', 0, 1)[1]
end

local function is_expected(records, unlisted, all)
  for r = 1, #records, 5 do
    local ids, begins = records[r + 1], records[r + 2]
    if ids == 0 then ids = all end
    local values = #ids > 0 and call('HMGET', KEYS[base + records[r]], unpack(ids))
    for i = 1, #begins do
      local begin, value = begins[i], values[i]
      if value then
        if begin == '' or sub(value, 1, #begin) ~= begin then return false end
      elseif begin ~= '' then
        return false
      end
    end
  end
  for u = 1, #unlisted, 2 do
    for _, id in ipairs(unlisted[u + 1]) do
      if find(KEYS[base + unlisted[u]], id) then return false end
    end
  end
  return true
end

-- A lease is odd and ends in the future; its text is the same everywhere.
local function is_placed(queues, least_token, all)
  if least_token > 0 and least_token <= now then return false end
  for _, queue in ipairs(queues) do
    local held, tokens = queue[5], queue[6]
    if #tokens > 0 then
      local scores = call('ZMSCORE', KEYS[base + queue[1]], unpack(held ~= 0 and held or all))
      for i = 1, #tokens do
        if scores[i] ~= tokens[i] then return false end
      end
    end
    if #queue[7] > 0 then
      local scores = call('ZMSCORE', KEYS[base + queue[1]], unpack(queue[7]))
      for i = 1, #queue[7] do
        local score = scores[i]
        if score and byte(score, -1) % 2 == 1 and tonumber(score) > now then return false end
      end
    end
  end
  return true
end

local function set_values(records, all)
  for r = 1, #records, 5 do
    local ids, before, pairs_ = records[r + 3], records[r + 4], {}
    if ids == 0 then ids = all end
    for i = 1, #ids do
      pairs_[2 * i - 1] = ids[i]
      pairs_[2 * i] = ARGV[before + i]
    end
    if #ids > 0 then call('HSET', KEYS[base + records[r]], unpack(pairs_)) end
  end
end

local function replace_texts(key, texts)
  local leave, enter = {}, {}
  for i = 1, #texts, 3 do
    leave[#leave + 1] = find(key, texts[i])
    if texts[i + 1] ~= '' then
      enter[#enter + 1] = texts[i + 1]
      enter[#enter + 1] = texts[i] .. ' ' .. texts[i + 2]
    end
  end
  if #leave > 0 then call('ZREM', key, unpack(leave)) end
  if #enter > 0 then call('ZADD', key, unpack(enter)) end
end

local function append(key, tenant, events)
  local texts = {}
  for i = 1, #events, 2 do texts[#texts + 1] = now_text .. (events[i] - now_ms) .. events[i + 1] end
  append_events(key, KEYS[base + 4], tenant, texts, events_max)
end

local function move_queues(queues, news, all)
  local firsts = {}
  for q, queue in ipairs(queues) do
    local key, leave, enter, least = KEYS[base + queue[1]], queue[8], queue[9], queue[10]
    if leave == 0 then leave = all end
    if #leave > 0 then
      call('ZREM', key, unpack(leave))
      least = nil
    end
    -- Where all that enter are new, the first can only have become earlier.
    if #enter > 0 and call('ZADD', key, unpack(enter)) * 2 ~= #enter then least = nil end
    local forward = {}
    local first = settle_queue(q, queue, news, forward, least)
    firsts[q] = forward[1] and -first or first
  end
  return firsts
end

-- By tenant: the hash, and what each counter moves by.
local moves = {}

local function add_counters(counters)
  for c = 1, #counters, 3 do
    local tenant, fields = counters[c + 1], counters[c + 2]
    local of_tenant = moves[tenant]
    if not of_tenant then
      of_tenant = {KEYS[base + counters[c]], {}}
      moves[tenant] = of_tenant
    end
    local sums = of_tenant[2]
    for f = 1, #fields, 2 do sums[fields[f]] = (sums[fields[f]] or 0) + fields[f + 1] end
  end
end

local function move_counters()
  for _, of_tenant in pairs(moves) do
    for field, by in pairs(of_tenant[2]) do
      if by ~= 0 and call('HINCRBY', of_tenant[1], field, by) == 0 then call('HDEL', of_tenant[1], field) end
    end
  end
end

local told = false

local function apply(section, all)
  set_values(section[3], all)
  for _, command in ipairs(section[7]) do
    command[2] = KEYS[base + command[2]]
    call(unpack(command))
  end
  local texts, events, news = section[8], section[10], {}
  for t = 1, #texts, 2 do replace_texts(KEYS[base + texts[t]], texts[t + 1]) end
  add_counters(section[9])
  for e = 1, #events, 3 do append(KEYS[base + events[e]], events[e + 1], events[e + 2]) end
  -- Whoever hears one shard of this server hears them all.
  if #events > 0 and not told then
    news[1], told = 'events', true
  end
  local firsts = move_queues(section[6], news, all)
  publish(section[2], now, news)
  return firsts
end

local answer = {now}
for i, section in ipairs(sections) do
  base = section[1]
  local all = section[11]
  local fits = is_expected(section[3], section[4], all) and is_placed(section[6], section[5], all)
  answer[i + 1] = fits and apply(section, all)
end
move_counters()
return answer
