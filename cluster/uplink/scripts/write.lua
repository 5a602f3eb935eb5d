#!lua
-- ARGV: generation, member, number, after, bytes that may be unread in an inbox and in the log,
-- payload of the log (empty: none), how many answers, each answer as request ID and payload, and for
-- each inbox its member and payload.
-- Returns the members whose inboxes refused; sent again, it returns the same and changes nothing. The
-- server runs all of this script or nothing: it is refused at its start if memory is short.
--
-- Each turn runs it, so it has few calls, and nothing of shared.lua: to define those functions would
-- take a fifth of its time. The keys and entries are described there. A member has the field n:MEMBER
-- in GEN:state exactly while it is one.
local site, generation, member, after = KEYS[1], ARGV[1], ARGV[2], ARGV[4]
local number, inbox_limit, log_limit = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local payload = ARGV[7]
local prefix = site .. generation .. ':'
local state = prefix .. 'state'
local inboxes = 9 + 2 * ARGV[8]
local ENTRY_BYTES, REPLY_TTL_S = 64, 60  -- as in shared.lua

local fields = {'n:' .. member, 'f:' .. member, 'log', 'base'}
for i = inboxes, #ARGV, 2 do
  fields[#fields + 1] = 't:' .. ARGV[i]
  fields[#fields + 1] = 'b:' .. ARGV[i]
end
local values = redis.call('HMGET', state, unpack(fields))
local last = tonumber(values[1] or nil)
if not values[3] then return redis.error_reply('GENERATION another generation has begun') end
if not last then return redis.error_reply('GONE this member was removed') end

local refused = {}
if number <= last then
  if number == last then
    for other in string.gmatch(values[2] or '', '[^ ]+') do refused[#refused + 1] = other end
  end
  return refused
end
if number > last + 1 then
  return redis.error_reply('NUMBER turn ' .. number .. ' after ' .. last)
end

local changed = {}
local function change(field, value)
  changed[#changed + 1] = field
  changed[#changed + 1] = type(value) == 'number' and string.format('%.0f', value) or value
end
if payload ~= '' then
  local before = tonumber(values[3])
  if before - values[4] > log_limit then
    return redis.error_reply('FULL the log is full: a machine does not read it')
  end
  local id = redis.call('XADD', prefix .. 'log', 'NOMKSTREAM', '*', 'k', 'T', 'm', member,
    'd', payload, 't', values[3], 'e', '')
  if not id then return redis.error_reply('GENERATION the log was deleted') end
  change('log', before + #payload + ENTRY_BYTES)
  after = id  -- what the inboxes get follows this entry
end
for i = 9, inboxes - 1, 2 do
  local key = site .. 'reply:' .. ARGV[i]
  redis.call('RPUSH', key, ARGV[i + 1])
  redis.call('EXPIRE', key, REPLY_TTL_S)
end
for i = inboxes, #ARGV, 2 do
  local to, data = ARGV[i], ARGV[i + 1]
  local before, base = values[i - inboxes + 5], values[i - inboxes + 6]
  if not before or before - base > inbox_limit then
    refused[#refused + 1] = to
  else
    redis.call('XADD', prefix .. 'in:' .. to, '*', 'k', 'B', 'm', member, 'd', data, 't', before,
      'a', after)
    change('t:' .. to, before + #data + ENTRY_BYTES)
  end
end
change('n:' .. member, number)
if #refused > 0 or (values[2] and values[2] ~= '') then
  change('f:' .. member, table.concat(refused, ' '))
end
redis.call('HSET', state, unpack(changed))
return refused
