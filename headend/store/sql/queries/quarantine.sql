-- add --
-- Messages kept whole; one that came before, with the same result, is counted instead, and is open again. Of an origin that fills its share only the number.
with n as materialized (
    select source, origin, reason, payload, sha256(payload) as digest, min(received_at) as received_at, max(received_at) as last_received_at,
           min(detail) as detail, min(strangers) as strangers, max(whole_size) as whole_size, count(*) as times
    from unnest(%(received_at)s::timestamptz[], %(source)s::text[], %(origin)s::text[], %(reason)s::text[], %(detail)s::text[], %(payload)s::bytea[],
                %(strangers)s::text[], %(whole_size)s::bigint[])
         as m (received_at, source, origin, reason, detail, payload, strangers, whole_size)
    group by source, origin, reason, payload
),
standing as materialized (
    select g.source, g.origin, g.reason, s.messages, s.bytes
    from (select distinct source, origin, reason from n) g
    cross join lateral (
        select count(*) as messages, coalesce(sum(size), 0) as bytes
        from (select size from quarantine q
              where q.source = g.source and q.origin = g.origin and q.reason = g.reason and q.replayed_at is null
              limit %(origin_messages)s) few
    ) s
),
placed as materialized (
    select k.*, %(replayed)s::boolean or k.known or s.messages + k.nth = 1
                or (s.messages + k.nth <= %(origin_messages)s and s.bytes + k.upto <= %(origin_bytes)s) as fits
    from (select n.*, e.known, row_number() over w as nth, sum(length(n.payload)) over w as upto
          from n
          cross join lateral (
              -- Looked up one by one: an `exists` becomes a hash of the whole table.
              select count(*) > 0 as known
              from (select from quarantine q
                    where q.source = n.source and q.origin = n.origin and q.reason = n.reason and q.digest = n.digest limit 1) one
          ) e
          window w as (partition by n.source, n.origin, n.reason, e.known order by n.received_at, n.digest)) k
    join standing s using (source, origin, reason)
),
kept as (
    insert into quarantine as q (received_at, last_received_at, source, origin, reason, detail, payload, strangers, whole_size, times)
    select received_at, last_received_at, source, origin, reason, detail, payload, string_to_array(strangers, E'\n'), whole_size, times
    from placed where fits order by source, origin, reason, digest
    on conflict (source, origin, reason, digest) do update
    set times = q.times + case when %(replayed)s::boolean then 0 else excluded.times end,
        last_received_at = greatest(q.last_received_at, excluded.last_received_at), detail = excluded.detail, strangers = excluded.strangers,
        whole_size = excluded.whole_size, replayed_at = null, became_id = null
),
lost as (
    select source, origin, reason, sum(times)::bigint as messages, sum(times * coalesce(whole_size, length(payload)))::bigint as bytes,
           min(received_at) as first_at, max(last_received_at) as last_at
    from placed where not fits group by source, origin, reason
),
counted as (
    insert into quarantine_given_up as g (source, origin, reason, why, messages, bytes, first_at, last_at, since_at, since_messages)
    select source, origin, reason, 'origin', messages, bytes, first_at, last_at, first_at, messages from lost order by source, origin, reason
    on conflict (source, origin, reason, why) do update
    set messages = g.messages + excluded.messages, bytes = g.bytes + excluded.bytes, last_at = greatest(g.last_at, excluded.last_at),
        since_at = case when excluded.first_at - g.last_at < %(spell)s then g.since_at else excluded.since_at end,
        since_messages = excluded.since_messages + case when excluded.first_at - g.last_at < %(spell)s then g.since_messages else 0 end
)
select reason, sum(messages)::bigint as messages from lost group by reason

-- search --
-- Newest first, without payloads; `reach` is how far back a search by content looks in one go.
select quarantine_id, received_at, last_received_at, times, source, origin, reason, detail, size, whole_size, strangers, replayed_at, became_id
from quarantine
where (%(state)s::text = 'all' or (%(state)s::text = 'open') = (replayed_at is null))
  and (%(reason)s::text is null or reason = %(reason)s::text)
  and (%(source)s::text is null or source = %(source)s::text)
  and (%(origin)s::text is null or origin like %(origin)s::text)
  and (%(since)s::timestamptz is null or last_received_at >= %(since)s::timestamptz)
  and (%(until)s::timestamptz is null or received_at < %(until)s::timestamptz)
  and (%(device)s::text is null or strangers @> array[%(device)s::text])
  and (%(detail)s::text is null or strpos(lower(detail), lower(%(detail)s::text)) > 0)
  and (%(content)s::bytea is null or position(%(content)s::bytea in payload) > 0)
  and (%(before)s::bigint is null or quarantine_id < %(before)s::bigint)
  and (%(reach)s::bigint is null or quarantine_id >= %(reach)s::bigint)
order by quarantine_id desc limit %(limit)s

-- reach --
-- How far back a search by content looks in one go, so that nobody waits while a gigabyte is read; whether that is the end.
select min(quarantine_id) as reach, count(*) < %(messages)s and coalesce(bool_and(upto <= %(bytes)s), true) as is_end
from (select quarantine_id, sum(size) over (order by quarantine_id desc) as upto, row_number() over (order by quarantine_id desc) as nth
      from quarantine where %(before)s::bigint is null or quarantine_id < %(before)s::bigint
      order by quarantine_id desc limit %(messages)s) few
where upto <= %(bytes)s or nth = 1

-- show --
-- One message, whole.
select q.quarantine_id, q.received_at, q.last_received_at, q.times, q.source, q.origin, q.reason, q.detail, q.payload, q.size, q.whole_size,
       q.strangers, q.replayed_at, q.became_id,
       coalesce((select array_agg(o.quarantine_id order by o.quarantine_id) from quarantine o where o.became_id = q.quarantine_id), '{}') as came_from
from quarantine q where q.quarantine_id = %s

-- following --
-- What a replay takes next, in the order in which it came; `after_*` is where the batch before ended.
select quarantine_id, received_at, size
from quarantine
where replayed_at is null
  and (%(reason)s::text is null or reason = %(reason)s::text)
  and (%(source)s::text is null or source = %(source)s::text)
  and (%(origin)s::text is null or origin like %(origin)s::text)
  and (%(since)s::timestamptz is null or last_received_at >= %(since)s::timestamptz)
  and (%(until)s::timestamptz is null or received_at < %(until)s::timestamptz)
  and (%(device)s::text is null or strangers @> array[%(device)s::text])
  and (%(detail)s::text is null or strpos(lower(detail), lower(%(detail)s::text)) > 0)
  and (%(content)s::bytea is null or position(%(content)s::bytea in payload) > 0)
  and quarantine_id <= %(newest)s
  and (%(after_at)s::timestamptz is null or (received_at, quarantine_id) > (%(after_at)s::timestamptz, %(after_id)s::bigint))
order by received_at, quarantine_id limit %(limit)s::bigint

-- newest --
-- What comes later, or becomes another entry on the way, is not for the replay that begins now.
select coalesce(max(quarantine_id), 0) from quarantine

-- named --
-- The same of numbers that somebody names, whatever became of them.
select quarantine_id, received_at, size from quarantine where quarantine_id = any (%s) order by received_at, quarantine_id

-- count --
-- How many a replay would take.
select count(*)
from quarantine
where replayed_at is null
  and (%(reason)s::text is null or reason = %(reason)s::text)
  and (%(source)s::text is null or source = %(source)s::text)
  and (%(origin)s::text is null or origin like %(origin)s::text)
  and (%(since)s::timestamptz is null or last_received_at >= %(since)s::timestamptz)
  and (%(until)s::timestamptz is null or received_at < %(until)s::timestamptz)
  and (%(device)s::text is null or strangers @> array[%(device)s::text])
  and (%(detail)s::text is null or strpos(lower(detail), lower(%(detail)s::text)) > 0)
  and (%(content)s::bytea is null or position(%(content)s::bytea in payload) > 0)

-- claim --
-- Nobody else replays these until the transaction ends; those that somebody else has are left out. Locks no row: a message may come again meanwhile.
select n.quarantine_id from unnest(%s::bigint[]) as n (quarantine_id)
where pg_try_advisory_xact_lock(hashtextextended('quarantine ' || n.quarantine_id, 0))

-- take --
-- Their payloads, as they are now that they are ours.
select quarantine_id, received_at, last_received_at, source, origin, reason, detail, payload, whole_size
from quarantine
where quarantine_id = any (%(ids)s) and (%(closed)s::boolean or replayed_at is null)
order by received_at, quarantine_id

-- hold --
-- Rows are locked in the order in which a message that comes again locks them.
select quarantine_id from quarantine where quarantine_id = any (%s) order by source, origin, reason, digest for update

-- close --
-- Understood (no reason), or in here for another reason now: then only where that entry is there.
update quarantine q
set replayed_at = %(now)s, became_id = w.became_id
from (select n.quarantine_id, n.reason, b.quarantine_id as became_id
      from unnest(%(ids)s::bigint[], %(reasons)s::text[]) as n (quarantine_id, reason)
      join quarantine o on o.quarantine_id = n.quarantine_id
      left join quarantine b on (b.source, b.origin, b.reason, b.digest) = (o.source, o.origin, n.reason, o.digest) and b.replayed_at is null) w
where q.quarantine_id = w.quarantine_id and q.replayed_at is null and (w.reason is null or w.became_id is not null)
returning q.quarantine_id, q.became_id

-- counts --
-- What is open, by reason.
select reason, count(*) as messages, sum(size)::bigint as bytes from quarantine where replayed_at is null group by reason order by reason

-- given_up --
-- What was not kept, latest first.
select source, origin, reason, why, messages, bytes, first_at, last_at, since_at, since_messages
from quarantine_given_up order by last_at desc, source, origin, reason, why limit %s
