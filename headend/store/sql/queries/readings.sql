-- copy_readings --
-- Straight in: the cheapest way there is, refused as a whole when one row is stored already.
copy register_reading (meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, uncertainty_ms, resolution_wh) from stdin (format binary)

-- copy_phases --
-- What few meters send.
copy phase_reading (meter_id, ts, import_l1_wh, import_l2_wh, import_l3_wh, export_l1_wh, export_l2_wh, export_l3_wh, voltage_l1_dv, voltage_l2_dv, voltage_l3_dv, current_l1_ma, current_l2_ma, current_l3_ma, power_w) from stdin (format binary)

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
-- The per-phase part of them.
create temporary table staged_phase (
    meter_id integer not null, ts timestamptz not null,
    import_l1_wh bigint, import_l2_wh bigint, import_l3_wh bigint, export_l1_wh bigint, export_l2_wh bigint, export_l3_wh bigint,
    voltage_l1_dv smallint, voltage_l2_dv smallint, voltage_l3_dv smallint,
    current_l1_ma bigint, current_l2_ma bigint, current_l3_ma bigint, power_w bigint
) on commit delete rows

-- copy_staged_readings --
-- First half of the careful way.
copy staged_reading from stdin (format binary)

-- copy_staged_phases --
-- The same for the phases.
copy staged_phase from stdin (format binary)

-- insert_staged --
-- What is not stored yet; returns which, so that only new rows are counted and mark a day.
with new as (
    insert into register_reading (meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, uncertainty_ms, resolution_wh)
    select meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, uncertainty_ms, resolution_wh
    from staged_reading order by meter_id, ts, place
    on conflict (meter_id, ts) do nothing
    returning meter_id, ts)
select meter_id, (extract(epoch from ts) * 1000000)::bigint from new

-- note_revisions --
-- Same meter and instant, another value: the first one stored stays, both are noted. Absent is not another value.
with other as (
    select s.meter_id, s.ts, r.import_wh, r.export_wh, r.source, s.import_wh as other_import_wh, s.export_wh as other_export_wh, s.source as other_source
    from staged_reading s join register_reading r on r.meter_id = s.meter_id and r.ts = s.ts
    where s.ts between %(first)s and %(last)s and r.ts between %(first)s and %(last)s
      and (s.import_wh <> r.import_wh or s.export_wh <> r.export_wh)),
noted as (
    insert into reading_revision (meter_id, ts, noted_at, kept_import_wh, kept_export_wh, kept_source, other_import_wh, other_export_wh, other_source, rule)
    select meter_id, ts, %(now)s, import_wh, export_wh, source, other_import_wh, other_export_wh, other_source, 'first_stored'
    from other order by meter_id, ts
    on conflict do nothing)
select other_source, count(*) from other group by other_source

-- complete --
-- A value that the stored row lacks is added where the rest does not contradict; nothing that stands is changed.
with more as (
    select distinct on (s.meter_id, s.ts) s.*
    from staged_reading s join register_reading r on r.meter_id = s.meter_id and r.ts = s.ts
    where s.ts between %(first)s and %(last)s and r.ts between %(first)s and %(last)s
      and (s.import_wh <> r.import_wh or s.export_wh <> r.export_wh) is not true
      and (r.import_wh is null and s.import_wh is not null or r.export_wh is null and s.export_wh is not null
           or r.voltage_dv is null and s.voltage_dv is not null)
    order by s.meter_id, s.ts, s.place)
update register_reading r
set import_wh = coalesce(r.import_wh, m.import_wh), export_wh = coalesce(r.export_wh, m.export_wh), voltage_dv = coalesce(r.voltage_dv, m.voltage_dv),
    resolution_wh = greatest(r.resolution_wh, m.resolution_wh)
from more m
where r.meter_id = m.meter_id and r.ts = m.ts and r.ts between %(first)s and %(last)s
returning r.meter_id, (extract(epoch from r.ts) * 1000000)::bigint, m.source

-- insert_staged_phases --
-- Kept once per meter and instant.
insert into phase_reading
select distinct on (meter_id, ts) * from staged_phase order by meter_id, ts
on conflict (meter_id, ts) do nothing

-- latest --
-- Newest instant that is stored, per meter.
select meter_id, (extract(epoch from ts) * 1000000)::bigint from latest_reading where meter_id = any (%s)

-- neighbours --
-- Last reading before and first reading after each stretch, no further than so many days.
select t.place,
    (select (extract(epoch from r.ts) * 1000000)::bigint from register_reading r
     where r.meter_id = t.meter_id and r.ts < t.first and r.ts >= t.first - %(most_days)s * interval '1 day' order by r.ts desc limit 1),
    (select (extract(epoch from r.ts) * 1000000)::bigint from register_reading r
     where r.meter_id = t.meter_id and r.ts > t.last and r.ts <= t.last + %(most_days)s * interval '1 day' order by r.ts limit 1)
from (
    select place, meter_id, 'epoch'::timestamptz + first_us * interval '1 microsecond' as first, 'epoch'::timestamptz + last_us * interval '1 microsecond' as last
    from unnest(%(meter_id)s::integer[], %(first_us)s::bigint[], %(last_us)s::bigint[]) with ordinality as n (meter_id, first_us, last_us, place)) t

-- mark_touched --
-- Every local day of every area that a stretch of a meter touches, by the installation and membership of that day.
-- A mark always gets a later instant than it had, so that who settles the day sees that it was renewed.
insert into dirty_day as d (area_id, day, marked_at)
select distinct m.area_id, w.day, %(now)s::timestamptz
from (
    select t.meter_id, g::date as day
    from unnest(%(meter_id)s::integer[], %(first_us)s::bigint[], %(last_us)s::bigint[]) as t (meter_id, first_us, last_us)
    cross join lateral generate_series(
        (('epoch'::timestamptz + t.first_us * interval '1 microsecond') at time zone %(zone)s)::date::timestamp,
        (('epoch'::timestamptz + t.last_us * interval '1 microsecond') at time zone %(zone)s)::date::timestamp,
        interval '1 day') as g) w
join installation i on i.meter_id = w.meter_id
 and tstzrange(i.valid_from, i.valid_to) && tstzrange(w.day::timestamp at time zone %(zone)s, (w.day + 1)::timestamp at time zone %(zone)s)
join area_membership m on m.usage_point_id = i.usage_point_id
 and tstzrange(m.valid_from, m.valid_to) && tstzrange(w.day::timestamp at time zone %(zone)s, (w.day + 1)::timestamp at time zone %(zone)s)
order by 1, 2
on conflict (area_id, day) do update set marked_at = greatest(excluded.marked_at, d.marked_at + interval '1 microsecond')

-- advance_latest --
-- Forward in time only.
insert into latest_reading as l (meter_id, ts, import_wh, export_wh, voltage_dv, power_w, source, received_at)
select meter_id, 'epoch'::timestamptz + ts_us * interval '1 microsecond', import_wh, export_wh, voltage_dv, power_w, source, %(now)s
from unnest(%(meter_id)s::integer[], %(ts_us)s::bigint[], %(import_wh)s::bigint[], %(export_wh)s::bigint[], %(voltage_dv)s::smallint[], %(power_w)s::bigint[], %(source)s::smallint[])
     as n (meter_id, ts_us, import_wh, export_wh, voltage_dv, power_w, source)
order by meter_id
on conflict (meter_id) do update
set ts = excluded.ts, import_wh = excluded.import_wh, export_wh = excluded.export_wh, voltage_dv = excluded.voltage_dv,
    power_w = excluded.power_w, source = excluded.source, received_at = excluded.received_at
where excluded.ts > l.ts

-- add_counts --
-- Readings stored, per meter and way in.
insert into reading_count as c (meter_id, source, readings)
select meter_id, source, readings
from unnest(%(meter_id)s::integer[], %(source)s::smallint[], %(readings)s::bigint[]) as n (meter_id, source, readings)
order by meter_id, source
on conflict (meter_id, source) do update set readings = c.readings + excluded.readings
