-- Saves, and moves the session under a new id: KEYS[3]. The old key keeps for a moment what leads
-- from the old id to the new one, and nothing else: for everybody, or for requests under way only.
-- One step: a request with the old id finds the session before the move or the way after it, and
-- two requests that both want to renew end up with one new id.
-- ARGV: idle ms, how long the way is kept in ms, nonce, absolute ms for a new login or 0,
--       @next or @was, most bytes, bytes of a seal, guards, sets, forgets
local state, onward = look()
if state ~= 'live' then return {state, onward or ''} end
local refused = difference(8, ARGV[6], ARGV[7])
if refused then return refused end

local absolute = tonumber(ARGV[4])
local created, login = string.match(meta, '^1 (%d+) %d+ (%d+)')
if absolute > 0 then
  login = digits(now)
  deadline = now + absolute
end
write_meta(KEYS[1], created, login, digits(now))
redis.call('RENAME', KEYS[1], KEYS[3])
if entry then
  local _, began, _, device = parts_of(entry)
  enlist(KEYS[2], (began or created) .. ' ' .. digits(deadline) .. ' ' .. (device or ''))
  entry = nil
end
touch(KEYS[3], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[5], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {state, now, redis.call('HGETALL', KEYS[3])}
