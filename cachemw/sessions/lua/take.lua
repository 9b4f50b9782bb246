-- Ends a session and hands out what it held: for a logout, or to go on under another subject.
-- One step: of two requests that take the same session one gets it, and what others saved up to
-- this moment is in it.
-- ARGV: guards
local state = look(true)
if state ~= 'live' then return {state, onward or ''} end
local lost = conflict(1)
if lost then return {'conflict', lost} end
local fields = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1])
if entry then redis.call('HDEL', KEYS[2], entry_field()) end
return {state, now, fields}
