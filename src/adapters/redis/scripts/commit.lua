-- Applies items of one or more shards, each item whole or not at all.
-- KEYS: for each shard 1 ready, 2 asleep, 3 parks, 4 feed, 5 fences, then the ones that its section names by index; a section's
-- indexes count from its base.
-- ARGV: 1 batch (MessagePack).
-- batch: {fence or '', epoch, most events kept, sections}
-- section: {base, channel for news, queues, lists, counters, items}
-- queue: see queue.lua; list: {zset key, text key or 0 when the text follows the member}; counter: {hash key, field}
-- item: {1 dev key, 2 id, 3 expect, 4 change, 5 lease queue, 6 token, 7 from queue, 8 to queue, 9 to score,
--        10 moves {counter, by, ...}, 11 lists {list, put?, score, text, ...}, 12 events {ev key, tenant, ms, text, ...}}
-- expect: '' absent, 8 characters a revision, a number the list that must not hold the device
-- change: text = the new value, 0 = delete, 1 = keep. Queues of 0 are none.
-- A value is `revision|record`, or `revision@queue|record` while the device waits in another queue than its record says.
-- Answer: for each section a status a letter (D done, C conflict, L lease lost, I in the list, M waits in a queue that was not
-- declared), the values for C and L and the queue for M, and {time, first score of each queue (0 nothing to claim, -1 untouched),
-- queues that moved forward}; or F alone when the fence has been raised.

local batch = cmsgpack.unpack(ARGV[1])
local fence, epoch, events_max, sections = batch[1], batch[2], batch[3], batch[4]

if fence ~= '' then
  for _, section in ipairs(sections) do
    local raised = redis.call('HGET', KEYS[section[1] + 5], fence)
    if raised and tonumber(raised) > epoch then return 'F' end
  end
end

local function append(groups, key, value)
  local group = groups[key]
  if group then group[#group + 1] = value else groups[key] = {value} end
end

local function commit(section)
  base = section[1]
  local queues, lists, counters, items = section[3], section[4], section[5], section[6]

  -- What is kept, by item.
  local kept, wanted, askers = {}, {}, {}
  for i, item in ipairs(items) do
    if type(item[3]) == 'string' then
      append(wanted, item[1], item[2])
      append(askers, item[1], i)
    end
  end
  for key, ids in pairs(wanted) do
    local values = redis.call('HMGET', KEYS[base + key], unpack(ids))
    local asked = askers[key]
    for j = 1, #ids do kept[asked[j]] = values[j] end
  end

  -- Where each device waits: the queue that its value names, else the one that the caller named. Nothing is looked up for an
  -- item that leaves the place alone.
  local place, score, misplaced, elsewhere = {}, {}, {}, {}
  local index_of
  wanted, askers = {}, {}
  for i, item in ipairs(items) do
    local at = item[5] ~= 0 and item[5] or item[7]
    local value = kept[i]
    if value and string.byte(value, 9) == 64 then
      elsewhere[i] = string.match(value, '^@([^|]*)|', 9)
      if at ~= 0 or item[8] ~= 0 or item[4] ~= 1 then
        if not index_of then
          index_of = {}
          for q, queue in ipairs(queues) do index_of[queue[2]] = q end
        end
        at = index_of[elsewhere[i]] or 0
        if at == 0 then misplaced[i] = elsewhere[i] end
      end
    end
    place[i] = at
    if at ~= 0 then
      append(wanted, at, item[2])
      append(askers, at, i)
    end
  end
  for q, ids in pairs(wanted) do
    local scores = redis.call('ZMSCORE', KEYS[base + queues[q][1]], unpack(ids))
    local asked = askers[q]
    for j = 1, #ids do score[asked[j]] = tonumber(scores[j] or nil) end
  end

  local function listed(list, id)
    local key = KEYS[base + list[1]]
    if list[2] ~= 0 then return redis.call('ZSCORE', key, id) end
    return redis.call('ZRANGEBYLEX', key, '[' .. id .. ' ', '(' .. id .. '!', 'LIMIT', 0, 1)[1]
  end

  local now = micros()
  local now_ms = math.floor(now / 1000)
  local statuses, values = {}, {}
  local set, drop, enter, leave, touched, moves, appended = {}, {}, {}, {}, {}, {}, {}
  local list_enter, list_leave, text_set, text_drop = {}, {}, {}, {}

  local function move_in_list(list, put, at, id, text)
    local key = list[1]
    if list[2] == 0 then
      local old = listed(list, id)
      if old then append(list_leave, key, old) end
      if put == 1 then
        append(list_enter, key, at)
        append(list_enter, key, id .. ' ' .. text)
      end
      return
    end
    if put == 1 then
      append(list_enter, key, at)
      append(list_enter, key, id)
    else
      append(list_leave, key, id)
    end
    if put == 1 and text ~= '' then
      append(text_set, list[2], id)
      append(text_set, list[2], text)
    else
      append(text_drop, list[2], id)
    end
  end

  -- The new value under its revision, naming the queue if the record does not tell it.
  local function named(value, queue)
    local record = string.match(value, '|.*$', 9)
    return string.sub(value, 1, 8) .. (queue and '@' .. queue or '') .. record
  end

  -- Somebody else holds the device and keeps it, half a µs longer: so its lease alone tells whether the record is as it was claimed.
  local function change_held(i, id, change, queue)
    if type(change) ~= 'string' then return change end
    append(enter, place[i], string.format('%.1f', math.floor(score[i]) + 0.5))
    append(enter, place[i], id)
    return queue and named(change, queue) or change
  end

  local function apply_place(i, item)
    local id, change, from, to, at = item[2], item[4], item[7], item[8], place[i]
    if item[5] == 0 and change ~= 0 then
      local held = score[i] and math.floor(score[i]) % 2 == 1 and score[i] > now
      if from == 0 and to == 0 then
        if held then return change_held(i, id, change, elsewhere[i]) end
        return type(change) == 'string' and elsewhere[i] and named(change, elsewhere[i]) or change
      end
      if held and to ~= 0 then return change_held(i, id, change, at ~= to and queues[at][2]) end
    end
    if at ~= 0 and at ~= to then
      append(leave, at, id)
      touched[at] = true
    end
    if to ~= 0 then
      append(enter, to, string.format('%.0f', item[9]))
      append(enter, to, id)
      touched[to] = true
    end
    -- A record that stays tells the queue it told before.
    if change == 1 and kept[i] and to ~= 0 and to ~= at then
      return named(kept[i], to ~= from and queues[to][2])
    end
    return change
  end

  local function apply(i, item)
    local id = item[2]
    local value = apply_place(i, item)
    if value == 0 then
      append(drop, item[1], id)
    elseif value ~= 1 then
      append(set, item[1], id)
      append(set, item[1], value)
    end
    local m = item[10]
    for j = 1, #m, 2 do moves[m[j]] = (moves[m[j]] or 0) + m[j + 1] end
    local l = item[11]
    for j = 1, #l, 4 do move_in_list(lists[l[j]], l[j + 1], l[j + 2], id, l[j + 3]) end
    local e = item[12]
    for j = 1, #e, 4 do
      append(appended, e[j], string.format('%.0f %.0f', now_ms, e[j + 2] - now_ms) .. e[j + 3])
      appended[e[j]].tenant = e[j + 1]
    end
  end

  local function verdict(i, item)
    local expect, value = item[3], kept[i]
    if type(expect) == 'number' then
      if listed(lists[expect], item[2]) then return 'I' end
    elseif (value and string.sub(value, 1, 8) or '') ~= expect then
      return 'C'
    end
    if item[5] ~= 0 and not (score[i] and math.floor(score[i]) == item[6] and item[6] > now and place[i] == item[5]) then return 'L' end
    if misplaced[i] then return 'M' end
    return 'D'
  end

  for i, item in ipairs(items) do
    local status = verdict(i, item)
    statuses[i] = status
    if status == 'D' then
      apply(i, item)
    elseif status == 'M' then
      values[#values + 1] = misplaced[i]
    elseif status ~= 'I' then
      values[#values + 1] = kept[i] or ''
    end
  end

  for key, pairs_ in pairs(set) do redis.call('HSET', KEYS[base + key], unpack(pairs_)) end
  for key, ids in pairs(drop) do redis.call('HDEL', KEYS[base + key], unpack(ids)) end
  for q, ids in pairs(leave) do redis.call('ZREM', KEYS[base + queues[q][1]], unpack(ids)) end
  for q, pairs_ in pairs(enter) do redis.call('ZADD', KEYS[base + queues[q][1]], unpack(pairs_)) end
  for key, ids in pairs(list_leave) do redis.call('ZREM', KEYS[base + key], unpack(ids)) end
  for key, pairs_ in pairs(list_enter) do redis.call('ZADD', KEYS[base + key], unpack(pairs_)) end
  for key, ids in pairs(text_drop) do redis.call('HDEL', KEYS[base + key], unpack(ids)) end
  for key, pairs_ in pairs(text_set) do redis.call('HSET', KEYS[base + key], unpack(pairs_)) end
  for c, by in pairs(moves) do
    if by ~= 0 then
      local key, field = KEYS[base + counters[c][1]], counters[c][2]
      if redis.call('HINCRBY', key, field, by) == 0 then redis.call('HDEL', key, field) end
    end
  end

  local news = {}
  for key, texts in pairs(appended) do
    append_events(KEYS[base + key], KEYS[base + 4], texts.tenant, texts, events_max)
    if #news == 0 then news[1] = 'events' end
  end

  local firsts, forward = {}, {}
  for q, queue in ipairs(queues) do
    firsts[q] = -1
    if touched[q] then
      firsts[q] = settle_queue(q, queue, news, forward)
    end
  end
  publish(section[2], now, news)
  return {table.concat(statuses), values, {now, firsts, forward}}
end

local answers = {}
for i, section in ipairs(sections) do answers[i] = commit(section) end
return answers
