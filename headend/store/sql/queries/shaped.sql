-- forget --
-- Days of some points in a stretch that are not shaped (any more).
delete from shaped_day
where usage_point_id = any (%(of)s::integer[]) and day between %(first)s and %(last)s
  and not exists (select from unnest(%(usage_points)s::integer[], %(days)s::date[]) as w (usage_point_id, day)
                  where w.usage_point_id = shaped_day.usage_point_id and w.day = shaped_day.day)

-- put --
-- Days that are shaped, and since which gap; what stands there already is left alone.
insert into shaped_day as s (usage_point_id, day, gap_day)
select usage_point_id, day, gap_day from unnest(%(usage_points)s::integer[], %(days)s::date[], %(gap_days)s::date[]) as w (usage_point_id, day, gap_day)
order by usage_point_id, day
on conflict (usage_point_id, day) do update set gap_day = excluded.gap_day where s.gap_day <> excluded.gap_day

-- resting_on --
-- Later days of a point whose shape may come from a day that changed.
select distinct s.usage_point_id, s.day
from unnest(%(usage_points)s::integer[], %(days)s::date[]) as c (usage_point_id, day)
join shaped_day s on s.usage_point_id = c.usage_point_id and s.day > c.day and s.gap_day <= c.day + %(span)s::integer
order by 1, 2
