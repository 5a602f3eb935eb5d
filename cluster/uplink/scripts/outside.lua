#!lua
-- ARGV: ID of the request, payload, machine to prefer (empty: none), bytes that may be unread in an inbox.
-- Puts an external request into the inbox of one live member, and returns that member. Sent again, it
-- returns the same member and changes nothing. The answer is pushed to the list "reply:ID".
local id, data, prefer, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local placed = redis.call('GET', site .. 'request:' .. id)
if placed then return placed end
local generation = redis.call('HGET', life, 'generation')
local keys = generation and current(generation)
local now = clock()
local preferred, members = {}, {}
for member, deadline in pairs(keys and all(keys.alive) or {}) do
  if tonumber(deadline) > now then
    table.insert(machine_of(member) == prefer and preferred or members, member)
  end
end
if #members + #preferred == 0 then
  return redis.error_reply('NOBODY no machine of this site is running')
end

-- Take them in turn, the preferred machine first.
table.sort(members)
local order = redis.call('HINCRBY', life, 'order', 1)
for i = 1, #members do table.insert(preferred, members[(order + i - 2) % #members + 1]) end
for _, member in ipairs(preferred) do
  if not is_full(keys, member, limit) then
    add_inbox(keys, member, 'X', id, data, '')
    redis.call('SET', site .. 'request:' .. id, member, 'EX', REPLY_TTL_S)
    return member
  end
end
return redis.error_reply('FULL no machine has room for the request')
