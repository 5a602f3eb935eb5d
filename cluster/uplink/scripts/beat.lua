#!lua flags=allow-oom
-- ARGV: generation, member, ID in the log and ID in its inbox up to which it has read, lease (ms),
-- bytes that may be unread in the log.
-- Returns the server's time in ms. It runs without memory, too: what it removes makes room.
local generation, member, log_id, inbox_id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease, log_limit = tonumber(ARGV[5]), tonumber(ARGV[6])

local keys = current(generation)
if not keys then return redis.error_reply(GENERATION) end
if redis.call('HEXISTS', keys.alive, member) == 0 then return redis.error_reply(GONE) end

local now = clock()
follow_clock(keys, now, true)
redis.call('HSET', keys.alive, member, digits(now + lease))

local read = redis.call('HGET', keys.read, member)
if less(read, log_id) then
  redis.call('HSET', keys.read, member, log_id)
  redis.call('HSET', keys.state, 'p:' .. member, digits(now))
end
trim(keys, keys.inbox .. member, inbox_id, 'b:' .. member, 't:' .. member)

local over, ended
for other, deadline in pairs(all(keys.alive)) do
  deadline = tonumber(deadline)
  if deadline <= now and (not over or deadline < ended or (deadline == ended and other < over)) then
    over, ended = other, deadline
  end
end
if over then remove(keys, over, '') end

local slowest, slowest_id
for other, id in pairs(all(keys.read)) do
  if not slowest or less(id, slowest_id) or (id == slowest_id and other < slowest) then
    slowest, slowest_id = other, id
  end
end
trim(keys, keys.log, slowest_id, 'base', 'log')

-- When the log is full nobody can write to it, so one that does not read it has to leave.
local state = redis.call('HMGET', keys.state, 'log', 'base', 'p:' .. slowest)
if not over and state[1] - state[2] > log_limit and now - state[3] > STALLED_MS then
  remove(keys, slowest, '')
  end_if_empty(keys)
end

for _, key in ipairs({life, keys.alive, keys.read, keys.state, keys.log, keys.inbox .. member}) do
  redis.call('EXPIRE', key, TTL_S)
end
return now
