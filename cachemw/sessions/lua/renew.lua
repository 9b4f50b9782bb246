-- Saves, and moves the session under a new id: KEYS[3]. With a grace the old key keeps, for that
-- long, what leads from the old id to the new one, and nothing else.
-- One step: a request with the old id finds the session before the move or the way after it, and
-- two requests that both want to renew end up with one new id.
-- ARGV: idle ms, grace ms, nonce, absolute ms for a new login or 0, guards, sets, forgets
local state = look()
if state ~= 'live' then return {state, onward or ''} end
local lost, at = conflict(5)
if lost then return {'conflict', lost} end
apply(at)

local grace, absolute = tonumber(ARGV[2]), tonumber(ARGV[4])
renewed = digits(now)
if absolute > 0 then
  login = digits(now)
  deadline = now + absolute
end
write_meta(KEYS[1])
redis.call('RENAME', KEYS[1], KEYS[3])
if entry then
  local began, device = string.match(entry, '^%d+ (%d+) %d+ (.*)$')
  enlist(KEYS[2], (began or created) .. ' ' .. digits(deadline) .. ' ' .. (device or ''))
  entry = nil
end
touch(KEYS[3], tonumber(ARGV[1]))
if grace > 0 then
  redis.call('HSET', KEYS[1], '@next', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], grace)
end
return {state, now, redis.call('HGETALL', KEYS[3])}
