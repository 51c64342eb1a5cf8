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
-- What each metering point was billed as in a stretch.
select usage_point_id, category, greatest(valid_from, %(start)s::timestamptz) as valid_from
from usage_point_category
where usage_point_id = any(%(usage_points)s)
  and tstzrange(valid_from, valid_to) && tstzrange(%(start)s, %(end)s)
order by usage_point_id, valid_from
