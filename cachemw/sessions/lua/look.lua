-- Stands in front of every step on one session. KEYS[1] is its record, KEYS[2] the index of its
-- place. That a session is good (it exists, its time is not up, its subject did not revoke it) has
-- to be found out in the same step that acts on it: otherwise a logout could come between, and a
-- save would bring the session back.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local created, deadline, login, renewed, subject, handle, entry, onward

local function digits(number) return string.format('%d', number) end

local function entry_field() return subject .. ':' .. handle end

-- A number of the width that a clock of ours writes: with more digits, somebody else wrote it.
local function is_moment(text) return #text <= 14 end

-- Seen, began, till, device: of an entry of our making, and nothing of any other.
local function parts_of(found)
  local seen, began, till, device = string.match(found, '^(%d+) (%d+) (%d+) (.*)$')
  if seen and is_moment(seen) and is_moment(began) and is_moment(till) then
    return seen, began, till, device
  end
end

-- `under_way` is whether the request had found its session before: then it is followed to another
-- id, however it came there: 'moved' by a renewal, or 'rotated' for a change of privilege. A request
-- that only now comes with an old id is led on for a grace, and only by a renewal; otherwise it hears
-- that its session was 'replaced', as all do after a login.
local function look(under_way)
  local found = redis.pcall('HMGET', KEYS[1], '@', '@next', '@was', '@gone')
  if found.err then return 'unreadable' end
  onward = found[2] or nil
  if onward then return 'moved' end
  if found[3] and under_way then
    onward = found[3]
    return 'rotated'
  end
  if found[3] or found[4] then return 'replaced' end
  if not found[1] then
    if redis.call('EXISTS', KEYS[1]) == 1 then return 'unreadable' end
    return 'unknown'
  end
  created, deadline, login, renewed, subject, handle =
    string.match(found[1], '^1 (%d+) (%d+) (%d+) (%d+) ([%x-]+) (%x+)$')
  if not created or not (is_moment(created) and is_moment(deadline) and is_moment(login)
      and is_moment(renewed)) then
    return 'unreadable'
  end
  deadline = tonumber(deadline)
  if deadline <= now then
    redis.call('DEL', KEYS[1])
    return 'unknown'
  end
  if subject ~= '-' then
    entry = redis.pcall('HGET', KEYS[2], entry_field())
    if type(entry) ~= 'string' then
      -- Revoked; or the index was evicted, and then nobody knows: refused as well.
      redis.call('DEL', KEYS[1])
      return 'revoked'
    end
  end
  return 'live'
end

-- Activity moves the idle limit, never the deadline.
local function touch(key, idle)
  redis.call('PEXPIRE', key, math.min(idle, deadline - now))
  if not entry then return end
  local _, began, till, device = parts_of(entry)
  if began then
    redis.call('HSET', KEYS[2], entry_field(), table.concat({digits(now), began, till, device}, ' '))
  end
end

-- An entry of the index, and the index itself, outlive the session.
local function enlist(key, seen_rest)
  redis.call('HSET', key, entry_field(), digits(now) .. ' ' .. seen_rest)
  local left = redis.call('PTTL', key)
  if left < deadline - now then redis.call('PEXPIRE', key, deadline - now) end
end

local function write_meta(key)
  redis.call('HSET', key, '@', table.concat({
    '1', created, digits(deadline), login, renewed, subject, handle}, ' '))
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

-- How large the session would be with what `apply` is about to do, and nothing if that is allowed.
-- Here, because what other requests saved meanwhile counts too. ARGV from `at`: as in `apply`;
-- `most` bytes for all keys and values, where each value is `seal` bytes longer than it was.
local function outgrown(at, most, seal)
  local count = tonumber(ARGV[at])
  if count == 0 then return nil end
  local sizes = {}
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if field ~= '@' then
      sizes[field] = #field + redis.call('HSTRLEN', KEYS[1], field) - seal
    end
  end
  for i = at + 1, at + count * 2, 2 do sizes[ARGV[i]] = #ARGV[i] + #ARGV[i + 1] - seal end
  for i = at + 1 + count * 2, #ARGV do sizes[ARGV[i]] = nil end
  local total = 0
  for _, size in pairs(sizes) do total = total + size end
  return total > most and total or nil
end

-- ARGV from `at`: how many fields to set, two arguments for each; then fields to forget.
local function apply(at)
  local count = tonumber(ARGV[at])
  for i = at + 1, at + count * 2, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
  for i = at + 1 + count * 2, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
end

-- Write a difference: guards from `at`, then what `apply` takes. Nothing, or the reply that says why
-- it was not written.
local function difference(at, most, seal)
  local lost, rest = conflict(at)
  if lost then return {'conflict', lost} end
  local large = outgrown(rest, tonumber(most), tonumber(seal))
  if large then return {'large', large} end
  apply(rest)
end
