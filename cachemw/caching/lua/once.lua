-- Is this the first time that this nonce is seen?
--
-- A script because looking and remembering must be one step: of two that come at the same moment
-- with the same nonce, one only is the first.
--
-- KEYS[1]  the nonce
-- ARGV[1]  for how many milliseconds it is remembered
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return 1
