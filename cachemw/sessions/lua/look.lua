-- Stands in front of every step on one session. KEYS[1] is its record, KEYS[2] the index of its
-- place. That a session is good (it exists, its time is not up, its subject did not revoke it) has
-- to be found out in the same step that acts on it: otherwise a logout could come between, and a
-- save would bring the session back.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local deadline, subject, entry_field, entry

-- What `meta`, the field @ of a record that has it, says of the session: 'live', or why it is not.
-- The moments in it but the deadline are read by who needs them; nobody computes with more digits
-- than a clock of ours writes.
local function judged(meta)
  local till, handle
  till, subject, handle = string.match(meta, '^1 %d+ (%d+) %d+ %d+ ([%x-]+) (%x+)$')
  if not till or #till > 14 then return 'unreadable' end
  deadline = tonumber(till)
  if deadline <= now then
    redis.call('DEL', KEYS[1])
    return 'unknown'
  end
  entry_field = subject .. ':' .. handle
  if subject ~= '-' then
    entry = redis.pcall('HGET', KEYS[2], entry_field)
    if type(entry) ~= 'string' then
      -- Revoked; or the index was evicted, and then nobody knows: refused as well.
      redis.call('DEL', KEYS[1])
      return 'revoked'
    end
  end
  return 'live'
end

-- Activity moves the idle limit, never the deadline. Of an entry that is not of our making nothing
-- is changed.
local function touch(key, idle)
  if deadline - now < tonumber(idle) then idle = deadline - now end
  redis.call('PEXPIRE', key, idle)
  if not entry then return end
  local seen, began, till = string.match(entry, '^%d+() %d+() %d+() ')
  if seen and seen <= 15 and began - seen <= 15 and till - began <= 15 then
    redis.call('HSET', KEYS[2], entry_field, string.format('%d', now) .. string.sub(entry, seen))
  end
end
