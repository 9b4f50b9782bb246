-- Purge tags of one bucket: everything of theirs that was born until now is gone, or stale.
--
-- Atomic because the mark must never be younger than, or missing beside, a stamp that tells of a
-- purge: `ensure.lua` believes it. Instants only ever grow.
--
-- KEYS[1]   the bucket's mark           ARGV[1]  now, in microseconds
-- KEYS[2..] the stamps                  ARGV[2]  "1" to mark stale only
--                                       ARGV[3], ARGV[4]  how long marks and stamps live, in ms
--                                       ARGV[5..]  what each stamp's value begins with
local function later(a, b)
  -- Instants have sixteen digits: exact as Lua's numbers.
  return tonumber(a) > tonumber(b) and a or b
end
local function read(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or ''
end
local now = ARGV[1]
local mark = string.match(read(KEYS[1]), '^%d+$') or '0'
redis.call('SET', KEYS[1], later(mark, now), 'PX', ARGV[3])
for i = 2, #KEYS do
  local hard, soft = string.match(string.sub(read(KEYS[i]), 9), '^(%d+) (%d+)$')
  hard, soft = hard or '0', soft or '0'
  if ARGV[2] ~= '1' then hard = later(hard, now) end
  soft = later(soft, now)
  local lives = math.max(redis.call('PTTL', KEYS[i]), tonumber(ARGV[4]))
  redis.call('SET', KEYS[i], ARGV[i + 3] .. hard .. ' ' .. soft, 'PX', string.format('%.0f', lives))
end
return 1
