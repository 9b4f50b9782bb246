-- The fleet's clock: microseconds, never twice the same, never backwards.
--
-- Atomic because the next reading depends on the last one, whoever took it. The key holds the last
-- reading and how far this clock runs ahead of the server's own. While the server's clock behaves,
-- the offset is 0. When that clock falls back (somebody set it, or a replica with a slower clock
-- took over), the reading goes on from where it was, until the server has caught up.
--
-- KEYS[1]  the clock      ARGV[1]  how long it lives unused, in milliseconds
local now = redis.call('TIME')
local t = now[1] * 1000000 + now[2]
local kept = redis.pcall('GET', KEYS[1])
local last, offset = 0, 0
if type(kept) == 'string' then
  local a, b = string.match(kept, '^(%d+) (%d+)$')
  last, offset = tonumber(a) or 0, tonumber(b) or 0
end
if t > last then
  offset = 0
elseif t + offset <= last then
  offset = last + 1 - t
end
t = t + offset
redis.call('SET', KEYS[1], string.format('%.0f %.0f', t, offset), 'PX', ARGV[1])
return string.format('%.0f', t)
