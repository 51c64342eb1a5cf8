-- periods --
-- Sums of area-days by day or month, over a scope (all, a station, a feeder, an area) and by its parts (areas, feeders, stations) or as a whole.
-- Only computable days enter sums; the others are counted. An area belongs to the feeder that fed it as the day began. Uncertainty: what is the
-- same error every day adds up over an area's days, the rest adds in squares, and a midnight between two days that are both in the sum is the
-- same register on either side; areas are independent of each other.
with calendar as (
    select d::date as day, case when %(period)s::text = 'month' then date_trunc('month', d)::date else d::date end as period,
           d at time zone %(zone)s::text as begins_at
    from generate_series(%(first)s::date::timestamp, %(last)s::date::timestamp, interval '1 day') d
), member as (
    select c.period, c.day, a.area_id,
           case %(by)s::text when 'area' then a.code when 'feeder' then f.code when 'station' then s.code end as part
    from calendar c
    cross join area a
    join station s using (station_id)
    left join area_feeder m on m.area_id = a.area_id and m.valid_from <= c.begins_at and (m.valid_to is null or m.valid_to > c.begins_at)
    left join feeder f using (feeder_id)
    where case %(scope)s::text when 'station' then s.code = %(code)s::text when 'area' then a.code = %(code)s::text
               when 'feeder' then f.code = %(code)s::text
                   and a.area_id in (select x.area_id from area_feeder x join feeder y using (feeder_id) where y.code = %(code)s::text)
               else true end
), balance as (
    select m.period, m.part, m.day, m.area_id, b.day is not null as settled, coalesce(b.final, false) as final,
           coalesce(b.state, 'missing') as state, coalesce(b.state <> 'not_computable' and b.loss_wh is not null, false) as good,
           b.supplied_wh, b.delivered_wh, coalesce(b.unmetered_wh, 0) as unmetered_wh, b.loss_wh, b.technical_wh, b.gross_wh,
           b.measured_wh, b.estimated_wh, b.edited_wh, b.households, b.households_measured, b.intervals, b.intervals_complete,
           coalesce(b.systematic_wh, b.uncertainty_wh, 0)::float8 as systematic_wh, coalesce(b.inner_wh, 0)::float8 as inner_wh,
           coalesce(b.start_wh, 0)::float8 as start_wh, coalesce(b.end_wh, 0)::float8 as end_wh
    from member m left join balance_day b using (area_id, day)
), joined as (
    select *, good and coalesce(lag(good) over days and lag(day) over days = day - 1, false) as goes_on,
           good and coalesce(lead(good) over days and lead(day) over days = day + 1, false) as is_continued
    from balance window days as (partition by period, part, area_id order by day)
), per_area as (
    select period, part, area_id, count(*) as days, count(*) filter (where good) as good_days, count(*) filter (where settled) as settled_days,
           count(*) filter (where final) as final_days,
           count(technical_wh) filter (where good) as technical_days,
           sum(supplied_wh) filter (where good) as supplied_wh, sum(delivered_wh) filter (where good) as delivered_wh,
           sum(unmetered_wh) filter (where good) as unmetered_wh, sum(loss_wh) filter (where good) as loss_wh,
           sum(technical_wh) filter (where good) as technical_wh, sum(gross_wh) filter (where good) as gross_wh,
           sum(measured_wh) filter (where good) as measured_wh, sum(estimated_wh) filter (where good) as estimated_wh,
           sum(edited_wh) filter (where good) as edited_wh,
           max(households) as households, sum(households) as household_days, sum(households_measured) as household_days_measured,
           sum(intervals) filter (where good) as intervals, sum(intervals_complete) filter (where good) as intervals_complete,
           sum(systematic_wh) filter (where good) ^ 2
               + sum(inner_wh ^ 2 + case when goes_on then 0 else start_wh ^ 2 end + case when is_continued then 0 else end_wh ^ 2 end)
                 filter (where good) as variance,
           count(*) filter (where state = 'normal') as normal, count(*) filter (where state = 'high') as high,
           count(*) filter (where state = 'negative') as negative, count(*) filter (where state = 'not_computable') as not_computable,
           count(*) filter (where state = 'missing') as missing
    from joined group by period, part, area_id
)
select p.period, p.part, greatest(p.period, %(first)s::date) as first_day, least(e.last_day, %(last)s::date) as last_day,
       p.period >= %(first)s::date and e.last_day <= %(last)s::date as whole,
       count(*) as areas, count(*) filter (where good_days > 0) as areas_computable, count(*) filter (where good_days = days) as areas_complete,
       sum(days)::bigint as area_days, sum(good_days)::bigint as area_days_computable, sum(final_days)::bigint as area_days_final,
       sum(supplied_wh)::bigint as supplied_wh, sum(delivered_wh)::bigint as delivered_wh, sum(unmetered_wh)::bigint as unmetered_wh,
       sum(loss_wh)::bigint as loss_wh,
       case when sum(technical_days) = sum(good_days) then sum(technical_wh)::bigint end as technical_wh,
       case when sum(technical_days) = sum(good_days) then (sum(loss_wh) - sum(technical_wh))::bigint end as unexplained_wh,
       sum(technical_days)::bigint as area_days_technical,
       sum(gross_wh)::bigint as gross_wh, sum(loss_wh)::float8 / nullif(sum(gross_wh), 0)::float8 as loss_rate,
       sqrt(sum(variance))::bigint as uncertainty_wh,
       sum(households)::bigint as households,
       sum(household_days_measured)::float8 / nullif(sum(household_days), 0)::float8 as coverage_households,
       sum(intervals_complete)::float8 / nullif(sum(intervals), 0)::float8 as intervals_complete_share,
       sum(measured_wh)::bigint as measured_wh, sum(estimated_wh)::bigint as estimated_wh, sum(edited_wh)::bigint as edited_wh,
       sum(estimated_wh)::float8 / nullif(sum(measured_wh) + sum(estimated_wh) + sum(edited_wh), 0)::float8 as estimated_share,
       sum(normal)::bigint as normal, sum(high)::bigint as high, sum(negative)::bigint as negative,
       sum(not_computable)::bigint as not_computable, sum(missing)::bigint as missing
from per_area p
cross join lateral (
    select (p.period + case when %(period)s::text = 'month' then interval '1 month' else interval '1 day' end)::date - 1 as last_day) e
where %(after)s::date is null or p.period > %(after)s::date
group by p.period, p.part, e.last_day
order by p.period, p.part
limit %(limit)s::int

-- stations --
-- Every station with how many areas and feeders it answers for.
select s.code, s.name, (select count(*) from area a where a.station_id = s.station_id) as areas,
       (select count(*) from feeder f where f.station_id = s.station_id) as feeders
from station s
where %(code)s::text is null or s.code = %(code)s::text
order by s.code

-- feeders --
-- Feeders with their station and how many areas hang on them at an instant.
select f.code, f.name, s.code as station, s.name as station_name,
       (select count(*) from area_feeder m where m.feeder_id = f.feeder_id and m.valid_from <= %(at)s::timestamptz
          and (m.valid_to is null or m.valid_to > %(at)s::timestamptz)) as areas
from feeder f join station s using (station_id)
where (%(code)s::text is null or f.code = %(code)s::text) and (%(station)s::text is null or s.code = %(station)s::text)
order by f.code

-- names --
-- Names of areas by code.
select a.code, a.name, a.high_loss_rate, a.negative_loss_rate from area a where a.code = any(%(codes)s::text[])

-- feeder_of_area --
-- The feeder that feeds an area at an instant.
select f.code, f.name
from area a join area_feeder m using (area_id) join feeder f using (feeder_id)
where a.code = %(area)s::text and m.valid_from <= %(at)s::timestamptz and (m.valid_to is null or m.valid_to > %(at)s::timestamptz)
