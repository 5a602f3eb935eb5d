#!lua flags=allow-oom
-- ARGV: run, candidate, member, machine, owner, lease (ms), fingerprint.
-- Returns: generation, whether this member began it, ID of its Joined, and each member with the ID of
-- its Joined. Sent again, it returns the same.
local run, candidate, member, machine, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease, fingerprint = tonumber(ARGV[6]), ARGV[7]

local known = redis.call('HMGET', life, 'run', 'generation', 'fingerprint')
local now = clock()
local keys, alive = nil, {}
local generation = known[2]
if generation then
  keys = keys_of(generation)
  follow_clock(keys, now, false)
  alive = all(keys.alive)
end

local is_running = false
for _, deadline in pairs(alive) do
  is_running = is_running or tonumber(deadline) > now
end
if is_running and known[3] ~= fingerprint then
  return redis.error_reply('FINGERPRINT another site of the same name is running')
end

if not (is_running and known[1] == run and exists(keys)) then
  if generation then
    for other in pairs(alive) do redis.call('UNLINK', keys.inbox .. other) end
    redis.call('UNLINK', keys.alive, keys.read, keys.state, keys.log)
  end
  generation = candidate
  keys, alive = keys_of(generation), {}
  redis.call('HSET', life, 'run', run, 'generation', generation, 'fingerprint', fingerprint)
  redis.call('HSET', keys.state, 'last', digits(now), 'creator', member, 'base', 0)
end

if not alive[member] then
  local same = {}
  for other, deadline in pairs(alive) do
    if machine_of(other) == machine then
      if redis.call('HGET', keys.state, 'o:' .. other) ~= owner and tonumber(deadline) > now then
        return redis.error_reply('NAMETAKEN another machine named ' .. machine .. ' is running')
      end
      table.insert(same, other)
    end
  end
  table.sort(same)
  for _, other in ipairs(same) do remove(keys, other, '') end
  local id = add_log(keys, 'J', member, '', '')
  redis.call('HSET', keys.alive, member, digits(now + lease))
  redis.call('HSET', keys.read, member, id)
  redis.call('HSET', keys.state, 'o:' .. member, owner, 'j:' .. member, id, 'n:' .. member, 0,
    't:' .. member, 0, 'b:' .. member, 0, 'p:' .. member, digits(now))
  for _, key in ipairs({life, keys.alive, keys.read, keys.state, keys.log}) do
    redis.call('EXPIRE', key, TTL_S)
  end
end

local created = redis.call('HGET', keys.state, 'creator') == member
local answer = {generation, created and 1 or 0, redis.call('HGET', keys.state, 'j:' .. member)}
for _, other in ipairs(redis.call('HKEYS', keys.alive)) do
  table.insert(answer, other)
  table.insert(answer, redis.call('HGET', keys.state, 'j:' .. other))
end
return answer
