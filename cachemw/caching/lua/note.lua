-- Enter a purge in the journal. Answers the note's id.
--
-- Atomic because each note names the one before it, by which readers see that none is missing.
--
-- KEYS[1]  the journal, a stream    ARGV[1]  how many notes to keep, roughly
--                                   ARGV[2]  for how many ms
--                                   ARGV[3]  the region    ARGV[4]  what    ARGV[5..]  names
local last = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last.err then
  redis.call('DEL', KEYS[1])  -- of another type: not ours
  last = {}
end
local note = {'before', last[1] and last[1][1] or '-', 'region', ARGV[3], 'what', ARGV[4]}
for i = 5, #ARGV do
  note[#note + 1] = 'name'
  note[#note + 1] = ARGV[i]
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(note))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return id
