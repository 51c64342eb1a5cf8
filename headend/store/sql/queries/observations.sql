-- odd_phases --
-- Per-phase readings that a rule may find fault with, and no others: nearly all are in order, and stay where they are. The bounds are those of the
-- category that is strictest; the rules judge what comes. least and greatest pass over what was not measured.
select meter_id, array_agg(ts) as ts_us,
       array_agg(coalesce(voltage_l1_dv::bigint, %(absent)s)) as voltage_l1_dv,
       array_agg(coalesce(voltage_l2_dv::bigint, %(absent)s)) as voltage_l2_dv,
       array_agg(coalesce(voltage_l3_dv::bigint, %(absent)s)) as voltage_l3_dv,
       array_agg(coalesce(current_l1_ma, %(absent)s)) as current_l1_ma,
       array_agg(coalesce(current_l2_ma, %(absent)s)) as current_l2_ma,
       array_agg(coalesce(current_l3_ma, %(absent)s)) as current_l3_ma,
       array_agg(coalesce(power_w, %(absent)s)) as power_w
from phase_reading
where meter_id = any(%(meters)s) and ts >= %(start)s and ts < %(end)s
  and (least(voltage_l1_dv, voltage_l2_dv, voltage_l3_dv) < %(gone_dv)s
       or power_w < %(back_w)s
       or num_nonnulls(current_l1_ma, current_l2_ma, current_l3_ma) = 3
          -- the smallest of the three against the one in the middle
          and least(abs(current_l1_ma), abs(current_l2_ma), abs(current_l3_ma)) <= %(idle_to_load)s
              * (abs(current_l1_ma) + abs(current_l2_ma) + abs(current_l3_ma)
                 - least(abs(current_l1_ma), abs(current_l2_ma), abs(current_l3_ma))
                 - greatest(abs(current_l1_ma), abs(current_l2_ma), abs(current_l3_ma)))
          and greatest(abs(current_l1_ma), abs(current_l2_ma), abs(current_l3_ma)) > 0)
group by meter_id

-- odd_tariffs --
-- Readings whose rates do not add up to their total, by the step that is finest; of meters that have rates at all, and count in one of them:
-- registers of a function that is switched off stay 0. As floating point numbers, since a spoilt register may hold anything.
select p.meter_id, array_agg(p.ts) as ts_us,
       array_agg(coalesce(r.resolution_wh::bigint, 0)) as step_wh, array_agg(r.import_wh) as import_wh,
       array_agg(coalesce(import_t1_wh, %(absent)s)) as import_t1_wh,
       array_agg(coalesce(import_t2_wh, %(absent)s)) as import_t2_wh,
       array_agg(coalesce(import_t3_wh, %(absent)s)) as import_t3_wh,
       array_agg(coalesce(import_t4_wh, %(absent)s)) as import_t4_wh,
       array_agg(coalesce(import_t5_wh, %(absent)s)) as import_t5_wh,
       array_agg(coalesce(import_t6_wh, %(absent)s)) as import_t6_wh,
       array_agg(coalesce(import_t7_wh, %(absent)s)) as import_t7_wh,
       array_agg(coalesce(import_t8_wh, %(absent)s)) as import_t8_wh
from tariff_meter t
join meter m using (meter_id)
join phase_reading p on p.meter_id = t.meter_id and p.ts >= %(start)s and p.ts < %(end)s
join register_reading r on r.meter_id = p.meter_id and r.ts = p.ts and r.ts >= %(start)s and r.ts < %(end)s
where t.meter_id = any(%(meters)s)
  and abs(coalesce(import_t1_wh, 0)::float8 + coalesce(import_t2_wh, 0)::float8 + coalesce(import_t3_wh, 0)::float8 + coalesce(import_t4_wh, 0)::float8
          + coalesce(import_t5_wh, 0)::float8 + coalesce(import_t6_wh, 0)::float8 + coalesce(import_t7_wh, 0)::float8 + coalesce(import_t8_wh, 0)::float8 - r.import_wh)
      > %(steps)s::float8 * greatest(m.resolution_wh, r.resolution_wh)
        * num_nonnulls(import_t1_wh, import_t2_wh, import_t3_wh, import_t4_wh, import_t5_wh, import_t6_wh, import_t7_wh, import_t8_wh)
  and greatest(import_t1_wh, import_t2_wh, import_t3_wh, import_t4_wh, import_t5_wh, import_t6_wh, import_t7_wh, import_t8_wh) > 0
group by p.meter_id

-- rates_told --
-- Which rates the readings of a stretch and the last one before it told, as bits: 1 for the first rate.
with near as (
    select r.meter_id, r.ts from register_reading r
    where r.meter_id = any(%(meters)s) and r.ts >= %(from)s and r.ts < %(end)s
    union all
    select w.meter_id, r.ts
    from unnest(%(meters)s) as w (meter_id)
    cross join lateral (
        select r.ts from register_reading r
        where r.meter_id = w.meter_id and r.ts < %(from)s and r.ts >= %(since)s
        order by r.ts desc limit 1) r)
select n.meter_id, array_agg(n.ts) as ts_us,
       array_agg(case when p.ts is null then 0::bigint else
           1 * (p.import_t1_wh is not null)::int + 2 * (p.import_t2_wh is not null)::int + 4 * (p.import_t3_wh is not null)::int + 8 * (p.import_t4_wh is not null)::int
           + 16 * (p.import_t5_wh is not null)::int + 32 * (p.import_t6_wh is not null)::int + 64 * (p.import_t7_wh is not null)::int + 128 * (p.import_t8_wh is not null)::int end) as rates
from near n
left join phase_reading p on p.meter_id = n.meter_id and p.ts = n.ts and p.ts >= %(since)s and p.ts < %(end)s
group by n.meter_id

-- other_values --
-- Readings of an instant that was stored already, which told another register; what was stored first stays.
select meter_id, ts, kept_import_wh, kept_export_wh, other_import_wh, other_export_wh
from reading_revision
where meter_id = any(%(meters)s) and ts >= %(start)s and ts < %(end)s
  and (kept_import_wh <> other_import_wh or kept_export_wh <> other_export_wh)
order by meter_id, ts

-- clocks_off --
-- Clocks that were found off, and when each was read again. The first condition is that of the index, which holds few rows.
select c.meter_id, c.at, c.offset_ms, n.at as again_at
from clock_reading c
left join lateral (
    select n.at from clock_reading n where n.meter_id = c.meter_id and n.at > c.at order by n.at limit 1) n on true
where c.meter_id = any(%(meters)s) and c.at >= %(since)s and c.at < %(end)s
  and (c.offset_ms is null or abs(c.offset_ms) > 1000) and (c.offset_ms is null or abs(c.offset_ms) > %(offset_ms)s)
order by c.meter_id, c.at

-- served_before --
-- Until when each meter had served anywhere before it was installed here.
select w.meter_id, w.installed_at, (
    select max(i.valid_to) from installation i where i.meter_id = w.meter_id and i.valid_from < w.installed_at) as served_until
from unnest(%(meters)s::integer[], %(installed_at)s::timestamptz[]) as w (meter_id, installed_at)

-- categories --
-- What each metering point was billed as in a stretch, as columns; a category is its place in a list. Bounds are compared one by one: a plan
-- made for any values reads every category that held at the time where they are compared as ranges.
select array_agg(usage_point_id) as usage_point_id, array_agg(array_position(%(categories)s::text[], category)) as category,
       array_agg(valid_from) as valid_from
from (
    select usage_point_id, category, valid_from
    from usage_point_category
    where usage_point_id = any(%(usage_points)s)
      and valid_from < %(end)s and (valid_to is null or valid_to > %(start)s)
    order by usage_point_id, valid_from) c
