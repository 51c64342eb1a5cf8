-- head --
-- A usage point as it is now: what it is, the area that it hangs on, or hung on last.
select u.usage_point_id, u.code, u.name, u.kind, u.category, u.phase, u.rated_current_a,
       a.code as area, a.name as area_name, m.valid_from as area_since, m.valid_to as area_until, b.code as behind
from usage_point u
left join lateral (select * from area_membership x where x.usage_point_id = u.usage_point_id and x.valid_from <= %(now)s
                   order by x.valid_from desc limit 1) m on true
left join area a using (area_id)
left join usage_point b on b.usage_point_id = m.behind_usage_point_id
where u.code = %(code)s

-- meters --
-- Meters that served at a usage point in a stretch, in order of time.
select i.meter_id, m.manufacturer, m.serial, m.model, m.resolution_wh, i.multiplier, i.sign, i.valid_from, i.valid_to
from installation i join meter m using (meter_id)
where i.usage_point_id = %(usage_point_id)s and i.valid_from < %(end)s and (i.valid_to is null or i.valid_to > %(start)s)
order by i.valid_from

-- days --
-- Settled days with one element an interval in every vector, oldest first.
select d.day, d.starts_at, d.interval_s, d.import_wh, day_vector(d.export_wh, n) as export_wh, day_vector(d.voltage_dv, n) as voltage_dv,
       day_vector(d.quality, n) as quality, day_vector(d.flags, n) as flags, d.start_import_wh, d.end_import_wh, d.start_export_wh,
       d.end_export_wh, d.multiplier, d.rules, d.settled_at,
       array(select m.manufacturer || '/' || m.serial from unnest(d.meters) with ordinality as o (meter_id, k)
             join meter m using (meter_id) order by o.k) as meters
from interval_day d cross join lateral (select cardinality(d.import_wh) as n) vector
where d.usage_point_id = %(usage_point_id)s and d.day between %(first)s and %(last)s
order by d.day

-- qualities --
-- How many intervals of each day came to be in which way, and on how many an edit does not hold: a month at a glance.
select d.day, cardinality(d.import_wh) as intervals, sum(i.import_wh)::bigint as import_wh,
       count(*) filter (where i.quality = 0) as absent, count(*) filter (where i.quality = 1) as measured,
       count(*) filter (where i.quality = 2) as interpolated, count(*) filter (where i.quality = 3) as estimated,
       count(*) filter (where i.quality = 4) as edited, count(*) filter (where i.quality = 5) as zero_by_event,
       count(*) filter (where i.flags & %(refused)s <> 0) as refused, count(*) filter (where i.flags & %(faults)s <> 0) as flagged
from interval_day d
cross join lateral unnest(d.import_wh, day_vector(d.quality, cardinality(d.import_wh)), day_vector(d.flags, cardinality(d.import_wh)))
     as i (import_wh, quality, flags)
where d.usage_point_id = %(usage_point_id)s and d.day between %(first)s and %(last)s
group by d.day, d.import_wh
order by d.day
