-- What the scripts that read an inbox share. KEYS: 1 inbox, 2 highest epoch of a reader that has taken over.
-- ARGV: 1 group, 2 epoch, 3 consumer, then what the script adds. Answer: F alone when a higher epoch has taken over.

local reigning = tonumber(redis.call('GET', KEYS[2]) or '0')
if reigning > tonumber(ARGV[2]) then return 'F' end

-- A list of names and values as a table.
local function fields(list)
  local found = {}
  for i = 1, #list, 2 do found[list[i]] = list[i + 1] end
  return found
end

-- Entries as {id, command or nil, body or nil, bytes of the body, deliveries}; bodies are cut.
local function messages(entries, longest, deliveries)
  local found = {}
  for _, entry in ipairs(entries) do
    local has = fields(entry[2])
    local command, body = has['command'], has['body']
    found[#found + 1] = {
      entry[1],
      command and string.sub(command, 1, 64) or false,
      body and string.sub(body, 1, tonumber(longest)) or false,
      body and #body or 0,
      deliveries(entry[1]),
    }
  end
  return found
end
