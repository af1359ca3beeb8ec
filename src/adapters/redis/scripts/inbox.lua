-- What the scripts that read an inbox share. KEYS: 1 inbox, 2 highest epoch of a reader that has taken over.
-- ARGV: 1 group, 2 epoch, 3 consumer, 4 most messages, 5 longest body, 6 most bytes, then what the script adds.
-- Answer: F alone when a higher epoch has taken over.

local reigning = tonumber(redis.call('GET', KEYS[2]) or '0')
if reigning > tonumber(ARGV[2]) then return 'F' end

-- A list of names and values as a table, and its bytes.
local function fields(list)
  local found, bytes = {}, 0
  for i = 1, #list, 2 do
    found[list[i]] = list[i + 1]
    bytes = bytes + #list[i] + (type(list[i + 1]) == 'string' and #list[i + 1] or 0)
  end
  return found, bytes
end

-- Messages that have been given: {id, command or nil, body or nil, bytes of the body, deliveries}; bodies are cut.
local given, left = {}, tonumber(ARGV[6])

-- Takes an entry up. How long it is shows only now, so entries are fetched one by one, until there is no room for more.
local function take(entry, deliveries)
  local has, bytes = fields(entry[2])
  local command, body = has['command'], has['body']
  given[#given + 1] = {
    entry[1],
    command and string.sub(command, 1, 64) or false,
    body and string.sub(body, 1, tonumber(ARGV[5])) or false,
    body and #body or 0,
    deliveries,
  }
  left = left - bytes
end

local function has_room() return left > 0 and #given < tonumber(ARGV[4]) end
