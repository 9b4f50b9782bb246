-- What is written of a session that begins, or goes on under another id: its field @, and its entry
-- in the index.
local function digits(number) return string.format('%d', number) end

local function write_meta(key, created, login, renewed)
  local subject_and_handle = string.gsub(entry_field, ':', ' ')
  redis.call('HSET', key, '@', table.concat({
    '1', created, digits(deadline), login, renewed, subject_and_handle}, ' '))
end

-- A number of the width that a clock of ours writes: with more digits, somebody else wrote it.
local function is_moment(text) return #text <= 14 end

-- Seen, began, till, device: of an entry of our making, and nothing of any other.
local function parts_of(found)
  local seen, began, till, device = string.match(found, '^(%d+) (%d+) (%d+) (.*)$')
  if seen and is_moment(seen) and is_moment(began) and is_moment(till) then
    return seen, began, till, device
  end
end

-- An entry of the index, and the index itself, outlive the session.
local function enlist(key, seen_rest)
  redis.call('HSET', key, entry_field, digits(now) .. ' ' .. seen_rest)
  local left = redis.call('PTTL', key)
  if left < deadline - now then redis.call('PEXPIRE', key, deadline - now) end
end
