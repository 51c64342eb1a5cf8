-- standing --
-- How much is open.
select count(*) as messages, coalesce(sum(size), 0)::bigint as bytes from quarantine where replayed_at is null

-- thin_out --
-- Of an origin that has filled its share: the first half stays, and the newest quarter; the rest is room for what comes.
with crowded as (
    select source, origin, reason from quarantine where replayed_at is null
    group by source, origin, reason
    having count(*) >= %(messages)s
        or (count(*) > %(messages)s * 3 / 4 or sum(size) > %(bytes)s * 3 / 4)
           and exists (select from quarantine_given_up g
                       where (g.source, g.origin, g.reason, g.why) = (quarantine.source, quarantine.origin, quarantine.reason, 'origin')
                         and g.last_at > %(now)s - %(spell)s::interval)
),
ranked as (
    select quarantine_id, row_number() over old as nth, row_number() over new as nth_back, sum(size) over old as upto, sum(size) over new as back
    from quarantine join crowded using (source, origin, reason)
    where replayed_at is null
    window old as (partition by source, origin, reason order by quarantine_id),
           new as (partition by source, origin, reason order by quarantine_id desc)
),
doomed as (
    select quarantine_id from ranked
    where (nth > %(messages)s / 2 or upto > %(bytes)s / 2) and (nth_back > %(messages)s / 4 or back > %(bytes)s / 4) and nth > 1 and nth_back > 1
),
free as (select quarantine_id from quarantine join doomed using (quarantine_id) where replayed_at is null for update of quarantine skip locked),
gone as (delete from quarantine q using free where q.quarantine_id = free.quarantine_id
         returning q.source, q.origin, q.reason, q.times, coalesce(q.whole_size, q.size) as size)
select source, origin, reason, sum(times)::bigint as messages, sum(times * size)::bigint as bytes from gone group by source, origin, reason

-- make_room --
-- Beyond the bounds of the whole: the middle of whoever has most goes first, so that everybody keeps his first and his last; then, reason by reason, the older.
with inside as (
    select quarantine_id, source, origin, reason, size, least(row_number() over old, row_number() over new) as depth
    from quarantine where replayed_at is null
    window old as (partition by source, origin, reason order by quarantine_id),
           new as (partition by source, origin, reason order by quarantine_id desc)
),
turned as (select *, row_number() over (partition by depth, reason order by quarantine_id desc) as turn from inside),
ranked as (
    select *, row_number() over line as nth, sum(size) over line as upto
    from turned window line as (order by depth, turn, quarantine_id desc rows unbounded preceding)
),
staying as (select distinct source, origin, reason from ranked where nth <= %(messages)s and upto <= %(bytes)s),
doomed as (
    select r.quarantine_id, s.source is not null as stays
    from ranked r left join staying s on (s.source, s.origin, s.reason) = (r.source, r.origin, r.reason)
    where r.nth > %(messages)s or r.upto > %(bytes)s
),
free as (select quarantine_id, stays from quarantine join doomed using (quarantine_id) where replayed_at is null for update of quarantine skip locked),
gone as (delete from quarantine q using free where q.quarantine_id = free.quarantine_id
         returning q.source, case when free.stays then q.origin else '' end as origin, q.reason, q.times, coalesce(q.whole_size, q.size) as size)
select source, origin, reason, sum(times)::bigint as messages, sum(times * size)::bigint as bytes from gone group by source, origin, reason

-- give_up_old --
-- Open for so long that nobody will mend it; some at a time.
with doomed as (
    select quarantine_id from quarantine
    where replayed_at is null and received_at < %(before)s and last_received_at < %(before)s
    order by received_at limit %(limit)s for update skip locked
),
gone as (delete from quarantine q using doomed where q.quarantine_id = doomed.quarantine_id
         returning q.quarantine_id, q.source, q.origin, q.reason, q.times, coalesce(q.whole_size, q.size) as size)
select g.source, case when s.stays then g.origin else '' end as origin, g.reason, sum(g.times)::bigint as messages,
       sum(g.times * g.size)::bigint as bytes
from gone g
cross join lateral (select exists (select from quarantine q
                                   where q.source = g.source and q.origin = g.origin and q.reason = g.reason and q.replayed_at is null
                                     and q.quarantine_id not in (select quarantine_id from gone)) as stays) s
group by 1, 2, 3

-- forget_closed --
-- What was answered long ago; some at a time.
delete from quarantine
where quarantine_id in (select quarantine_id from quarantine where replayed_at < %(before)s order by replayed_at limit %(limit)s for update skip locked)

-- note --
-- What was given up is counted for good.
insert into quarantine_given_up as g (source, origin, reason, why, messages, bytes, first_at, last_at, since_at, since_messages)
select source, origin, reason, %(why)s, messages, bytes, %(now)s, %(now)s, %(now)s, messages
from unnest(%(source)s::text[], %(origin)s::text[], %(reason)s::text[], %(messages)s::bigint[], %(bytes)s::bigint[])
     as n (source, origin, reason, messages, bytes)
order by source, origin, reason
on conflict (source, origin, reason, why) do update
set messages = g.messages + excluded.messages, bytes = g.bytes + excluded.bytes, last_at = greatest(g.last_at, excluded.last_at),
    since_at = case when excluded.last_at - g.last_at < %(spell)s then g.since_at else excluded.since_at end,
    since_messages = excluded.since_messages + case when excluded.last_at - g.last_at < %(spell)s then g.since_messages else 0 end

-- fold --
-- Of origins of whom nothing is in here any more the numbers are kept together: random names do not fill the table.
with gone as (
    delete from quarantine_given_up g
    where g.origin <> '' and g.last_at < %(before)s
      and not exists (select from quarantine q where q.source = g.source and q.origin = g.origin and q.reason = g.reason)
    returning source, reason, why, messages, bytes, first_at, last_at
)
insert into quarantine_given_up as g (source, origin, reason, why, messages, bytes, first_at, last_at, since_at, since_messages)
select source, '', reason, why, sum(messages)::bigint, sum(bytes)::bigint, min(first_at), max(last_at), max(last_at), 0
from gone group by source, reason, why order by source, reason, why
on conflict (source, origin, reason, why) do update
set messages = g.messages + excluded.messages, bytes = g.bytes + excluded.bytes, first_at = least(g.first_at, excluded.first_at),
    last_at = greatest(g.last_at, excluded.last_at)

-- lately --
-- What was given up in spells that go on, by reason, with those that gave most cause.
select reason, sum(since_messages)::bigint as messages, min(since_at) as since_at,
       (array_agg(case origin when '' then 'many origins' else origin end || ' (' || since_messages || ')' order by since_messages desc))[1:3] as worst
from quarantine_given_up
where last_at > %(now)s - %(spell)s::interval
group by reason order by reason
