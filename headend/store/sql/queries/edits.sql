-- heads --
-- What stands, or stood as it was known then, of values near a stretch; the vectors come only for those that matter (values). In the order
-- in which they were taken one after the other: clocks of two hosts need not agree on it.
select edit_id, number, usage_point_id, direction, from_ts, to_ts, interval_s
from edit
where kind = 'values' and usage_point_id = any(%(usage_points)s) and from_ts < %(end)s and to_ts > %(start)s
  and case when %(known_at)s::timestamptz is null then undone_at is null
           else made_at <= %(known_at)s::timestamptz and (undone_at is null or undone_at > %(known_at)s::timestamptz) end
order by number

-- values --
-- Energies of some edits; both vectors without NULL elements, because those are read without a loop.
select edit_id, values_wh from edit where edit_id = any(%(edits)s)

-- set_aside --
-- Spans of meters' readings that are not believed, as it is known now or was known then; both ends included.
select meter_id, from_ts, to_ts
from edit
where kind = 'readings' and meter_id = any(%(meters)s)
  and case when %(known_at)s::timestamptz is null then undone_at is null
           else made_at <= %(known_at)s::timestamptz and (undone_at is null or undone_at > %(known_at)s::timestamptz) end
order by meter_id, from_ts

-- lock_usage_point --
-- One editor of a usage point at a time: whether an edit can hold depends on the others.
select usage_point_id, code, kind, category, name from usage_point where code = %(code)s for no key update

-- usage_point --
-- One by its code.
select usage_point_id, code, kind, category, name from usage_point where code = %(code)s

-- insert --
-- An edit that was sent before stays as it is.
insert into edit (edit_id, kind, usage_point_id, meter_id, direction, from_ts, to_ts, interval_s, values_wh, total_wh, before_wh,
                  before_quality, set_aside, first_day, last_day, made_at, made_by, reason)
values (%(edit_id)s, %(kind)s, %(usage_point_id)s, %(meter_id)s, %(direction)s, %(from_ts)s, %(to_ts)s, %(interval_s)s,
        %(values_wh)s::bigint[], %(total_wh)s, %(before_wh)s::bigint[], %(before_quality)s::smallint[], %(set_aside)s,
        %(first_day)s, %(last_day)s, %(made_at)s, %(made_by)s, %(reason)s)
on conflict (edit_id) do nothing

-- undo --
-- Once; who comes second finds it undone.
update edit set undone_at = greatest(%(now)s::timestamptz, made_at), undone_by = %(by)s, undo_reason = %(reason)s
where edit_id = %(edit_id)s and undone_at is null

-- find --
-- One edit with where it is.
select e.*, u.code as usage_point, u.name as usage_point_name, m.manufacturer, m.serial
from edit e join usage_point u using (usage_point_id) left join meter m on m.meter_id = e.meter_id
where e.edit_id = %(edit_id)s

-- audit --
-- All edits, of one usage point or of all, undone ones too; newest first.
select e.*, u.code as usage_point, u.name as usage_point_name, m.manufacturer, m.serial
from edit e join usage_point u using (usage_point_id) left join meter m on m.meter_id = e.meter_id
where (%(usage_point)s::text is null or u.code = %(usage_point)s)
  and (%(standing)s::bool is not true or e.undone_at is null)
  and (%(made_by)s::text is null or e.made_by = %(made_by)s)
  and (%(before_at)s::timestamptz is null or (e.made_at, e.number) < (%(before_at)s, %(before_number)s::bigint))
order by e.made_at desc, e.number desc
limit %(limit)s

-- states --
-- Of edits that have not been undone: whether a mark as old as the edit still waits on its days; of values also how many intervals of it are
-- settled, how many of these are its own (no newer edit of the same energy covers them, or one that does not hold over its value), and whether
-- one that no newer edit covers says that an edit does not hold there, and has another value than this one set.
select e.edit_id,
       exists (select from area_membership m
               join dirty_day d on d.area_id = m.area_id and d.day between e.first_day and e.last_day
               where m.usage_point_id = e.usage_point_id and coalesce(d.since, d.marked_at) <= e.made_at) as waiting,
       i.settled, i.own, i.refused
from edit e
cross join lateral (
    select count(*) as settled, count(*) filter (where newest or flagged and not other) as own, coalesce(bool_or(newest and flagged and other), false) as refused
    from interval_day d
    cross join lateral unnest(d.import_wh, day_vector(d.export_wh, cardinality(d.import_wh)), day_vector(d.flags, cardinality(d.import_wh)))
        with ordinality v (import_wh, export_wh, flags, n)
    cross join lateral (select d.starts_at + (v.n - 1) * d.interval_s * interval '1 second' as begins_at) b
    cross join lateral (
        select v.flags & %(refused)s <> 0 as flagged,
               d.interval_s <> e.interval_s or case e.direction when 'import' then v.import_wh else v.export_wh end is distinct from
                   e.values_wh[1 + (extract(epoch from b.begins_at - e.from_ts) / e.interval_s)::integer] as other,
               not exists (select from edit x
                           where x.usage_point_id = e.usage_point_id and x.kind = 'values' and x.direction = e.direction
                             and x.undone_at is null and x.number > e.number
                             and x.from_ts < b.begins_at + d.interval_s * interval '1 second' and x.to_ts > b.begins_at) as newest
        ) s
    where e.kind = 'values' and d.usage_point_id = e.usage_point_id and d.day between e.first_day and e.last_day
      and d.starts_at < e.to_ts and d.starts_at > e.from_ts - interval '26 hours'       -- before vectors are unnested
      and b.begins_at < e.to_ts and b.begins_at + d.interval_s * interval '1 second' > e.from_ts) i
where e.edit_id = any(%(edits)s) and e.undone_at is null

-- of_stretch --
-- Edits of a usage point that touch a stretch, undone ones too, newest first: what stands beside the intervals.
select e.*, u.code as usage_point, u.name as usage_point_name, m.manufacturer, m.serial
from edit e join usage_point u using (usage_point_id) left join meter m on m.meter_id = e.meter_id
where e.usage_point_id = %(usage_point_id)s and e.from_ts < %(end)s
  and (e.to_ts > %(start)s or (e.kind = 'readings' and e.to_ts >= %(start)s))
order by e.made_at desc, e.number desc

-- memberships --
-- The areas that a usage point hung on in a stretch.
select m.area_id, a.code, m.valid_from, m.valid_to
from area_membership m join area a using (area_id)
where m.usage_point_id = %(usage_point_id)s and tstzrange(m.valid_from, m.valid_to) && tstzrange(%(start)s, %(end)s)
order by m.valid_from

-- mark_meter --
-- Days between two instants on the areas on which whatever a meter served at hung then; renews a mark that stands.
insert into dirty_day as d (area_id, day, marked_at)
select distinct m.area_id, g::date, %(now)s::timestamptz
from installation i
join area_membership m using (usage_point_id)
cross join generate_series(%(first)s::date::timestamp, %(last)s::date::timestamp, interval '1 day') g
where i.meter_id = %(meter_id)s
  and tstzrange(i.valid_from, i.valid_to, '[]') && tstzrange(g at time zone %(zone)s, (g + interval '1 day') at time zone %(zone)s)
  and tstzrange(m.valid_from, m.valid_to) && tstzrange(g at time zone %(zone)s, (g + interval '1 day') at time zone %(zone)s)
order by 1, 2
on conflict (area_id, day) do update set
    marked_at = greatest(excluded.marked_at, d.marked_at + interval '1 microsecond'), since = coalesce(d.since, d.marked_at)

-- served_between --
-- Whether a meter served at a usage point at some time between two instants, both included.
select exists (select from installation i
               where i.meter_id = %(meter_id)s and i.usage_point_id = %(usage_point_id)s and i.valid_from <= %(end)s
                 and (i.valid_to is null or i.valid_to >= %(start)s)) as served

-- readings_in --
-- How many readings stand in a span, both ends included.
select count(*) as readings from register_reading where meter_id = %(meter_id)s and ts between %(start)s and %(end)s

-- waiting --
-- Whether a day of a usage point is marked to be settled again.
select exists (select from dirty_day d join area_membership m using (area_id)
               where m.usage_point_id = %(usage_point_id)s and d.day = %(day)s) as waiting
