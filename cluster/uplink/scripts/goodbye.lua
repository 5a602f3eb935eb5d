#!lua flags=allow-oom
-- ARGV: generation, member. Nothing happens if the member is gone already.
local keys = current(ARGV[1])
if keys and redis.call('HEXISTS', keys.alive, ARGV[2]) == 1 then
  remove(keys, ARGV[2], '1')
  end_if_empty(keys)
end
return 1
