-- Ends a session and hands out what it held: for a logout, or to go on under another subject.
-- One step: of two requests that take the same session one gets it, and what others saved up to
-- this moment is in it.
-- Where another session follows, a sign stays for a moment: whoever still comes with the old id must
-- not begin a third one, whose cookie would push the new one out of the browser.
-- ARGV: how long the sign stays in ms (0: there is none), guards
local state, onward = look()
if state ~= 'live' then return {state, onward or ''} end
local lost = conflict(2)
if lost then return {'conflict', lost} end
local fields = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1])
if tonumber(ARGV[1]) > 0 then
  redis.call('HSET', KEYS[1], '@gone', '1')
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
if entry then redis.call('HDEL', KEYS[2], entry_field) end
return {state, now, fields}
