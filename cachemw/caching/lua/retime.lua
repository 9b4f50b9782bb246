-- Move the end of an entry. 1: done, 0: there is none.
--
-- Atomic because the bytes must go into the entry that was looked at, and not make a new key.
--
-- KEYS[1]  the entry    ARGV[1]  fresh until, as its eight bytes    ARGV[2]  in how many ms that is
--
-- A sealed entry: seal 1-8, version 9, kind 10, flags 11, fresh until 12-19, spare 20-27.
local entry = redis.pcall('GETRANGE', KEYS[1], 0, 26)
if type(entry) ~= 'string' or #entry < 27 or string.sub(entry, 9, 10) ~= '\1E' then return 0 end
local spare = 0
for i = 20, 27 do spare = spare * 256 + string.byte(entry, i) end
redis.call('SETRANGE', KEYS[1], 11, ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[2] + spare))
return 1
