-- begin --
-- Areas that are new here: reads are scheduled from now on.
insert into read_success_area (area_id, since_at) select area_id, %(now)s from area order by area_id on conflict do nothing

-- due --
-- Area-days to count: today's; yesterday's that nobody counted yet; days that were settled again since they were counted (which is
-- what a reading, an edit or a change of topology leads to); days whose grace ended, whose first result is to be kept.
-- A settlement that was under way while a day was counted may bear an earlier instant: hence the overlap.
with area_day as (
    select area_id, %(today)s::date as day from read_success_area
    union
    select a.area_id, %(today)s::date - 1 from read_success_area a
    where not exists (select from read_success_day r where r.area_id = a.area_id and r.day = %(today)s::date - 1)
    union
    select b.area_id, b.day
    from balance_day b left join read_success_day r using (area_id, day)
    where b.day >= %(first)s::date and b.day < %(today)s::date
      and (r.area_id is null or b.settled_at > r.computed_at - interval '1 minute')
    union
    select r.area_id, r.day from read_success_day r
    where r.day between %(first)s::date and %(over)s::date and r.stored_first is null
)
select area_id, day from area_day join read_success_area a using (area_id)
where day >= (a.since_at at time zone %(zone)s)::date
order by day, area_id

-- count --
-- Reads scheduled and stored of some areas' meters on one local day, as far as they are due.
-- A meter is read in slots of its period on the UTC grid: a slot belongs to the day and to the area that its instant lies in,
-- and is stored when any reading lies in it. A polled reading comes after its instant; one that a device stamps itself lies about it.
-- Only the key of the readings is looked at, so that their index answers.
with member as materialized (
    select h.area_id, h.usage_point_id, u.kind, greatest(h.valid_from, a.since_at) as valid_from, h.valid_to
    from area_membership h join usage_point u using (usage_point_id) join read_success_area a using (area_id)
    where h.area_id = any (%(areas)s::integer[]) and h.valid_from < %(end)s and (h.valid_to is null or h.valid_to > %(start)s)
), span as materialized (
    select h.area_id, i.meter_id,
           case when e.polled and h.kind = 'area' then %(area_period_s)s::integer when e.polled then %(period_s)s::integer
                else %(reporting_s)s::integer end as period_s,
           case when e.polled then 0.0::float8 else %(reporting_s)s::integer / 2.0::float8 end as before_s,
           greatest(h.valid_from, i.valid_from, %(start)s) as since,
           least(coalesce(h.valid_to, 'infinity'), coalesce(i.valid_to, 'infinity'), %(end)s) as until
    from member h
    join installation i on i.usage_point_id = h.usage_point_id and i.valid_from < %(end)s and (i.valid_to is null or i.valid_to > %(start)s)
    join lateral (select bool_or(protocol = 'modbus') as polled from endpoint where meter_id = i.meter_id) e on e.polled is not null
), slots as materialized (
    select area_id, meter_id, period_s, before_s,
           ceil(date_part('epoch', since) / period_s)::bigint as first_slot,
           least(ceil(date_part('epoch', until) / period_s), floor((date_part('epoch', %(now)s::timestamptz) - %(due_s)s::float8) / period_s) + 1)::bigint as end_slot
    from span where since < until
), metered as (
    select s.area_id, s.meter_id, s.end_slot - s.first_slot as scheduled, r.stored
    from slots s
    cross join lateral (
        select count(distinct floor((date_part('epoch', r.ts) + s.before_s) / s.period_s)) as stored
        from register_reading r
        where r.meter_id = s.meter_id
          and r.ts >= to_timestamp(s.first_slot * s.period_s - s.before_s) and r.ts < to_timestamp(s.end_slot * s.period_s - s.before_s)
          and r.ts >= %(start)s::timestamptz - interval '1 day' and r.ts < %(end)s::timestamptz + interval '1 day') r
    where s.end_slot > s.first_slot
), meter_day as (
    select area_id, meter_id, sum(scheduled) as scheduled, sum(stored) as stored from metered group by area_id, meter_id
)
insert into read_success_day as d (area_id, day, scheduled, stored, stored_first, scheduled_first, meters, meters_complete, computed_at)
select area_id, %(day)s, coalesce(sum(scheduled), 0), coalesce(sum(stored), 0),
       case when %(over)s then coalesce(sum(stored), 0) end, case when %(over)s then coalesce(sum(scheduled), 0) end,
       count(meter_id), count(meter_id) filter (where stored = scheduled), %(now)s
from unnest(%(areas)s::integer[]) as a (area_id) left join meter_day using (area_id)
group by area_id order by area_id
on conflict (area_id, day) do update
set scheduled = excluded.scheduled, stored = excluded.stored,
    stored_first = coalesce(d.stored_first, excluded.stored_first), scheduled_first = coalesce(d.scheduled_first, excluded.scheduled_first),
    meters = excluded.meters, meters_complete = excluded.meters_complete, computed_at = excluded.computed_at

-- judged --
-- The last day of each area whose grace is over; a day on which nothing was scheduled is passed over.
select a.area_id, a.code, l.day, l.scheduled, l.stored, l.stored_first, l.scheduled_first
from area a
join lateral (select r.* from read_success_day r where r.area_id = a.area_id and r.day between %(first)s::date and %(over)s::date
              and r.scheduled > 0 order by r.day desc limit 1) l on true
order by a.code

-- standing --
-- Areas that were said to fall short, and what was said.
select subject, severity, detail, renewed_at from alert where kind = %(kind)s and cleared_at is null

-- fleet --
-- All areas together on some days.
select day, sum(scheduled)::bigint as scheduled, sum(stored)::bigint as stored, count(*) filter (where scheduled > 0) as areas,
       case when bool_and(stored_first is not null) then sum(stored_first)::float8 / nullif(sum(scheduled_first), 0) end as ratio_first
from read_success_day where day = any (%(days)s::date[]) group by day order by day

-- worst --
-- The areas that fall shortest on a day.
select a.code as area, a.name, r.day, r.scheduled, r.stored, r.meters, r.meters_complete,
       r.stored::float8 / r.scheduled as ratio, r.stored_first::float8 / nullif(r.scheduled_first, 0) as ratio_first
from read_success_day r join area a using (area_id)
where r.day = %(day)s and r.scheduled > 0
order by r.stored::float8 / r.scheduled, r.scheduled - r.stored desc, a.code limit %(limit)s

-- of_area --
-- The last days of one area, newest first.
select r.day, r.scheduled, r.stored, r.meters, r.meters_complete, r.stored::float8 / nullif(r.scheduled, 0) as ratio,
       r.stored_first::float8 / nullif(r.scheduled_first, 0) as ratio_first, r.computed_at
from read_success_day r
where r.area_id = %(area_id)s and r.day >= %(first)s order by r.day desc

-- sweep --
-- Days that nobody asks for any more.
delete from read_success_day where day < %(before)s
