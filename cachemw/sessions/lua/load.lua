-- Reads a session and, with an idle limit above zero, counts this as activity.
-- One step: what was found good is touched before anybody can end it.
-- A request that only now comes with an old id is led on for a grace, and only by a renewal;
-- otherwise it hears that its session was 'replaced'.
-- ARGV: idle ms
-- Gives the fields and values by turns and then the time, or else a state, and what the next id
-- follows from. No list within the list: it takes a server as long as a command.
local all = redis.pcall('HGETALL', KEYS[1])
if all.err then return {'unreadable', ''} end
local meta
for i = 1, #all, 2 do
  local field = all[i]
  if field == '@' then
    meta = all[i + 1]
  elseif field == '@next' then
    return {'moved', all[i + 1]}
  elseif field == '@was' or field == '@gone' then
    return {'replaced', ''}
  end
end
if not meta then return {all[1] and 'unreadable' or 'unknown', ''} end
local state = judged(meta)
if state ~= 'live' then return {state, ''} end
if ARGV[1] ~= '0' then touch(KEYS[1], ARGV[1]) end
all[#all + 1] = now
return all
