-- Reads a session and, with an idle limit above zero, counts this as activity.
-- One step: what was found good is touched before anybody can end it.
-- ARGV: idle ms
local state = look(false)
if state ~= 'live' then return {state, onward or ''} end
local idle = tonumber(ARGV[1])
if idle > 0 then touch(KEYS[1], idle) end
return {state, now, redis.call('HGETALL', KEYS[1])}
