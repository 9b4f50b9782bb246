-- See to it that the stamps of an entry exist and outlive it. Answers 0 when the bucket had no mark:
-- the caller's claim stands there now, if nobody else's did, and it is to come again with a time read
-- after this.
--
-- Atomic because a stamp that is made must not be older than a purge, and the mark that tells of
-- the last one must be that of the same moment.
--
-- KEYS[1]   the bucket's mark           ARGV[1]  now, in microseconds; read after the claim was put
-- KEYS[2..] the stamps                  ARGV[2], ARGV[3]  how long marks and stamps live, in ms
--                                       ARGV[4]  a claim, never used before
--                                       ARGV[5..]  what each stamp's value begins with
local function read(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or ''
end
local held = read(KEYS[1])
local mark = string.match(held, '^%d+$')
if not mark then
  if held ~= '?' .. ARGV[4] then
    if string.sub(held, 1, 1) ~= '?' then
      redis.call('SET', KEYS[1], '?' .. ARGV[4], 'PX', 1000)
    end
    return 0
  end
  mark = ARGV[1]
end
redis.call('SET', KEYS[1], mark, 'PX', ARGV[2])
for i = 2, #KEYS do
  if not string.match(string.sub(read(KEYS[i]), 9), '^%d+ %d+$') then
    redis.call('SET', KEYS[i], ARGV[i + 3] .. mark .. ' ' .. mark, 'PX', ARGV[3])
  elseif redis.call('PTTL', KEYS[i]) < tonumber(ARGV[3]) then
    redis.call('PEXPIRE', KEYS[i], ARGV[3])
  end
end
return 1
