-- Take an entry away: what it is, and that nobody else gets it.
--
-- Atomic because of two who take it at once one must find it gone.
--
-- KEYS[1]  the entry      KEYS[2]  its holders
local entry = redis.pcall('GET', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2])
return type(entry) == 'string' and entry or false
