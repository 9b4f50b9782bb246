-- Writes the difference into a session that is still good, and into no other: a save cannot bring
-- back what a logout destroyed, and keys it does not name stay as other requests left them.
-- ARGV: idle ms, most bytes, bytes of a seal, guards, fields to set, fields to forget
local state, onward = look()
if state ~= 'live' then return {state, onward or ''} end
local refused = difference(4, ARGV[2], ARGV[3])
if refused then return refused end
touch(KEYS[1], ARGV[1])
return {state, now}
