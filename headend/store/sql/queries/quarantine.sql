-- add --
-- Messages kept whole; one that came before, with the same result, is counted instead, and is open again.
insert into quarantine as q (received_at, last_received_at, source, origin, reason, detail, payload, strangers)
select min(n.received_at), max(n.received_at), n.source, n.origin, n.reason, min(n.detail), n.payload, string_to_array(min(n.strangers), E'\n')
from unnest(%(received_at)s::timestamptz[], %(source)s::text[], %(origin)s::text[], %(reason)s::text[], %(detail)s::text[], %(payload)s::bytea[], %(strangers)s::text[])
     as n (received_at, source, origin, reason, detail, payload, strangers)
group by n.source, n.origin, n.reason, n.payload
order by n.source, n.origin, n.reason, sha256(n.payload)
on conflict (source, origin, reason, digest) do update
set times = q.times + 1, last_received_at = greatest(q.last_received_at, excluded.last_received_at), detail = excluded.detail, strangers = excluded.strangers,
    replayed_at = null

-- list --
-- Newest first; what was replayed only when asked for.
select quarantine_id, received_at, last_received_at, times, source, origin, reason, detail, length(payload) as size, replayed_at
from quarantine
where (%(all)s::boolean or replayed_at is null)
  and (%(reason)s::text is null or reason = %(reason)s)
  and (%(origin)s::text is null or starts_with(origin, %(origin)s))
  and (%(before)s::bigint is null or quarantine_id < %(before)s)
order by quarantine_id desc limit %(limit)s

-- show --
-- One message, whole.
select quarantine_id, received_at, last_received_at, times, source, origin, reason, detail, payload, replayed_at
from quarantine where quarantine_id = %s

-- waiting --
-- What a replay takes, oldest first.
select quarantine_id
from quarantine
where replayed_at is null and (%(reason)s::text is null or reason = %(reason)s)
  and (%(origin)s::text is null or starts_with(origin, %(origin)s))
order by quarantine_id limit %(limit)s::bigint

-- waiting_for --
-- What a device that was adopted just now has in here, oldest first.
select quarantine_id from quarantine where replayed_at is null and strangers @> array[%s::text] order by quarantine_id

-- replayed --
-- Understood at last.
update quarantine set replayed_at = %(now)s where quarantine_id = %(quarantine_id)s

-- counts --
-- What is open, by reason.
select reason, count(*) as messages, sum(times)::bigint as times, max(last_received_at) as last_received_at
from quarantine where replayed_at is null group by reason order by reason
