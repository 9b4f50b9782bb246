-- Writes the difference into a session that is still good, and into no other: a save cannot bring
-- back what a logout destroyed, and keys it does not name stay as other requests left them.
-- ARGV: idle ms, most bytes, bytes of a seal, guards, fields to set, fields to forget
local state = look(true)
if state ~= 'live' then return {state, onward or ''} end
local lost, at = conflict(4)
if lost then return {'conflict', lost} end
local large = outgrown(at, tonumber(ARGV[2]), tonumber(ARGV[3]))
if large then return {'large', large} end
apply(at)
touch(KEYS[1], tonumber(ARGV[1]))
return {state, now}
