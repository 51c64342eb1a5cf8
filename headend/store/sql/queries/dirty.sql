-- waiting_areas --
-- Areas with ripe marks in a span of days, the one that waits longest first. Ripe: no reading renewed the mark for a while (for longer while the
-- area's history is loading, or every upload would have its days settled again), or the day is kept busy and was settled long enough ago.
select d.area_id
from dirty_day d
left join balance_day b using (area_id, day)
left join (select distinct c.area_id, true as yes from concentrator c
           where (c.backlog is null or c.backlog > 0) and coalesce(c.last_seen_at, %(started)s) > %(silent)s) loading using (area_id)
where d.day between %(first)s and %(last)s
  and (d.marked_at <= case when loading.yes then %(quiet_loading)s::timestamptz else %(quiet)s end
       or coalesce(b.settled_at, %(started)s) <= %(overdue)s)
group by d.area_id
order by min(coalesce(d.since, d.marked_at)), d.area_id
limit %(most)s

-- take_area --
-- Lock an area, and the areas that share a usage point with it (both settle its days), as far as nobody else has them: one row each, the area
-- itself first. The locks do not hinder rows that refer to the area. Looked up by arrays: joins were planned to read all memberships and areas.
with wanted as materialized (
    select %(area_id)s::integer as area_id
    union
    select area_id from area_membership
    where usage_point_id = any (array(select usage_point_id from area_membership where area_id = %(area_id)s)))
select a.code, (select count(*) from wanted) as wanted
from area a where a.area_id = any (array(select area_id from wanted))
order by a.area_id <> %(area_id)s, a.area_id
for no key update of a skip locked

-- lock_area --
-- The same, waiting for whoever has one of them; in one order, so that nobody waits in a circle.
select area_id from area
where area_id = any (array(
    select %(area_id)s::integer
    union
    select area_id from area_membership
    where usage_point_id = any (array(select usage_point_id from area_membership where area_id = %(area_id)s))))
order by area_id for no key update

-- marks --
-- The marks of an area in a span of days that may be settled now; the version tells a mark that was renewed in between.
select d.day, d.xmin::text as version
from dirty_day d left join balance_day b using (area_id, day)
where d.area_id = %(area_id)s and d.day between %(first)s and %(last)s
  and (coalesce(b.settled_at, %(started)s) <= %(overdue)s or d.marked_at <= case when exists (
           select from concentrator c where c.area_id = d.area_id
             and (c.backlog is null or c.backlog > 0) and coalesce(c.last_seen_at, %(started)s) > %(silent)s)
       then %(quiet_loading)s else %(quiet)s end)
order by d.day limit %(most)s

-- marks_on --
-- The marks of an area on some days, with their versions.
select day, xmin::text as version from dirty_day where area_id = %(area_id)s and day = any (%(days)s::date[]) order by day

-- clear --
-- Just the marks that were taken: one renewed meanwhile has another version and survives. One that somebody is renewing just now is passed over
-- instead of waited for: whoever settles holds marks of other days, which that one may wait for.
with taken as (
    select d.area_id, d.day from dirty_day d join unnest(%(days)s::date[], %(versions)s::text[]) as t (day, version) on d.day = t.day
    where d.area_id = %(area_id)s and d.xmin::text = t.version
    for update of d skip locked)
delete from dirty_day d using taken t where (d.area_id, d.day) = (t.area_id, t.day)

-- wait_anew --
-- Marks that were taken and renewed meanwhile: what is waited for began with the renewal.
update dirty_day d set since = null
from (select area_id, day from dirty_day where area_id = %(area_id)s and day = any (%(days)s::date[]) and since is not null
      for update skip locked) s
where (d.area_id, d.day) = (s.area_id, s.day)

-- mark_points --
-- Days of metering points, on whichever area they hung then. A mark that stands already is renewed: who settles that day now has to look again.
insert into dirty_day as d (area_id, day, marked_at)
select distinct m.area_id, w.day, %(marked_at)s::timestamptz
from unnest(%(usage_points)s::integer[], %(days)s::date[]) as w (usage_point_id, day)
join area_membership m on m.usage_point_id = w.usage_point_id
 and tstzrange(m.valid_from, m.valid_to) && tstzrange(w.day::timestamp at time zone %(zone)s, (w.day + 1)::timestamp at time zone %(zone)s)
order by 1, 2
on conflict (area_id, day) do update set
    marked_at = greatest(excluded.marked_at, d.marked_at + interval '1 microsecond'), since = coalesce(d.since, d.marked_at)

-- mark_area --
-- A stretch of days of one area, to be settled again; renews a mark that stands already.
insert into dirty_day as d (area_id, day, marked_at)
select %(area_id)s, g::date, %(marked_at)s from generate_series(%(first)s::date, %(last)s::date, interval '1 day') g
order by g
on conflict (area_id, day) do update set
    marked_at = greatest(excluded.marked_at, d.marked_at + interval '1 microsecond'), since = coalesce(d.since, d.marked_at)

-- pass_on --
-- Days that settling some days of an area makes out of date, on whichever area the points hung then; not those that are settled in the same
-- pass. A mark that stands already needs no renewal: whoever passes on holds all areas that share a point with his own, so nobody settles it now.
with touched as materialized (
    select distinct m.area_id, w.day
    from unnest(%(usage_points)s::integer[], %(days)s::date[]) as w (usage_point_id, day)
    join area_membership m on m.usage_point_id = w.usage_point_id
     and tstzrange(m.valid_from, m.valid_to) && tstzrange(w.day::timestamp at time zone %(zone)s, (w.day + 1)::timestamp at time zone %(zone)s)
    where m.area_id <> %(area_id)s or w.day <> all (%(taken)s::date[])
), marked as (
    insert into dirty_day (area_id, day, marked_at)
    select area_id, day, %(marked_at)s from touched order by area_id, day
    on conflict (area_id, day) do nothing)
select area_id, day from touched order by area_id, day

-- mark_ended --
-- Days that ended since they were settled, and days that no reading touched after an area's first one: both need their last word.
insert into dirty_day (area_id, day, marked_at)
select a.area_id, d.day, %(marked_at)s
from (select area_id, min(day) as first_day from balance_day group by area_id) a
cross join lateral (
    select g::date as day from generate_series(greatest(a.first_day, %(yesterday)s::date - %(back)s::integer), %(yesterday)s::date, interval '1 day') g) d
left join balance_day b on b.area_id = a.area_id and b.day = d.day
where b.area_id is null or b.settled_at < (d.day + 1)::timestamp at time zone %(zone)s
order by a.area_id, d.day
on conflict (area_id, day) do nothing

-- waiting --
-- How much is to be settled.
select count(*) as days from dirty_day where %(area_id)s::integer is null or area_id = %(area_id)s
