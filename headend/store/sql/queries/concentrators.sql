-- ids --
-- Codes to numbers, for a whole batch.
select code, concentrator_id from concentrator where code = any (%s)

-- heard --
-- Uploads were committed: the highest number, and the backlog as the newest of them says; a re-sent old one changes neither.
-- A lower number an hour and more after the highest is no re-sent one: the device was exchanged and counts from anew.
update concentrator c
set confirmed_seq = case when word.newest then n.seq else c.confirmed_seq end,
    numbered_at = case when word.newest then n.seen_at else c.numbered_at end,
    backlog = case when word.newest then coalesce(n.backlog, c.backlog) else c.backlog end,
    online = case when word.latest then true else c.online end,
    state_at = greatest(c.state_at, n.seen_at),
    last_seen_at = greatest(c.last_seen_at, n.seen_at)
from unnest(%(concentrator_id)s::integer[], %(seq)s::bigint[], %(backlog)s::bigint[], %(seen_at)s::timestamptz[])
         as n (concentrator_id, seq, backlog, seen_at)
join concentrator before using (concentrator_id)
cross join lateral (select before.confirmed_seq is null or n.seq >= before.confirmed_seq
                           or n.seen_at >= before.numbered_at + interval '1 hour' as newest,
                           before.state_at is null or n.seen_at >= before.state_at as latest) word
where c.concentrator_id = n.concentrator_id
returning c.concentrator_id, c.online, n.seen_at, before.online is false and c.online as changed

-- state --
-- It came, or its last will says that it went: that is not hearing from it, nor is a word that the broker had kept. A word
-- older than the last one changes nothing.
update concentrator c
set online = n.online, state_at = n.seen_at,
    last_seen_at = case when n.online and n.heard then greatest(c.last_seen_at, n.seen_at) else c.last_seen_at end
from unnest(%(concentrator_id)s::integer[], %(online)s::boolean[], %(seen_at)s::timestamptz[], %(heard)s::boolean[])
         as n (concentrator_id, online, seen_at, heard)
join concentrator before using (concentrator_id)
where c.concentrator_id = n.concentrator_id and (before.state_at is null or n.seen_at >= before.state_at)
returning c.concentrator_id, c.online, n.seen_at, before.online = not c.online as changed

-- lock --
-- In one order, whoever writes: no two batches wait for each other.
select from concentrator where concentrator_id = any (%s) order by concentrator_id for no key update
