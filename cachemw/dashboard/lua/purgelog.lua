-- Enter a purge in the log of the dashboard, and answer the whole log, in no order.
--
-- Atomic because two who purge at the same moment must not lose each other's line, and because the
-- log must neither grow beyond its size nor live without an end.
--
-- KEYS[1]  the log, a hash      ARGV[1]  the line's name, whose order is that of time; empty to read
--                               ARGV[2]  the line   ARGV[3]  how many are kept   ARGV[4]  ms it lives
local log = redis.pcall('HGETALL', KEYS[1])
if log.err then
  redis.call('DEL', KEYS[1])  -- it is of another type: not ours
  log = {}
end
if ARGV[1] == '' then return log end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local names = redis.call('HKEYS', KEYS[1])
table.sort(names)
for i = 1, #names - tonumber(ARGV[3]) do
  redis.call('HDEL', KEYS[1], names[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return redis.call('HGETALL', KEYS[1])
