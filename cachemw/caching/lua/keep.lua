-- Store an entry, if the lease of whoever made it still stands. 1: kept, 0: not, 2: too many variants.
--
-- Atomic because a purge of the URL, which forgets the leases, must not come between the look and
-- the write. A variant goes up together with the signpost that leads to it.
--
-- KEYS[1]  the record          ARGV[1]  the variant   ARGV[2]  the token   ARGV[3]  for how many ms
-- KEYS[2]  the leases          ARGV[4]  the entry, or the signpost with a new generation
-- KEYS[3]  the variant's, or   ARGV[5]  the variant's entry   ARGV[6]  how many variants may be
--          nothing
--
-- A sealed record: seal 1-8, version 9, kind 10, flags 11, generation 12-19, variants 20-21,
-- length 22-25, header 26 and on.
local held = redis.pcall('HGET', KEYS[2], ARGV[1])
if type(held) ~= 'string' or string.match(held, '^(%S+) ') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
if #KEYS == 2 then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
  return 1
end

local new = ARGV[4]
local generation, variants, softened = string.sub(new, 12, 19), 0, ''
local old = redis.pcall('GET', KEYS[1])
if type(old) == 'string' and string.sub(old, 10, 10) == 'V'
   and string.sub(old, 22, #new) == string.sub(new, 22) then
  generation = string.sub(old, 12, 19)
  variants = string.byte(old, 20) * 256 + string.byte(old, 21)
  softened = string.sub(old, #new + 1)
end
local there = redis.pcall('GETRANGE', KEYS[3], 11, 18)
if there ~= generation then
  variants = variants + 1
  if variants > tonumber(ARGV[6]) then return 2 end
end
local lives = math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3]))
local count = string.char(math.floor(variants / 256), variants % 256)
redis.call('SET', KEYS[1], string.sub(new, 1, 11) .. generation .. count .. string.sub(new, 22)
           .. softened, 'PX', string.format('%.0f', lives))
local entry = ARGV[5]
redis.call('SET', KEYS[3], string.sub(entry, 1, 11) .. generation .. string.sub(entry, 20),
           'PX', ARGV[3])
return 1
