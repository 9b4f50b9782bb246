-- See to it that the stamps of an entry exist and outlive it. Answers 0 when the bucket had no mark:
-- the caller's claim stands there now, if nobody else's did, and it is to come again with a time read
-- after this.
--
-- Atomic because a stamp may begin before the entry only while no purge has come since its birth,
-- and the mark that says so must be the one of the same moment.
--
-- KEYS[1]   the bucket's mark           ARGV[1]  the entry's birth, in microseconds
-- KEYS[2..] the stamps                  ARGV[2]  now
--                                       ARGV[3], ARGV[4]  how long marks and stamps live, in ms
--                                       ARGV[5]  a claim, never used before
--                                       ARGV[6..]  what each stamp's value begins with
local function read(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or ''
end
local born, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local held = read(KEYS[1])
local mark = string.match(held, '^%d+$') and tonumber(held)
if not mark then
  if held ~= '?' .. ARGV[5] then
    if string.sub(held, 1, 1) ~= '?' then
      redis.call('SET', KEYS[1], '?' .. ARGV[5], 'PX', 1000)
    end
    return 0
  end
  mark = now
end
redis.call('SET', KEYS[1], string.format('%.0f', mark), 'PX', ARGV[3])
for i = 2, #KEYS do
  if not string.match(string.sub(read(KEYS[i]), 9), '^%d+ %d+$') then
    local since = mark < born and born - 1 or math.max(now, mark)
    since = string.format('%.0f', since)
    redis.call('SET', KEYS[i], ARGV[i + 4] .. since .. ' ' .. since, 'PX', ARGV[4])
  elseif redis.call('PTTL', KEYS[i]) < tonumber(ARGV[4]) then
    redis.call('PEXPIRE', KEYS[i], ARGV[4])
  end
end
return 1
