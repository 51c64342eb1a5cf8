-- points_of_area --
-- Metering points that hung on an area at any time of a stretch; one row a membership.
select u.usage_point_id, u.code, u.kind, u.rated_current_a, m.behind_usage_point_id, m.valid_from, m.valid_to
from area_membership m join usage_point u using (usage_point_id)
where m.area_id = %(area_id)s
  and tstzrange(m.valid_from, m.valid_to) && tstzrange(%(start)s, %(end)s)
order by u.usage_point_id, m.valid_from

-- installations_of --
-- Every installation of some metering points: those around a stretch are needed too, where one meter serves on with another multiplier.
select i.installation_id, i.usage_point_id, i.meter_id, i.valid_from, i.valid_to, i.multiplier, i.sign,
       i.start_import_wh, i.start_export_wh, i.end_import_wh, i.end_export_wh,
       m.manufacturer, m.serial, m.phases, m.digits, m.resolution_wh
from installation i join meter m using (meter_id)
where i.usage_point_id = any(%(usage_points)s)
order by i.usage_point_id, i.valid_from

-- readings_between --
-- All readings of some meters in a stretch, as one vector a meter and column (unordered).
select meter_id, array_agg(ts) as ts_us, array_agg(coalesce(import_wh, %(absent)s)) as import_wh,
       array_agg(coalesce(export_wh, %(absent)s)) as export_wh,
       array_agg(coalesce(voltage_dv::bigint, %(absent)s)) as voltage_dv, array_agg(flags) as flags,
       array_agg(coalesce(resolution_wh::bigint, 0)) as resolution_wh
from register_reading
where meter_id = any(%(meters)s) and ts >= %(start)s and ts < %(end)s
group by meter_id

-- readings_before --
-- The last few readings of each meter before an instant: the near side of a gap that reaches into the stretch.
select w.meter_id, array_agg(r.ts) as ts_us, array_agg(coalesce(r.import_wh, %(absent)s)) as import_wh,
       array_agg(coalesce(r.export_wh, %(absent)s)) as export_wh,
       array_agg(coalesce(r.voltage_dv::bigint, %(absent)s)) as voltage_dv, array_agg(r.flags) as flags,
       array_agg(coalesce(r.resolution_wh::bigint, 0)) as resolution_wh
from unnest(%(meters)s::integer[]) as w (meter_id), lateral (
    select * from register_reading where meter_id = w.meter_id and ts >= %(since)s::timestamptz and ts < %(start)s
    order by ts desc limit %(few)s) r
group by w.meter_id

-- readings_after --
-- The first few readings of each meter from an instant on: the far side of a gap that reaches out of the stretch.
select w.meter_id, array_agg(r.ts) as ts_us, array_agg(coalesce(r.import_wh, %(absent)s)) as import_wh,
       array_agg(coalesce(r.export_wh, %(absent)s)) as export_wh,
       array_agg(coalesce(r.voltage_dv::bigint, %(absent)s)) as voltage_dv, array_agg(r.flags) as flags,
       array_agg(coalesce(r.resolution_wh::bigint, 0)) as resolution_wh
from unnest(%(meters)s::integer[]) as w (meter_id), lateral (
    select * from register_reading where meter_id = w.meter_id and ts >= %(end)s and ts < %(until)s::timestamptz
    order by ts limit %(few)s) r
group by w.meter_id

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

-- staging --
-- Where one transaction's rows wait for the upsert.
create temporary table if not exists interval_day_staging (
    usage_point_id integer, day date, starts_at timestamptz, interval_s integer, import_wh bigint[], export_wh bigint[],
    voltage_dv smallint[], quality smallint[], flags integer[], start_import_wh bigint, end_import_wh bigint, start_export_wh bigint,
    end_export_wh bigint, meters integer[], multiplier_e4 bigint, measured smallint, estimated smallint, rules smallint,
    start_mark bigint, end_mark bigint
) on commit delete rows

-- copy_staging --
-- Binary rows in the order of the staging table's columns.
copy interval_day_staging from stdin (format binary)

-- upsert --
-- Rows that say the same as before stay untouched, and are not returned.
insert into interval_day as i (
    usage_point_id, day, starts_at, interval_s, import_wh, export_wh, voltage_dv, quality, flags, start_import_wh, end_import_wh,
    start_export_wh, end_export_wh, meters, multiplier, measured, estimated, rules, start_mark, end_mark, settled_at)
select usage_point_id, day, starts_at, interval_s, import_wh, export_wh, voltage_dv, quality, flags, start_import_wh, end_import_wh,
       start_export_wh, end_export_wh, meters, multiplier_e4 / 10000.0, measured, estimated, rules, start_mark, end_mark, %(now)s
from interval_day_staging order by usage_point_id, day
on conflict (usage_point_id, day) do update set
    starts_at = excluded.starts_at, interval_s = excluded.interval_s, import_wh = excluded.import_wh, export_wh = excluded.export_wh,
    voltage_dv = excluded.voltage_dv, quality = excluded.quality, flags = excluded.flags,
    start_import_wh = excluded.start_import_wh, end_import_wh = excluded.end_import_wh, start_export_wh = excluded.start_export_wh,
    end_export_wh = excluded.end_export_wh, meters = excluded.meters, multiplier = excluded.multiplier, measured = excluded.measured,
    estimated = excluded.estimated, rules = excluded.rules, start_mark = excluded.start_mark, end_mark = excluded.end_mark,
    settled_at = excluded.settled_at
where (i.starts_at, i.interval_s, i.import_wh, i.export_wh, i.voltage_dv, i.quality, i.flags, i.start_import_wh, i.end_import_wh,
       i.start_export_wh, i.end_export_wh, i.meters, i.multiplier, i.rules, i.start_mark, i.end_mark)
   is distinct from (excluded.starts_at, excluded.interval_s, excluded.import_wh, excluded.export_wh, excluded.voltage_dv,
       excluded.quality, excluded.flags, excluded.start_import_wh, excluded.end_import_wh, excluded.start_export_wh,
       excluded.end_export_wh, excluded.meters, excluded.multiplier, excluded.rules, excluded.start_mark, excluded.end_mark)
returning usage_point_id, day

-- forget --
-- Rows of points that, as it is known now, had no meter on these days.
delete from interval_day
using unnest(%(usage_points)s::integer[], %(days)s::date[]) as w (usage_point_id, day)
where interval_day.usage_point_id = w.usage_point_id and interval_day.day = w.day
returning interval_day.usage_point_id, interval_day.day

-- marks_of_day --
-- Which readings decided a day's two midnights when it was settled.
select usage_point_id, start_mark, end_mark from interval_day where usage_point_id = any(%(usage_points)s) and day = %(day)s

-- estimated_days --
-- Later days of some points with estimates in them: their shape may come from the days just settled.
select usage_point_id, day from interval_day
where usage_point_id = any(%(usage_points)s) and day > %(after)s and day <= %(until)s and estimated > 0

-- days_of_points --
-- Settled days of some points; vectors without NULL elements, because those are read without a loop.
select usage_point_id, day, starts_at, interval_s, array_replace(import_wh, null, %(absent)s) as import_wh,
       array_replace(export_wh, null, %(absent)s) as export_wh, array_replace(voltage_dv, null, %(absent_dv)s::smallint) as voltage_dv,
       quality, flags, measured, estimated
from interval_day where usage_point_id = any(%(usage_points)s) and day between %(first)s and %(last)s
order by usage_point_id, day
