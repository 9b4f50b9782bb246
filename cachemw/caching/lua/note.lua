-- Enter a purge in the journal. Answers the note's id.
--
-- Atomic because each note names the one before it, by which readers see that none is missing. The
-- first one of a journal gets a number that was never used, lest it be taken for one that was lost.
--
-- KEYS[1]  the journal, a stream    ARGV[1]  how many notes to keep, roughly
--                                   ARGV[2]  for how many ms
--                                   ARGV[3]  the number, if this note is the first
--                                   ARGV[4]  the region    ARGV[5]  what    ARGV[6..]  names
local last, id, before = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1), '*', '-'
if last[1] then
  before = last[1][1]
else
  redis.call('DEL', KEYS[1])  -- it may be of another type: not ours
  local time = redis.call('TIME')
  id = string.format('%.0f-%s', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[3])
end
local note = {'before', before, 'region', ARGV[4], 'what', ARGV[5]}
for i = 6, #ARGV do
  note[#note + 1] = 'name'
  note[#note + 1] = ARGV[i]
end
id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], id, unpack(note))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return id
