-- Hand out what a one-time token stands for and forget it, or count a wrong guess.
--
-- Atomic because of two who come with it at once one must find it gone, and because guesses that
-- come at once must each be counted.
--
-- KEYS[1]  the token of a subject    ARGV[1]  locator    ARGV[2]  digest of the secret
local held = redis.pcall('HMGET', KEYS[1], 'i', 'h', 'd', 'n')
if held.err or held[1] ~= ARGV[1] or not held[4] then return false end
if held[2] == ARGV[2] then
  redis.call('DEL', KEYS[1])
  return held[3]
end
local left = tonumber(held[4]) - 1
if left > 0 then
  redis.call('HSET', KEYS[1], 'n', string.format('%.0f', left))
else
  redis.call('DEL', KEYS[1])
end
return false
