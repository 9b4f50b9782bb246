-- Begins a session and, for a subject, lists it as good and ends the least recently used ones
-- above the limit. One step: two logins at once must not both find room for one.
-- ARGV: idle ms, absolute ms, subject or -, handle, 1 for a login, most sessions (0: no limit),
--       device, then field and value by turns
local idle, absolute, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[6])
subject, entry_field = ARGV[3], ARGV[3] .. ':' .. ARGV[4]
local created = digits(now)
deadline = now + absolute

-- Without a limit nobody has to make room, and a look at all entries would take the longer the more
-- there are: a few of them with each login keep those few whose time is up.
local function entries()
  if most > 0 then return redis.pcall('HGETALL', KEYS[2]) end
  return redis.pcall('HRANDFIELD', KEYS[2], 16, 'WITHVALUES')
end

local evicted = {}
if subject ~= '-' then
  local all = entries()
  if all.err then
    redis.call('DEL', KEYS[2])
    all = {}
  end
  local mine = {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, #subject + 1) == subject .. ':' then
      local seen, _, till = parts_of(all[i + 1])
      seen, till = tonumber(seen or 0), tonumber(till or 0)
      if till <= now or seen + idle <= now then
        redis.call('HDEL', KEYS[2], all[i])
      else
        mine[#mine + 1] = {seen, all[i]}
      end
    end
  end
  if most > 0 and #mine >= most then
    table.sort(mine, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
    for i = 1, #mine - most + 1 do
      redis.call('HDEL', KEYS[2], mine[i][2])
      evicted[#evicted + 1] = string.sub(mine[i][2], #subject + 2)
    end
  end
  enlist(KEYS[2], created .. ' ' .. digits(deadline) .. ' ' .. ARGV[7])
end

redis.call('DEL', KEYS[1]) -- nothing of ours can be there; let nothing else be mixed in
write_meta(KEYS[1], created, ARGV[5] == '1' and created or '0', created)
for i = 8, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], math.min(idle, absolute))
return {'live', now, evicted}
