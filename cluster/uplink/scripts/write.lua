#!lua
-- ARGV: generation, member, number, after, bytes that may be unread in an inbox and in the log, payload
-- of the log (empty: none), how many answers, each answer as request ID and payload, and for each inbox
-- its member and payload.
-- Returns the members whose inboxes refused; sent again, it returns the same and changes nothing. The
-- server runs all of this script or nothing: it is refused at its begin if memory is short.
local generation, member, number, after = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local inbox_limit, log_limit, payload = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

local keys = current(generation)
if not keys then return redis.error_reply(GENERATION) end
if redis.call('HEXISTS', keys.alive, member) == 0 then return redis.error_reply(GONE) end

local state = redis.call('HMGET', keys.state, 'n:' .. member, 'f:' .. member, 'log', 'base')
local last = tonumber(state[1])
if number <= last then
  local refused = {}
  if number == last then
    for other in string.gmatch(state[2] or '', '[^ ]+') do table.insert(refused, other) end
  end
  return refused
end
if number > last + 1 then
  return redis.error_reply('NUMBER turn ' .. digits(number) .. ' after ' .. digits(last))
end
if payload ~= '' then
  if tonumber(state[3]) - tonumber(state[4]) > log_limit then
    return redis.error_reply('FULL the log is full: a machine does not read it')
  end
  add_log(keys, 'T', member, payload, '')
end

local inboxes = 9 + 2 * tonumber(ARGV[8])
for i = 9, inboxes - 1, 2 do
  local key = site .. 'reply:' .. ARGV[i]
  redis.call('RPUSH', key, ARGV[i + 1])
  redis.call('EXPIRE', key, REPLY_TTL_S)
end
local refused = {}
for i = inboxes, #ARGV, 2 do
  local to = ARGV[i]
  if redis.call('HEXISTS', keys.alive, to) == 0 or is_full(keys, to, inbox_limit) then
    table.insert(refused, to)
  else
    add_inbox(keys, to, 'B', member, ARGV[i + 1], after)
  end
end
redis.call('HSET', keys.state, 'n:' .. member, digits(number), 'f:' .. member, table.concat(refused, ' '))
return refused
