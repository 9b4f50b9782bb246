-- The fleet's clock: microseconds, never twice the same, never backwards.
--
-- Atomic because the next reading depends on the last one, whoever took it. The key holds the last
-- reading and how far this clock runs ahead of the server's own. While the server's clock behaves,
-- the offset is 0. When that clock falls back (somebody set it, or a replica with a slower clock
-- took over), the reading goes on from where it was, until the server has caught up.
--
-- A replica that takes over may not have heard of the last readings, and an evicted key forgets
-- them: so each caller says the last one that it has seen.
--
-- KEYS[1]  the clock      ARGV[1]  how long it lives unused, in ms      ARGV[2]  a reading, or 0
local now = redis.call('TIME')
local t = now[1] * 1000000 + now[2]
local kept = redis.pcall('GET', KEYS[1])
local last, offset = 0, 0
if type(kept) == 'string' and #kept <= 33 then
  local a, b = string.match(kept, '^(%d+) (%d+)$')
  a, b = tonumber(a) or 0, tonumber(b) or 0
  if a < 9e15 and b < 9e15 then last, offset = a, b end
end
last = math.max(last, tonumber(ARGV[2]))
if t > last then
  offset = 0
elseif t + offset <= last then
  offset = last + 1 - t
end
t = t + offset
redis.call('SET', KEYS[1], string.format('%.0f %.0f', t, offset), 'PX', ARGV[1])
return string.format('%.0f', t)
