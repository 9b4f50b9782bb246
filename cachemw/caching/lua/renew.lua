-- Prolong a lease, if it still stands. 1: it does, 0: it was purged, has ended or was lost.
--
-- Atomic because a lease that a purge has just forgotten must not come back.
--
-- KEYS[1]  the leases      ARGV[1]  the variant   ARGV[2]  the token   ARGV[3]  for how many ms
local held = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(held) ~= 'string' or string.match(held, '^(%S+) %d+$') ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', ends))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
