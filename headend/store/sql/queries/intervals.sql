-- points_of_area --
-- Metering points that hung on an area at any time of a stretch, as columns; one element a membership. Bounds are compared one by one, and the
-- points looked up by an array: a plan made for any values read every membership that holds at the time, or every point, for the few asked for.
select array_agg(usage_point_id) as usage_point_id, json_agg(code) as code, json_agg(kind) as kind, array_agg(coalesce(rated_current_a, 0)) as rated_current_a,
       array_agg(coalesce(behind_usage_point_id, 0)) as behind_usage_point_id, array_agg(valid_from) as valid_from,
       array_agg(coalesce(valid_to, 'infinity')) as valid_to
from (
    select u.usage_point_id, u.code, u.kind, u.rated_current_a, m.behind_usage_point_id, m.valid_from, m.valid_to
    from area_membership m join usage_point u using (usage_point_id)
    where m.area_id = %(area_id)s
      and u.usage_point_id = any (array(select usage_point_id from area_membership where area_id = %(area_id)s))
      and m.valid_from < %(end)s and (m.valid_to is null or m.valid_to > %(start)s)
    order by u.usage_point_id, m.valid_from) p

-- points --
-- Metering points wherever they hang.
select usage_point_id, code, kind, rated_current_a from usage_point where usage_point_id = any(%(usage_points)s)

-- stays_of --
-- When some metering points hung on an area, whichever, at any time of a stretch.
select usage_point_id, valid_from, valid_to from area_membership
where usage_point_id = any(%(usage_points)s) and valid_from < %(end)s and (valid_to is null or valid_to > %(start)s)
order by usage_point_id, valid_from

-- members --
-- How many metering points ever hung on an area.
select count(distinct usage_point_id) from area_membership where area_id = %(area_id)s

-- installations_of --
-- Every installation of some metering points as columns: those around a stretch are needed too, where one meter serves on with another
-- multiplier.
select array_agg(usage_point_id) as usage_point_id, array_agg(meter_id) as meter_id, json_agg(identity) as identity, array_agg(valid_from) as valid_from,
       array_agg(coalesce(valid_to, 'infinity')) as valid_to, array_agg((multiplier * 10000)::bigint) as multiplier_e4, array_agg(sign) as sign,
       array_agg(coalesce(start_import_wh, %(absent)s)) as start_import_wh, array_agg(coalesce(start_export_wh, %(absent)s)) as start_export_wh,
       array_agg(coalesce(end_import_wh, %(absent)s)) as end_import_wh, array_agg(coalesce(end_export_wh, %(absent)s)) as end_export_wh,
       array_agg(phases) as phases, array_agg(digits) as digits, array_agg(resolution_wh) as resolution_wh, json_agg(accuracy_class) as accuracy_class
from (
    select i.*, m.manufacturer || '/' || m.serial as identity, m.phases, m.digits, m.resolution_wh, m.accuracy_class
    from installation i join meter m using (meter_id)
    where i.usage_point_id = any(%(usage_points)s)
    order by i.usage_point_id, i.valid_from) i

-- readings_between --
-- All readings of some meters in a stretch as columns (unordered); what few of them state comes with their keys.
select array_agg(meter_id) as meter_id, array_agg(ts) as ts, array_agg(coalesce(import_wh, %(absent)s)) as import_wh,
       array_agg(coalesce(export_wh, %(absent)s)) as export_wh, array_agg(coalesce(voltage_dv, %(absent_dv)s::smallint)) as voltage_dv,
       array_agg(meter_id) filter (where flags <> 0 or resolution_wh is not null) as said_meter_id,
       array_agg(ts) filter (where flags <> 0 or resolution_wh is not null) as said_ts,
       array_agg(flags) filter (where flags <> 0 or resolution_wh is not null) as flags,
       array_agg(coalesce(resolution_wh, 0)) filter (where flags <> 0 or resolution_wh is not null) as resolution_wh
from register_reading
where meter_id = any(%(meters)s) and ts >= %(start)s and ts < %(end)s

-- readings_before --
-- The last few readings of each meter before an instant, of one of its registers or of any: the near side of a gap that reaches into the stretch.
select array_agg(r.meter_id) as meter_id, array_agg(r.ts) as ts, array_agg(coalesce(r.import_wh, %(absent)s)) as import_wh,
       array_agg(coalesce(r.export_wh, %(absent)s)) as export_wh, array_agg(coalesce(r.voltage_dv, %(absent_dv)s::smallint)) as voltage_dv,
       array_agg(r.meter_id) filter (where r.flags <> 0 or r.resolution_wh is not null) as said_meter_id,
       array_agg(r.ts) filter (where r.flags <> 0 or r.resolution_wh is not null) as said_ts,
       array_agg(r.flags) filter (where r.flags <> 0 or r.resolution_wh is not null) as flags,
       array_agg(coalesce(r.resolution_wh, 0)) filter (where r.flags <> 0 or r.resolution_wh is not null) as resolution_wh
from unnest(%(meters)s::integer[]) as w (meter_id), lateral (
    select * from register_reading where meter_id = w.meter_id and ts >= %(since)s::timestamptz and ts < %(start)s
      and case %(of)s::text when 'import' then import_wh is not null when 'export' then export_wh is not null
               else num_nonnulls(import_wh, export_wh) > 0 end
    order by ts desc limit %(few)s) r

-- readings_after --
-- The first few readings of each meter from an instant on, of one of its registers or of any: the far side of a gap that reaches out of the stretch.
select array_agg(r.meter_id) as meter_id, array_agg(r.ts) as ts, array_agg(coalesce(r.import_wh, %(absent)s)) as import_wh,
       array_agg(coalesce(r.export_wh, %(absent)s)) as export_wh, array_agg(coalesce(r.voltage_dv, %(absent_dv)s::smallint)) as voltage_dv,
       array_agg(r.meter_id) filter (where r.flags <> 0 or r.resolution_wh is not null) as said_meter_id,
       array_agg(r.ts) filter (where r.flags <> 0 or r.resolution_wh is not null) as said_ts,
       array_agg(r.flags) filter (where r.flags <> 0 or r.resolution_wh is not null) as flags,
       array_agg(coalesce(r.resolution_wh, 0)) filter (where r.flags <> 0 or r.resolution_wh is not null) as resolution_wh
from unnest(%(meters)s::integer[]) as w (meter_id), lateral (
    select * from register_reading where meter_id = w.meter_id and ts >= %(end)s and ts < %(until)s::timestamptz
      and case %(of)s::text when 'import' then import_wh is not null when 'export' then export_wh is not null
               else num_nonnulls(import_wh, export_wh) > 0 end
    order by ts limit %(few)s) r

-- resolution_of --
-- The coarsest step that the newest few readings of each meter in a stretch state; a meter without such readings is not among them.
select w.meter_id, max(r.resolution_wh)::bigint as resolution_wh
from unnest(%(meters)s::integer[]) as w (meter_id), lateral (
    select resolution_wh from register_reading
    where meter_id = w.meter_id and ts >= %(start)s and ts < %(end)s order by ts desc limit %(few)s) r
group by w.meter_id
having max(r.resolution_wh) is not null

-- phase_readings --
-- Per-phase registers and voltages of some meters in a stretch, one vector a meter and column (unordered).
select meter_id, array_agg(ts) as ts_us,
       array_agg(coalesce(import_l1_wh, %(absent)s)) as import_l1_wh, array_agg(coalesce(import_l2_wh, %(absent)s)) as import_l2_wh,
       array_agg(coalesce(import_l3_wh, %(absent)s)) as import_l3_wh, array_agg(coalesce(export_l1_wh, %(absent)s)) as export_l1_wh,
       array_agg(coalesce(export_l2_wh, %(absent)s)) as export_l2_wh, array_agg(coalesce(export_l3_wh, %(absent)s)) as export_l3_wh,
       array_agg(coalesce(voltage_l1_dv::bigint, %(absent)s)) as voltage_l1_dv,
       array_agg(coalesce(voltage_l2_dv::bigint, %(absent)s)) as voltage_l2_dv,
       array_agg(coalesce(voltage_l3_dv::bigint, %(absent)s)) as voltage_l3_dv
from phase_reading
where meter_id = any(%(meters)s) and ts >= %(start)s and ts < %(end)s
group by meter_id

-- digests --
-- What stands of some points' days, as columns; 0: not known.
select array_agg(usage_point_id) as usage_point_id, array_agg(day) as day, array_agg(coalesce(digest, 0)) as digest,
       array_agg(rules) as rules
from interval_day where usage_point_id = any(%(usage_points)s) and day between %(first)s and %(last)s

-- copy_new --
-- Straight in: refused as a whole when one of the rows is there already.
copy interval_day (
    usage_point_id, day, starts_at, interval_s, import_wh, export_wh, voltage_dv, quality, flags, start_import_wh, end_import_wh,
    start_export_wh, end_export_wh, meters, multiplier, start_mark, end_mark, rules, measured, estimated, digest, settled_at) from stdin (format binary)

-- staging --
-- Where one transaction's rows wait for the upsert.
create temporary table if not exists interval_day_staging (
    usage_point_id integer, day date, starts_at timestamptz, interval_s integer, import_wh integer[], export_wh integer[],
    voltage_dv smallint[], quality smallint[], flags integer[], start_import_wh bigint, end_import_wh bigint, start_export_wh bigint,
    end_export_wh bigint, meters integer[], multiplier numeric(12, 4), start_mark bigint, end_mark bigint, rules smallint,
    measured smallint, estimated smallint, digest bigint, settled_at timestamptz
) on commit delete rows

-- copy_staging --
-- Binary rows in the order of the staging table's columns.
copy interval_day_staging from stdin (format binary)

-- upsert --
-- Rows of which some may be there already.
insert into interval_day as i (
    usage_point_id, day, starts_at, interval_s, import_wh, export_wh, voltage_dv, quality, flags, start_import_wh, end_import_wh,
    start_export_wh, end_export_wh, meters, multiplier, rules, start_mark, end_mark, measured, estimated, digest, settled_at)
select usage_point_id, day, starts_at, interval_s, import_wh, export_wh, voltage_dv, quality, flags, start_import_wh, end_import_wh,
       start_export_wh, end_export_wh, meters, multiplier, rules, start_mark, end_mark, measured, estimated, digest, settled_at
from interval_day_staging order by usage_point_id, day
on conflict (usage_point_id, day) do update set
    starts_at = excluded.starts_at, interval_s = excluded.interval_s, import_wh = excluded.import_wh, export_wh = excluded.export_wh,
    voltage_dv = excluded.voltage_dv, quality = excluded.quality, flags = excluded.flags,
    start_import_wh = excluded.start_import_wh, end_import_wh = excluded.end_import_wh, start_export_wh = excluded.start_export_wh,
    end_export_wh = excluded.end_export_wh, meters = excluded.meters, multiplier = excluded.multiplier, measured = excluded.measured,
    estimated = excluded.estimated, rules = excluded.rules, start_mark = excluded.start_mark, end_mark = excluded.end_mark,
    digest = excluded.digest, settled_at = excluded.settled_at
where i.digest is distinct from excluded.digest

-- judged_anew --
-- Rows that other rules judged the same: which rules these were is noted, and nothing else was changed.
update interval_day d set rules = %(rules)s::smallint
from unnest(%(usage_points)s::integer[], %(days)s::date[]) as w (usage_point_id, day)
where d.usage_point_id = w.usage_point_id and d.day = w.day

-- empty_staging --
-- For the next stretch of the same transaction.
truncate interval_day_staging

-- forget --
-- Rows of points that, as it is known now, had no meter on these days.
delete from interval_day
using unnest(%(usage_points)s::integer[], %(days)s::date[]) as w (usage_point_id, day)
where interval_day.usage_point_id = w.usage_point_id and interval_day.day = w.day
returning interval_day.usage_point_id, interval_day.day

-- marks_of_days --
-- Which readings decided the two midnights of some days when these were settled, as columns.
select array_agg(usage_point_id) as usage_point_id, array_agg(day) as day, array_agg(start_mark) as start_mark, array_agg(end_mark) as end_mark
from interval_day where usage_point_id = any(%(usage_points)s) and day = any(%(days)s)

-- idle_days --
-- Days without energy, though the meter had power (quality 5: it had none): most days are told by their first interval.
select usage_point_id, day from interval_day
where usage_point_id = any(%(usage_points)s) and day between %(first)s and %(last)s
  and 0 = all (import_wh) and (0 >= all (export_wh)) is not false and not quality && array[0, 5]::smallint[]
order by usage_point_id, day

-- days_of_points --
-- Settled days of some points; vectors without NULL elements, because those are read without a loop.
select usage_point_id, day, starts_at, interval_s, array_replace(import_wh, null, %(absent_wh)s) as import_wh,
       array_replace(export_wh, null, %(absent_wh)s) as export_wh, array_replace(voltage_dv, null, %(absent_dv)s::smallint) as voltage_dv,
       quality, flags, measured, estimated
from interval_day where usage_point_id = any(%(usage_points)s) and day between %(first)s and %(last)s
order by usage_point_id, day
