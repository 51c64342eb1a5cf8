-- copy_readings --
-- Straight in: the cheapest way there is, refused as a whole when one row is stored already.
copy register_reading (meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, uncertainty_ms, resolution_wh) from stdin (format binary)

-- copy_phases --
-- What few meters send.
copy phase_reading (meter_id, ts, import_l1_wh, import_l2_wh, import_l3_wh, export_l1_wh, export_l2_wh, export_l3_wh, voltage_l1_dv, voltage_l2_dv, voltage_l3_dv, current_l1_ma, current_l2_ma, current_l3_ma, power_w, import_t1_wh, import_t2_wh, import_t3_wh, import_t4_wh, import_t5_wh, import_t6_wh, import_t7_wh, import_t8_wh) from stdin (format binary)

-- newest --
-- Of these meters the newest instant stored, and which episodes stand open; as arrays, so that they come as columns.
select array_agg(l.meter_id), array_agg(l.ts), array_agg(coalesce(e.open, 0))
from latest_reading l left join event_episode e using (meter_id)
where l.meter_id = any (%(meter_id)s)

-- stored --
-- What is stored of meters from an instant to an instant each, for a comparison outside; null is the smallest number.
-- `offset 0` keeps it one look-up a stretch, whatever the planner believes of partitions that nobody has analysed yet.
select array_agg(r.meter_id), array_agg(r.ts), array_agg(r.import_wh), array_agg(r.export_wh), array_agg(r.voltage_dv)
from unnest(%(meter_id)s, %(first)s, %(last)s) as t (meter_id, first, last)
cross join lateral (
    select r.meter_id, r.ts, coalesce(r.import_wh, -9223372036854775808) as import_wh, coalesce(r.export_wh, -9223372036854775808) as export_wh,
           coalesce(r.voltage_dv, '-32768'::smallint) as voltage_dv
    from register_reading r
    where r.meter_id = t.meter_id and r.ts between t.first and t.last and r.ts between %(from)s and %(until)s
    offset 0) r

-- stored_phases --
-- The same of the phases.
select array_agg(p.meter_id), array_agg(p.ts),
       array_agg(p.import_l1_wh), array_agg(p.import_l2_wh), array_agg(p.import_l3_wh),
       array_agg(p.export_l1_wh), array_agg(p.export_l2_wh), array_agg(p.export_l3_wh),
       array_agg(p.voltage_l1_dv), array_agg(p.voltage_l2_dv), array_agg(p.voltage_l3_dv),
       array_agg(p.current_l1_ma), array_agg(p.current_l2_ma), array_agg(p.current_l3_ma),
       array_agg(p.power_w),
       array_agg(p.import_t1_wh), array_agg(p.import_t2_wh), array_agg(p.import_t3_wh), array_agg(p.import_t4_wh),
       array_agg(p.import_t5_wh), array_agg(p.import_t6_wh), array_agg(p.import_t7_wh), array_agg(p.import_t8_wh)
from unnest(%(meter_id)s, %(first)s, %(last)s) as t (meter_id, first, last)
cross join lateral (
    select p.meter_id, p.ts,
           coalesce(import_l1_wh, -9223372036854775808) as import_l1_wh, coalesce(import_l2_wh, -9223372036854775808) as import_l2_wh, coalesce(import_l3_wh, -9223372036854775808) as import_l3_wh,
           coalesce(export_l1_wh, -9223372036854775808) as export_l1_wh, coalesce(export_l2_wh, -9223372036854775808) as export_l2_wh, coalesce(export_l3_wh, -9223372036854775808) as export_l3_wh,
           coalesce(voltage_l1_dv, '-32768'::smallint) as voltage_l1_dv, coalesce(voltage_l2_dv, '-32768'::smallint) as voltage_l2_dv, coalesce(voltage_l3_dv, '-32768'::smallint) as voltage_l3_dv,
           coalesce(current_l1_ma, -9223372036854775808) as current_l1_ma, coalesce(current_l2_ma, -9223372036854775808) as current_l2_ma, coalesce(current_l3_ma, -9223372036854775808) as current_l3_ma,
           coalesce(power_w, -9223372036854775808) as power_w,
           coalesce(import_t1_wh, -9223372036854775808) as import_t1_wh, coalesce(import_t2_wh, -9223372036854775808) as import_t2_wh, coalesce(import_t3_wh, -9223372036854775808) as import_t3_wh, coalesce(import_t4_wh, -9223372036854775808) as import_t4_wh,
           coalesce(import_t5_wh, -9223372036854775808) as import_t5_wh, coalesce(import_t6_wh, -9223372036854775808) as import_t6_wh, coalesce(import_t7_wh, -9223372036854775808) as import_t7_wh, coalesce(import_t8_wh, -9223372036854775808) as import_t8_wh
    from phase_reading p
    where p.meter_id = t.meter_id and p.ts between t.first and t.last and p.ts between %(from)s and %(until)s
    offset 0) p

-- has_staging --
-- The staging tables live as long as the connection, their rows as long as the transaction.
select to_regclass('pg_temp.staged_reading') is not null

-- make_staging_reading --
-- Arrival order decides which of two equal keys is the first.
create temporary table staged_reading (
    meter_id integer not null, ts timestamptz not null, import_wh bigint, export_wh bigint, voltage_dv smallint,
    flags smallint not null, source smallint not null, uncertainty_ms integer not null, resolution_wh smallint, place integer not null
) on commit delete rows

-- make_staging_phase --
-- The per-phase part of them; `place` is that of its reading.
create temporary table staged_phase (
    meter_id integer not null, ts timestamptz not null,
    import_l1_wh bigint, import_l2_wh bigint, import_l3_wh bigint, export_l1_wh bigint, export_l2_wh bigint, export_l3_wh bigint,
    voltage_l1_dv smallint, voltage_l2_dv smallint, voltage_l3_dv smallint,
    current_l1_ma bigint, current_l2_ma bigint, current_l3_ma bigint, power_w bigint,
    import_t1_wh bigint, import_t2_wh bigint, import_t3_wh bigint, import_t4_wh bigint,
    import_t5_wh bigint, import_t6_wh bigint, import_t7_wh bigint, import_t8_wh bigint, place integer not null
) on commit delete rows

-- copy_staged_readings --
-- First half of the careful way.
copy staged_reading from stdin (format binary)

-- copy_staged_phases --
-- The same for the phases.
copy staged_phase from stdin (format binary)

-- insert_staged --
-- What is not stored yet; returns the places of it, so that only new rows are counted and mark a day.
with new as (
    insert into register_reading (meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, uncertainty_ms, resolution_wh)
    select meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, uncertainty_ms, resolution_wh
    from staged_reading order by meter_id, ts, place
    on conflict (meter_id, ts) do nothing
    returning meter_id, ts)
select min(s.place) from new join staged_reading s using (meter_id, ts) group by meter_id, ts

-- insert_staged_phases --
-- Where none are stored, and only beside registers that say the same; returns the places.
with new as (
    insert into phase_reading (meter_id, ts, import_l1_wh, import_l2_wh, import_l3_wh, export_l1_wh, export_l2_wh, export_l3_wh,
                               voltage_l1_dv, voltage_l2_dv, voltage_l3_dv, current_l1_ma, current_l2_ma, current_l3_ma, power_w,
                               import_t1_wh, import_t2_wh, import_t3_wh, import_t4_wh, import_t5_wh, import_t6_wh, import_t7_wh, import_t8_wh)
    select s.meter_id, s.ts, import_l1_wh, import_l2_wh, import_l3_wh, export_l1_wh, export_l2_wh, export_l3_wh,
           voltage_l1_dv, voltage_l2_dv, voltage_l3_dv, current_l1_ma, current_l2_ma, current_l3_ma, power_w,
           import_t1_wh, import_t2_wh, import_t3_wh, import_t4_wh, import_t5_wh, import_t6_wh, import_t7_wh, import_t8_wh
    from staged_phase s join staged_reading own using (place)
    cross join lateral (
        select from register_reading r
        where r.meter_id = own.meter_id and r.ts = own.ts and r.ts between %(first)s and %(last)s
          and (own.import_wh <> r.import_wh or own.export_wh <> r.export_wh) is not true
        offset 0) r
    order by s.meter_id, s.ts, s.place
    on conflict (meter_id, ts) do nothing
    returning meter_id, ts)
select min(s.place) from new join staged_phase s using (meter_id, ts) group by meter_id, ts

-- note_revisions --
-- Same meter and instant, another value: the first one stored stays, both are noted. Absent is not another value. Returns the places, and
-- whether registers differ that nobody had told before: these are seen on the settled day.
with other as (
    select s.place, s.meter_id, s.ts, r.import_wh, r.export_wh, r.voltage_dv, r.source, p.phases,
           s.import_wh as other_import_wh, s.export_wh as other_export_wh, s.voltage_dv as other_voltage_dv, s.source as other_source,
           o.phases as other_phases
    from staged_reading s
    cross join lateral (
        select * from register_reading r where r.meter_id = s.meter_id and r.ts = s.ts and r.ts between %(first)s and %(last)s offset 0) r
    left join (select place, jsonb_strip_nulls(to_jsonb(o) - array['meter_id', 'ts', 'place']) as phases from staged_phase o) o using (place)
    left join lateral (
        select jsonb_strip_nulls(to_jsonb(p) - array['meter_id', 'ts']) as phases from phase_values p
        where o.phases is not null and p.meter_id = s.meter_id and p.ts = s.ts and p.ts between %(first)s and %(last)s offset 0) p on true
    where s.import_wh <> r.import_wh or s.export_wh <> r.export_wh or s.voltage_dv <> r.voltage_dv
       or exists (select from jsonb_each(o.phases) as said where p.phases -> said.key <> said.value)),
noted as (
    insert into reading_revision (meter_id, ts, noted_at, kept_import_wh, kept_export_wh, kept_voltage_dv, kept_phases, kept_source,
                                  other_import_wh, other_export_wh, other_voltage_dv, other_phases, other_source, rule)
    select meter_id, ts, %(now)s, import_wh, export_wh, voltage_dv, phases, source,
           other_import_wh, other_export_wh, other_voltage_dv, other_phases, other_source, 'first_stored'
    from other order by meter_id, ts, place
    on conflict do nothing
    returning meter_id, ts, kept_import_wh <> other_import_wh or kept_export_wh <> other_export_wh as differ)
select place, coalesce(bool_or(n.differ), false) from other left join noted n using (meter_id, ts) group by place

-- lacking --
-- Meters with a stored row that lacks what came now. On TimescaleDB an update unpacks whatever its own conditions let through, before
-- it knows whether there is anything to join it to: without their names that is every meter of a compressed day.
select distinct s.meter_id
from staged_reading s
cross join lateral (
    select * from register_reading r where r.meter_id = s.meter_id and r.ts = s.ts and r.ts between %(first)s and %(last)s offset 0) r
where r.import_wh is null and s.import_wh is not null or r.export_wh is null and s.export_wh is not null
   or r.voltage_dv is null and s.voltage_dv is not null

-- lacking_phases --
-- The same for the phases; phase_values is phase_reading for whom a row is wanted as a whole.
select distinct s.meter_id
from (select s.*, jsonb_strip_nulls(to_jsonb(s) - array['meter_id', 'ts', 'place']) as said from staged_phase s) s
cross join lateral (
    select jsonb_strip_nulls(to_jsonb(p)) as stands from phase_values p
    where p.meter_id = s.meter_id and p.ts = s.ts and p.ts between %(first)s and %(last)s offset 0) p
where not p.stands @> s.said

-- note_completions --
-- How such rows stood before: what was known at an instant can be told afterwards.
insert into reading_completion (meter_id, ts, noted_at, part, import_wh, export_wh, voltage_dv)
select distinct on (s.meter_id, s.ts) s.meter_id, s.ts, %(now)s::timestamptz, 'registers', r.import_wh, r.export_wh, r.voltage_dv
from staged_reading s
cross join lateral (
    select * from register_reading r where r.meter_id = s.meter_id and r.ts = s.ts and r.ts between %(first)s and %(last)s offset 0) r
where (s.import_wh <> r.import_wh or s.export_wh <> r.export_wh) is not true
  and (r.import_wh is null and s.import_wh is not null or r.export_wh is null and s.export_wh is not null
       or r.voltage_dv is null and s.voltage_dv is not null)
order by s.meter_id, s.ts

-- note_phase_completions --
-- The same of the phases.
insert into reading_completion (meter_id, ts, noted_at, part, phases)
select distinct on (s.meter_id, s.ts) s.meter_id, s.ts, %(now)s::timestamptz, 'phases', p.stands - array['meter_id', 'ts']
from (select s.*, jsonb_strip_nulls(to_jsonb(s) - array['meter_id', 'ts', 'place']) as said from staged_phase s) s
cross join lateral (
    select jsonb_strip_nulls(to_jsonb(p)) as stands from phase_values p
    where p.meter_id = s.meter_id and p.ts = s.ts and p.ts between %(first)s and %(last)s offset 0) p
where not p.stands @> s.said and not exists (select from jsonb_each(s.said) as v where p.stands -> v.key <> v.value)
order by s.meter_id, s.ts

-- note_phases_added --
-- Phases that came beside a reading that was stored without them.
insert into reading_completion (meter_id, ts, noted_at, part)
select s.meter_id, s.ts, %(now)s::timestamptz, 'phases' from staged_phase s where s.place = any (%(places)s)

-- complete --
-- A value that the stored row lacks is added where its registers do not contradict; nothing that stands is changed.
with more as (
    select distinct on (s.meter_id, s.ts) s.*
    from staged_reading s
    cross join lateral (
        select * from register_reading r where r.meter_id = s.meter_id and r.ts = s.ts and r.ts between %(first)s and %(last)s offset 0) r
    where (s.import_wh <> r.import_wh or s.export_wh <> r.export_wh) is not true
      and (r.import_wh is null and s.import_wh is not null or r.export_wh is null and s.export_wh is not null
           or r.voltage_dv is null and s.voltage_dv is not null)
    order by s.meter_id, s.ts, s.place)
update register_reading r
set import_wh = coalesce(r.import_wh, m.import_wh), export_wh = coalesce(r.export_wh, m.export_wh), voltage_dv = coalesce(r.voltage_dv, m.voltage_dv),
    resolution_wh = greatest(r.resolution_wh, m.resolution_wh)
from more m
where r.meter_id = m.meter_id and r.ts = m.ts and r.ts between %(first)s and %(last)s and r.meter_id = any (%(meters)s)
returning m.place

-- complete_phases --
-- The same for the phases.
with more as (
    select distinct on (s.meter_id, s.ts) s.*
    from (select s.*, jsonb_strip_nulls(to_jsonb(s) - array['meter_id', 'ts', 'place']) as said from staged_phase s) s
    cross join lateral (
        select jsonb_strip_nulls(to_jsonb(p)) as stands from phase_values p
        where p.meter_id = s.meter_id and p.ts = s.ts and p.ts between %(first)s and %(last)s offset 0) p
    where not p.stands @> s.said and not exists (select from jsonb_each(s.said) as v where p.stands -> v.key <> v.value)
    order by s.meter_id, s.ts, s.place)
update phase_reading p
set import_l1_wh = coalesce(p.import_l1_wh, m.import_l1_wh), import_l2_wh = coalesce(p.import_l2_wh, m.import_l2_wh),
    import_l3_wh = coalesce(p.import_l3_wh, m.import_l3_wh), export_l1_wh = coalesce(p.export_l1_wh, m.export_l1_wh),
    export_l2_wh = coalesce(p.export_l2_wh, m.export_l2_wh), export_l3_wh = coalesce(p.export_l3_wh, m.export_l3_wh),
    voltage_l1_dv = coalesce(p.voltage_l1_dv, m.voltage_l1_dv), voltage_l2_dv = coalesce(p.voltage_l2_dv, m.voltage_l2_dv),
    voltage_l3_dv = coalesce(p.voltage_l3_dv, m.voltage_l3_dv), current_l1_ma = coalesce(p.current_l1_ma, m.current_l1_ma),
    current_l2_ma = coalesce(p.current_l2_ma, m.current_l2_ma), current_l3_ma = coalesce(p.current_l3_ma, m.current_l3_ma),
    power_w = coalesce(p.power_w, m.power_w),
    import_t1_wh = coalesce(p.import_t1_wh, m.import_t1_wh), import_t2_wh = coalesce(p.import_t2_wh, m.import_t2_wh),
    import_t3_wh = coalesce(p.import_t3_wh, m.import_t3_wh), import_t4_wh = coalesce(p.import_t4_wh, m.import_t4_wh),
    import_t5_wh = coalesce(p.import_t5_wh, m.import_t5_wh), import_t6_wh = coalesce(p.import_t6_wh, m.import_t6_wh),
    import_t7_wh = coalesce(p.import_t7_wh, m.import_t7_wh), import_t8_wh = coalesce(p.import_t8_wh, m.import_t8_wh)
from more m
where p.meter_id = m.meter_id and p.ts = m.ts and p.ts between %(first)s and %(last)s and p.meter_id = any (%(meters)s)
returning m.place

-- neighbours --
-- Last reading before and first reading after each stretch, no further than so many days.
select array_agg(coalesce(before.ts, '-infinity') order by t.place), array_agg(coalesce(after.ts, 'infinity') order by t.place)
from unnest(%(meter_id)s, %(first)s, %(last)s) with ordinality as t (meter_id, first, last, place)
left join lateral (
    select r.ts from register_reading r
    where r.meter_id = t.meter_id and r.ts < t.first and r.ts >= t.first - %(most)s::interval and r.ts between %(from)s and %(until)s
    order by r.ts desc limit 1) before on true
left join lateral (
    select r.ts from register_reading r
    where r.meter_id = t.meter_id and r.ts > t.last and r.ts <= t.last + %(most)s::interval and r.ts between %(from)s and %(until)s
    order by r.ts limit 1) after on true

-- note_tariffs --
-- Which meters have registers per rate; nearly always it is known already, and then nothing is locked.
insert into tariff_meter (meter_id)
select n.meter_id from unnest(%(meter_id)s) as n (meter_id)
where not exists (select from tariff_meter t where t.meter_id = n.meter_id)
order by 1
on conflict do nothing

-- hold_newest --
-- Every writer of a meter's readings advances its row here; they are locked in one order.
select from latest_reading where meter_id = any (%s) order by meter_id for no key update

-- mark_touched --
-- Every local day of every area that a stretch of a meter touches, by the installation and membership of that day; where the meter served
-- nowhere yet, the day on which its service begins, because it is said there that it was read before.
-- A mark always gets a later instant than it had, so that who settles the day sees that it was renewed.
insert into dirty_day as d (area_id, day, marked_at)
select distinct w.area_id, g::date, %(now)s::timestamptz
from (
    select distinct m.area_id,
        case when later.yes then later.day
             when greatest(i.valid_from, m.valid_from) <= t.start then t.first_day
             else greatest(t.first_day, (greatest(i.valid_from, m.valid_from) at time zone %(zone)s)::date) end as first_day,
        case when later.yes then later.day
             when least(i.valid_to, m.valid_to, 'infinity') >= t.finish then t.last_day
             else least(t.last_day, ((least(i.valid_to, m.valid_to) - interval '1 microsecond') at time zone %(zone)s)::date) end as last_day
    from unnest(%(meter_id)s, %(first_day)s, %(last_day)s, %(start)s, %(finish)s) as t (meter_id, first_day, last_day, start, finish)
    join installation i on i.meter_id = t.meter_id and (i.valid_to is null or i.valid_to > t.start)
     and (i.valid_from < t.finish or i.valid_from < t.finish + %(most)s::interval)
    cross join lateral (select i.valid_from >= t.finish as yes, (i.valid_from at time zone %(zone)s)::date as day) later
    join area_membership m on m.usage_point_id = i.usage_point_id and (m.valid_to is null or m.valid_to > t.start)
     and (m.valid_from < t.finish or later.yes and m.valid_from < (later.day + 1)::timestamp at time zone %(zone)s)
    where not later.yes
       or (m.valid_to is null or m.valid_to > later.day::timestamp at time zone %(zone)s)
          and not exists (select from installation served
                          where served.meter_id = t.meter_id and served.valid_from < i.valid_from and served.valid_to >= t.finish)
    ) w
cross join lateral generate_series(w.first_day::timestamp, w.last_day::timestamp, interval '1 day') g
order by 1, 2
on conflict (area_id, day) do update set
    marked_at = greatest(excluded.marked_at, d.marked_at + interval '1 microsecond'), since = coalesce(d.since, d.marked_at)

-- advance --
-- Counts up, and the newest reading forward in time only; returns the newest of each meter as it is now.
with now_stored as (
    insert into latest_reading as l (meter_id, ts, import_wh, export_wh, voltage_dv, power_w, source, received_at,
                                     readings_modbus, readings_mqtt, readings_concentrator, readings_manual)
    select meter_id, ts, import_wh, export_wh, voltage_dv, power_w, source, %(now)s, modbus, mqtt, concentrator, manual
    from unnest(%(meter_id)s, %(ts)s, %(import_wh)s, %(export_wh)s, %(voltage_dv)s, %(power_w)s, %(source)s,
                %(modbus)s, %(mqtt)s, %(concentrator)s, %(manual)s)
         as n (meter_id, ts, import_wh, export_wh, voltage_dv, power_w, source, modbus, mqtt, concentrator, manual)
    order by meter_id
    on conflict (meter_id) do update
    set ts = greatest(excluded.ts, l.ts),
        import_wh = case when excluded.ts > l.ts then excluded.import_wh else l.import_wh end,
        export_wh = case when excluded.ts > l.ts then excluded.export_wh else l.export_wh end,
        voltage_dv = case when excluded.ts > l.ts then excluded.voltage_dv else l.voltage_dv end,
        power_w = case when excluded.ts > l.ts then excluded.power_w else l.power_w end,
        source = case when excluded.ts > l.ts then excluded.source else l.source end,
        received_at = case when excluded.ts > l.ts then excluded.received_at else l.received_at end,
        readings_modbus = l.readings_modbus + excluded.readings_modbus,
        readings_mqtt = l.readings_mqtt + excluded.readings_mqtt,
        readings_concentrator = l.readings_concentrator + excluded.readings_concentrator,
        readings_manual = l.readings_manual + excluded.readings_manual
    returning meter_id, ts)
select array_agg(meter_id), array_agg(ts) from now_stored
