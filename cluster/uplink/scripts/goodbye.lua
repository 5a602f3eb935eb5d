#!lua flags=allow-oom
-- ARGV: generation, member. Nothing happens if the member is gone already. The last one takes the
-- generation with it.
local keys = current(ARGV[1])
if keys and redis.call('HEXISTS', keys.alive, ARGV[2]) == 1 then
  remove(keys, ARGV[2], '1')
  if redis.call('EXISTS', keys.alive) == 0 then
    redis.call('UNLINK', keys.read, keys.state, keys.log, life)
  end
end
return 1
