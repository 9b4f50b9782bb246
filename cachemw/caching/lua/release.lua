-- Give a lease back without an entry, and perhaps say that there is none to wait for.
--
-- Atomic because only its holder may give a lease back, and a refusal must not replace an entry.
--
-- KEYS[1]  the record     ARGV[1]  the lease   ARGV[2]  the token
-- KEYS[2]  the leases     ARGV[3]  a refusal or nothing   ARGV[4]  for how many ms
local held = redis.pcall('HGET', KEYS[2], ARGV[1])
if type(held) ~= 'string' or string.match(held, '^(%S+) %d+$') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4], 'NX')
end
return 1
