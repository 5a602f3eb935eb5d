-- Put in front of each script. KEYS[1] is the prefix of the site's keys, "c10k:{SITE}:".
--
--   life        hash: run (the server and its replication history), generation, fingerprint, order
--   GEN:alive   hash: member -> when its lease ends, in ms of the server's clock
--   GEN:read    hash: member -> the last ID of the log that it has applied
--   GEN:state   hash: last (time of the last beat), creator, log and base (bytes that were ever added
--               to and removed from the log), and for each member M: o:M owner, j:M ID of its Joined,
--               n:M number of its last turn, f:M inboxes that refused it, t:M and b:M (bytes that were
--               ever added to and removed from its inbox), p:M when it has last read from the log
--   GEN:log     stream: k (J, L or T), m member, d payload, t bytes that were added before, e (of L)
--   GEN:in:M    stream: k (B or X), m sender, d payload, t bytes that were added before, a ("after")
--   request:ID  string: which member has the external request; reply:ID  list: its answer
--
-- A server that evicts keys may take any of them. All of GEN:alive, read, state and log exist while
-- a generation lives, so a missing one ends it.

local TTL_S = 3600           -- seconds that the keys outlive the last beat
local REPLY_TTL_S = 60       -- seconds that a request and its answer are kept
local ENTRY_BYTES = 64       -- what an entry counts beside its payload
local BEAT_MS = 1000         -- milliseconds between two beats of a member
local JUMP_MS = 3000         -- the clock has jumped if it moved more between any two beats
local STALLED_MS = 10000     -- milliseconds without reading after which a member may not fill the log

local site = KEYS[1]
local life = site .. 'life'

local function keys_of(generation)
  local prefix = site .. generation .. ':'
  return {
    alive = prefix .. 'alive',
    read = prefix .. 'read',
    state = prefix .. 'state',
    log = prefix .. 'log',
    inbox = prefix .. 'in:',
  }
end

local function exists(keys)
  return redis.call('EXISTS', keys.alive, keys.read, keys.state, keys.log) == 4
end

-- The keys of this generation, or nil if another one has begun.
local function current(generation)
  if redis.call('HGET', life, 'generation') ~= generation then return nil end
  local keys = keys_of(generation)
  if exists(keys) then return keys end
  return nil
end

local GENERATION = 'GENERATION another generation has begun'
local GONE = 'GONE this member was removed'

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Lua would write large numbers with an exponent.
local function digits(number)
  return string.format('%.0f', number)
end

-- A hash as a table.
local function all(key)
  local flat = redis.call('HGETALL', key)
  local values = {}
  for i = 1, #flat, 2 do values[flat[i]] = flat[i + 1] end
  return values
end

local function parts(id)
  local milliseconds, number = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(milliseconds), tonumber(number)
end

-- As core.machines.names.machine_of_member.
local function machine_of(member)
  return string.match(member, '^(.*)~')
end

local function less(one, other)
  local one_ms, one_number = parts(one)
  local other_ms, other_number = parts(other)
  return one_ms < other_ms or (one_ms == other_ms and one_number < other_number)
end

local function add_log(keys, kind, member, data, ended)
  local added = redis.call('HINCRBY', keys.state, 'log', #data + ENTRY_BYTES)
  local before = digits(added - #data - ENTRY_BYTES)
  return redis.call('XADD', keys.log, '*', 'k', kind, 'm', member, 'd', data, 't', before, 'e', ended)
end

local function add_inbox(keys, to, kind, member, data, after)
  local added = redis.call('HINCRBY', keys.state, 't:' .. to, #data + ENTRY_BYTES)
  local before = digits(added - #data - ENTRY_BYTES)
  redis.call('XADD', keys.inbox .. to, '*', 'k', kind, 'm', member, 'd', data, 't', before, 'a', after)
end

-- Whether the inbox of a member has more than `limit` bytes that it has not read.
local function is_full(keys, member, limit)
  local bytes = redis.call('HMGET', keys.state, 't:' .. member, 'b:' .. member)
  return (tonumber(bytes[1]) or 0) - (tonumber(bytes[2]) or 0) > limit
end

local function remove(keys, member, ended)
  redis.call('HDEL', keys.alive, member)
  redis.call('HDEL', keys.read, member)
  redis.call('HDEL', keys.state, 'o:' .. member, 'j:' .. member, 'n:' .. member, 'f:' .. member,
    't:' .. member, 'b:' .. member, 'p:' .. member)
  redis.call('UNLINK', keys.inbox .. member)
  add_log(keys, 'L', member, '', ended)
end

-- Remove the entries up to `id`, and note in `field` how many bytes were removed in all.
local function trim(keys, stream, id, field, total)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  if redis.call('XTRIM', stream, 'MINID', '=', ms .. '-' .. digits(number + 1)) == 0 then return end
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  local base = first and first[2][8] or redis.call('HGET', keys.state, total)
  redis.call('HSET', keys.state, field, base)
end

-- After a jump all leases move with the clock: of all members, or none, the time seems to be over.
-- Only a beat sees that it went forwards: without beats the time passes, too. Hello sees that it was set
-- back, or the leases of members that ended would last as long as the jump.
local function follow_clock(keys, now, is_beat)
  local last = tonumber(redis.call('HGET', keys.state, 'last') or now)
  local step = 0
  if now < last then
    step = now - last
  elseif is_beat and now - last > JUMP_MS then
    step = now - last - BEAT_MS
  end
  if step ~= 0 then
    for member, deadline in pairs(all(keys.alive)) do
      redis.call('HSET', keys.alive, member, digits(deadline + step))
      redis.call('HINCRBY', keys.state, 'p:' .. member, digits(step))
    end
  end
  if is_beat or step ~= 0 then redis.call('HSET', keys.state, 'last', digits(now)) end
end

-- The last member takes the generation with it.
local function end_if_empty(keys)
  if redis.call('EXISTS', keys.alive) == 0 then
    redis.call('UNLINK', keys.read, keys.state, keys.log, life)
  end
end
