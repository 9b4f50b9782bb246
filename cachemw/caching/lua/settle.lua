-- Say what the value is now: this one, or an unknown one. Nobody's reading from before counts any
-- more. 1: kept, 2: not, and there was an entry, 0: not, and there was none.
--
-- Atomic because neither a reader's lease nor another writer's hold may come in between.
--
-- KEYS[1]  the entry      ARGV[1]  the token of the hold that ends here, or nothing
-- KEYS[2]  its holders    ARGV[2]  the sealed entry, or nothing      ARGV[3]  for how many ms
--
-- While others write the value, nobody knows which of the writes came last: nothing is kept.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.pcall('HGETALL', KEYS[2])
if held.err then held = {} end
local ends, lease = 0, ''
for i = 1, #held, 2 do
  if held[i] == '-' then
    lease = string.match(held[i + 1], '^(%S+) ') or ''
  elseif string.sub(held[i], 1, 2) == 'w:' and held[i] ~= 'w:' .. ARGV[1] then
    local other = tonumber(held[i + 1])
    if other and other > now then ends = math.max(ends, other) end
  end
end
if ends > 0 then
  redis.call('HDEL', KEYS[2], 'w:' .. ARGV[1])
  redis.call('HSET', KEYS[2], '-', '! ' .. string.format('%.0f', ends))
  return 2 * redis.call('DEL', KEYS[1])
end
redis.call('DEL', KEYS[2])
if ARGV[2] == '' or (ARGV[1] ~= '' and lease ~= ARGV[1]) then
  return 2 * redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
