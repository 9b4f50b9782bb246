-- Forget fields of one key. A script because the store has no verb for parts of a key.
--
-- KEYS[1]  a hash, as fields_set.lua writes it
-- ARGV     the fields
local dropped = redis.pcall('HDEL', KEYS[1], unpack(ARGV))
return type(dropped) == 'number' and dropped or 0
