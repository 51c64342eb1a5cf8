-- take_area --
-- One area with work, locked so that several workers share the areas; the lock does not hinder rows that refer to the area.
-- Work: marks that no reading renewed for a while (for longer while the area's history is loading, or every upload would have its days
-- settled again), and days kept busy by readings that have waited long enough.
select a.area_id, a.code from area a
where exists (
    select from dirty_day d left join balance_day b using (area_id, day)
    where d.area_id = a.area_id
      and (coalesce(b.settled_at, %(started)s) <= %(overdue)s or d.marked_at <= case when exists (
               select from concentrator c where c.area_id = a.area_id
                 and (c.backlog is null or c.backlog > 0) and coalesce(c.last_seen_at, %(started)s) > %(silent)s)
           then %(quiet_loading)s else %(quiet)s end))
order by (select min(marked_at) from dirty_day d where d.area_id = a.area_id)
limit 1
for no key update of a skip locked

-- lock_area --
-- One area by its code or id, locked for settling; waits for the worker that has it.
select area_id, code from area where area_id = %(area_id)s for no key update

-- marks --
-- The marks of an area that may be settled now; the version tells a mark that was renewed in between.
select d.day, d.xmin::text as version
from dirty_day d left join balance_day b using (area_id, day)
where d.area_id = %(area_id)s
  and (coalesce(b.settled_at, %(started)s) <= %(overdue)s or d.marked_at <= case when exists (
           select from concentrator c where c.area_id = d.area_id
             and (c.backlog is null or c.backlog > 0) and coalesce(c.last_seen_at, %(started)s) > %(silent)s)
       then %(quiet_loading)s else %(quiet)s end)
order by d.day limit %(most)s

-- clear --
-- Just the marks that were taken: one renewed meanwhile has another version and survives.
delete from dirty_day d using unnest(%(days)s::date[], %(versions)s::text[]) as t (day, version)
where d.area_id = %(area_id)s and d.day = t.day and d.xmin::text = t.version

-- mark_points --
-- Days of metering points, on whichever area they hung then. A mark that stands already is not settled yet and stays.
insert into dirty_day (area_id, day, marked_at)
select distinct m.area_id, w.day, %(marked_at)s::timestamptz
from unnest(%(usage_points)s::integer[], %(days)s::date[]) as w (usage_point_id, day)
join area_membership m on m.usage_point_id = w.usage_point_id
 and tstzrange(m.valid_from, m.valid_to) && tstzrange(w.day::timestamp at time zone %(zone)s, (w.day + 1)::timestamp at time zone %(zone)s)
on conflict (area_id, day) do nothing

-- mark_area --
-- A stretch of days of one area, to be settled again.
insert into dirty_day (area_id, day, marked_at)
select %(area_id)s, d::date, %(marked_at)s from generate_series(%(first)s::date, %(last)s::date, interval '1 day') d
on conflict (area_id, day) do nothing

-- mark_ended --
-- Days that ended since they were settled, and days that no reading touched after an area's first one: both need their last word.
insert into dirty_day (area_id, day, marked_at)
select a.area_id, d.day, %(marked_at)s
from (select area_id, min(day) as first_day from balance_day group by area_id) a
cross join lateral (
    select g::date as day from generate_series(greatest(a.first_day, %(yesterday)s::date - %(back)s::integer), %(yesterday)s::date, interval '1 day') g) d
left join balance_day b on b.area_id = a.area_id and b.day = d.day
where b.area_id is null or b.settled_at < (d.day + 1)::timestamp at time zone %(zone)s
on conflict (area_id, day) do nothing

-- waiting --
-- How much is to be settled.
select count(*) as days from dirty_day where %(area_id)s::integer is null or area_id = %(area_id)s
