-- The look of requests that are under way: they had found their session before, and are followed to
-- another id, however it came there: 'moved' by a renewal, or 'rotated' for a change of privilege.
-- After a login they hear that their session was 'replaced', as all do.
-- Gives the state and, for those who are led on, what the next id follows from.
local meta

local function look()
  local found = redis.pcall('HMGET', KEYS[1], '@', '@next', '@was', '@gone')
  if found.err then return 'unreadable' end
  if found[2] then return 'moved', found[2] end
  if found[3] then return 'rotated', found[3] end
  if found[4] then return 'replaced' end
  meta = found[1]
  if meta then return judged(meta) end
  return redis.call('EXISTS', KEYS[1]) == 1 and 'unreadable' or 'unknown'
end

-- ARGV from `at`: how many guards, three arguments for each (field, whether it was there, what it
-- was). Gives the first field that is otherwise now, and where the arguments go on.
local function conflict(at)
  local count = tonumber(ARGV[at])
  for i = at + 1, at + count * 3, 3 do
    local value = redis.call('HGET', KEYS[1], ARGV[i])
    if value ~= (ARGV[i + 1] == '1' and ARGV[i + 2]) then return ARGV[i], nil end
  end
  return nil, at + 1 + count * 3
end
