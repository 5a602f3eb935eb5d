#!lua flags=no-writes
-- ARGV: run, machine, owner, fingerprint, lease (ms).
-- Fails as hello would fail now. Changes nothing. A lease that lasts longer than one is from before the
-- clock was set back; whether its member still runs, hello will see.
local run, machine, owner, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease = tonumber(ARGV[5])

local known = redis.call('HMGET', life, 'run', 'generation', 'fingerprint')
if not known[2] then return 'OK' end
local keys, now = keys_of(known[2]), clock()
local is_current = known[1] == run and exists(keys)
for other, deadline in pairs(all(keys.alive)) do
  local left = tonumber(deadline) - now
  if left > 0 and left <= lease then
    if known[3] ~= fingerprint then
      return redis.error_reply('FINGERPRINT another site uses the same keys')
    end
    local is_same = machine_of(other) == machine
    if is_current and is_same and redis.call('HGET', keys.state, 'o:' .. other) ~= owner then
      return redis.error_reply('NAMETAKEN ' .. other .. ' is running')
    end
  end
end
return 'OK'
