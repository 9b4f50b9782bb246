-- Begin to write a value elsewhere: forget what is kept of it, and let nobody keep another until it
-- is settled, or the time is over. 1: you are the only one who writes it.
--
-- Atomic because a reader must not keep, between the two, what it read before the write.
--
-- KEYS[1]  the entry      ARGV[1]  a token
-- KEYS[2]  its holders    ARGV[2]  for how many ms
--
-- The holders: `-` is the lease of whoever makes the value, as lease.lua writes it; `w:<token>` is
-- somebody who writes it elsewhere. A writer takes the lease away from readers; of two writers
-- nobody knows who comes last, so that neither has it: it is `!`, which is nobody's token.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends, alone = now + ARGV[2], 1
local held = redis.pcall('HGETALL', KEYS[2])
if held.err then
  redis.call('DEL', KEYS[2])  -- of another type: not ours
  held = {}
end
redis.call('DEL', KEYS[1])
local own = string.format('%.0f', ends)
for i = 1, #held, 2 do
  local other = tonumber(held[i + 1])
  if string.sub(held[i], 1, 2) == 'w:' and other and other > now then
    alone, ends = 0, math.max(ends, other)
  end
end
local holder = alone == 1 and ARGV[1] or '!'
redis.call('HSET', KEYS[2], '-', holder .. ' ' .. string.format('%.0f', ends),
           'w:' .. ARGV[1], own)
redis.call('PEXPIRE', KEYS[2], string.format('%.0f', ends - now))
return alone
