-- flags_of_area --
-- Of each metering point that hung on an area on a local day: how many of its intervals carry which flags, and by which rule set.
select u.code as usage_point, d.rules, f.flags, count(*) as intervals
from usage_point u
join interval_day d using (usage_point_id)
cross join lateral unnest(day_vector(d.flags, cardinality(d.import_wh))) f (flags)
where d.day = %(day)s and exists (
    select from area_membership m
    where m.usage_point_id = u.usage_point_id and m.area_id = %(area_id)s
      and tstzrange(m.valid_from, m.valid_to) && tstzrange(%(start)s, %(end)s))
group by u.code, d.rules, f.flags
order by u.code, f.flags
