-- hold_floor --
-- Whoever settles keeps the floor where it is until the transaction ends; in a statement of its own, before the floor is looked at.
select pg_advisory_xact_lock_shared(%s)

-- move_floor --
-- Waits for all of those, and they queue behind: no stream of them keeps it waiting for ever.
select pg_advisory_xact_lock(%s)

-- floor --
-- From when on readings are kept.
select kept_from from reading_floor where table_name = 'register_reading'

-- unanchored --
-- Days of an area with an estimate over a gap whose near side has been dropped: no reading is kept between the floor and the day,
-- of a meter that was there before the floor. Settled again they would lose it.
select distinct w.day
from unnest(%(days)s::date[], %(starts)s::timestamptz[]) as w (day, start)
join area_membership m on m.area_id = %(area_id)s and m.valid_from < w.start + interval '1 day' and (m.valid_to is null or m.valid_to > w.start)
join interval_day d on d.usage_point_id = m.usage_point_id and d.day = w.day and d.estimated > 0
where exists (
    select from installation i
    where i.meter_id = any (d.meters) and i.usage_point_id = d.usage_point_id and i.valid_from < %(kept_from)s
      and (i.valid_to is null or i.valid_to > w.start)
      and not exists (select from register_reading r where r.meter_id = i.meter_id and r.ts >= %(kept_from)s and r.ts < w.start))

-- raise_floor --
-- Committed before anything is dropped. It never sinks.
update reading_floor set kept_from = %(kept_from)s, raised_at = %(now)s
where table_name = %(table)s and (kept_from is null or kept_from < %(kept_from)s)

-- largest --
-- Tables of the schema with their indexes, largest first; partitions count for their parent, hypertables are asked elsewhere.
select c.relname as table_name, pg_total_relation_size(c.oid) as bytes
from pg_class c
where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and not c.relispartition and c.relname <> all (%(tables)s)
order by bytes desc, c.relname limit %(limit)s
