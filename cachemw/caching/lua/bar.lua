-- Bar tags until an instant, or lift that again. Answers, for each, until when they were barred.
--
-- An entry is valid if it is younger than the stamps of its tags. With a stamp that lies ahead none
-- is, whatever becomes of whoever wrote it. Lifted, it says "now", which is a purge; unless another
-- writer's bar is up as well, which stays.
--
-- Atomic because the mark must never be older than a purge that a stamp tells of: `ensure.lua`
-- believes it. The mark takes no part in the bar, since it speaks for other tags, too.
--
-- KEYS[1]   the bucket's mark     ARGV[1]  now, in microseconds
-- KEYS[2..] the stamps            ARGV[2]  the bar to put up, or to lift
--                                 ARGV[3], ARGV[4]  how long marks and stamps live, in ms
--                                 then for each stamp: what its value begins with, and nothing to
--                                 put the bar up, or what was answered then, to lift it
local function later(a, b)
  return tonumber(a) > tonumber(b) and a or b
end
local function read(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or ''
end
local now, bar, before = ARGV[1], ARGV[2], {}
local mark = string.match(read(KEYS[1]), '^%d+$') or '0'
redis.call('SET', KEYS[1], later(mark, now), 'PX', ARGV[3])
for i = 2, #KEYS do
  local seal, found = ARGV[2 * i + 1], ARGV[2 * i + 2]
  local hard, soft = string.match(string.sub(read(KEYS[i]), 9), '^(%d+) (%d+)$')
  hard, soft = hard or '0', soft or '0'
  before[i - 1] = hard
  if found == '' then
    hard = later(hard, bar)
  elseif hard == bar then
    hard = later(found, now)
  else
    hard = later(hard, now)
  end
  local lives = math.max(redis.call('PTTL', KEYS[i]), tonumber(ARGV[4]))
  redis.call('SET', KEYS[i], seal .. hard .. ' ' .. later(soft, now),
             'PX', string.format('%.0f', lives))
end
return before
