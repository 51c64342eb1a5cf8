-- area --
-- What settling one area needs to know of it.
select area_id, code, high_loss_rate, negative_loss_rate from area where area_id = %(area_id)s

-- areas_by_code --
-- Areas to settle by request, and how much work each is: those of some codes, or all.
select a.area_id, a.code, (select count(distinct m.usage_point_id) from area_membership m where m.area_id = a.area_id) as points
from area a where cardinality(%(codes)s::text[]) = 0 or a.code = any (%(codes)s)
order by a.area_id

-- technical_model --
-- The technical-loss model that the last report left behind.
select constant_wh, quadratic_per_wh, interval_s from technical_model where area_id = %(area_id)s

-- upsert --
-- One settled area-day; `final` is decided by `finalise` alone, and never taken back.
insert into balance_day as b (
    area_id, day, state, reason, starts_at, interval_s, supplied_wh, delivered_wh, unmetered_wh, loss_wh, technical_wh, technical_source,
    unexplained_wh, gross_wh, loss_rate, uncertainty_wh, systematic_wh, start_wh, end_wh, inner_wh, coarse_wh, intervals,
    intervals_complete, households, households_measured, coverage_households, coverage_intervals, measured_wh, estimated_wh, edited_wh,
    estimated_share, supplied_interval_wh, delivered_interval_wh, technical_interval_wh, settled_at, changed_at)
values (
    %(area_id)s, %(day)s, %(state)s, %(reason)s, %(starts_at)s, %(interval_s)s, %(supplied_wh)s, %(delivered_wh)s, %(unmetered_wh)s,
    %(loss_wh)s, %(technical_wh)s, %(technical_source)s, %(unexplained_wh)s, %(gross_wh)s, %(loss_rate)s, %(uncertainty_wh)s,
    %(systematic_wh)s, %(start_wh)s, %(end_wh)s, %(inner_wh)s, %(coarse_wh)s, %(intervals)s, %(intervals_complete)s, %(households)s,
    %(households_measured)s, %(coverage_households)s, %(coverage_intervals)s, %(measured_wh)s, %(estimated_wh)s, %(edited_wh)s,
    %(estimated_share)s, %(supplied_interval_wh)s, %(delivered_interval_wh)s, %(technical_interval_wh)s, %(now)s, %(now)s)
on conflict (area_id, day) do update set
    state = excluded.state, reason = excluded.reason, starts_at = excluded.starts_at, interval_s = excluded.interval_s,
    supplied_wh = excluded.supplied_wh, delivered_wh = excluded.delivered_wh, unmetered_wh = excluded.unmetered_wh,
    loss_wh = excluded.loss_wh, technical_wh = excluded.technical_wh, technical_source = excluded.technical_source,
    unexplained_wh = excluded.unexplained_wh, gross_wh = excluded.gross_wh, loss_rate = excluded.loss_rate,
    uncertainty_wh = excluded.uncertainty_wh, systematic_wh = excluded.systematic_wh, start_wh = excluded.start_wh,
    end_wh = excluded.end_wh, inner_wh = excluded.inner_wh, coarse_wh = excluded.coarse_wh, intervals = excluded.intervals,
    intervals_complete = excluded.intervals_complete, households = excluded.households,
    households_measured = excluded.households_measured, coverage_households = excluded.coverage_households,
    coverage_intervals = excluded.coverage_intervals, measured_wh = excluded.measured_wh, estimated_wh = excluded.estimated_wh,
    edited_wh = excluded.edited_wh, estimated_share = excluded.estimated_share, supplied_interval_wh = excluded.supplied_interval_wh,
    delivered_interval_wh = excluded.delivered_interval_wh, technical_interval_wh = excluded.technical_interval_wh,
    settled_at = excluded.settled_at,
    changed_at = case
        when %(changed)s or (b.supplied_interval_wh, b.delivered_interval_wh, b.households, b.households_measured, b.coverage_intervals)
            is distinct from (excluded.supplied_interval_wh, excluded.delivered_interval_wh, excluded.households,
                              excluded.households_measured, excluded.coverage_intervals)
        then excluded.changed_at else b.changed_at end

-- finalise --
-- Days that are over, on areas whose history is loaded, complete or past the grace. An area is below its history watermark while one of its
-- concentrators keeps uploads for us (or has never been heard of), unless it has been silent for too long. A row that somebody is
-- settling is left for the next time: two who lock rows in different orders would stop each other.
with ripe as (
select b.area_id, b.day from balance_day b
where not b.final
  and (b.day + 1)::timestamp at time zone %(zone)s <= %(now)s
  and (b.coverage_intervals >= 1 or (b.day + 1)::timestamp at time zone %(zone)s + make_interval(days => %(grace_days)s) <= %(now)s)
  and not exists (select from dirty_day d where d.area_id = b.area_id and d.day = b.day)
  and not exists (
    select from concentrator c where c.area_id = b.area_id
      and (c.backlog is null or c.backlog > 0) and coalesce(c.last_seen_at, %(started)s) > %(silent)s)
for update skip locked)
update balance_day b set final = true, changed_at = greatest(%(now)s, b.changed_at)
from ripe where b.area_id = ripe.area_id and b.day = ripe.day
returning b.area_id, b.day

-- loading --
-- Areas below their history watermark.
select distinct c.area_id from concentrator c
where (c.backlog is null or c.backlog > 0) and coalesce(c.last_seen_at, %(started)s) > %(silent)s

-- stations --
-- What reconciling a station (or, where none is named, each) needs to know: its areas, how far they are settled, and a digest of what is
-- under the balances of the window.
select a.station_id, s.code as station, a.area_id, a.code, a.high_loss_rate, a.negative_loss_rate,
       min(b.day) as first_day, max(b.day) as last_day, max(b.settled_at) filter (where b.day = %(last)s) as last_settled_at,
       md5(string_agg(b.day || ' ' || b.changed_at, ',' order by b.day)) as digest,
       (select count(*) from dirty_day d where d.area_id = a.area_id and d.day between %(first)s and %(last)s) as dirty,
       (select md5(string_agg(m::text, ',' order by m.membership_id)) from area_membership m where m.area_id = a.area_id) as memberships,
       (select md5(string_agg(i::text, ',' order by i.installation_id)) from installation i
        where i.usage_point_id in (select usage_point_id from area_membership m where m.area_id = a.area_id)) as installations,
       (select r.marker from area_report r where r.area_id = a.area_id) as marker,
       (select r.reported_at from area_report r where r.area_id = a.area_id) as reported_at
from area a join station s using (station_id) join balance_day b on b.area_id = a.area_id and b.day between %(first)s and %(last)s
where %(station_id)s::int is null or a.station_id = %(station_id)s
group by a.area_id, s.code
order by a.station_id, a.area_id

-- window --
-- Balances of an area's window, to put the report's technical loss in.
select day, supplied_interval_wh, state, reason, loss_wh, gross_wh, loss_rate, uncertainty_wh, coarse_wh from balance_day
where area_id = %(area_id)s and day between %(first)s and %(last)s order by day

-- put_technical --
-- The report's technical loss of one day and what follows of it.
update balance_day set technical_wh = %(technical_wh)s, unexplained_wh = %(unexplained_wh)s, state = %(state)s,
    technical_interval_wh = %(technical_interval_wh)s, technical_source = %(technical_source)s
where area_id = %(area_id)s and day = %(day)s

-- put_model --
-- The technical-loss model for days outside the window.
insert into technical_model (area_id, constant_wh, quadratic_per_wh, interval_s, fitted_at, window_from, window_to)
values (%(area_id)s, %(constant_wh)s, %(quadratic_per_wh)s, %(interval_s)s, %(now)s, %(first)s, %(last)s)
on conflict (area_id) do update set constant_wh = excluded.constant_wh, quadratic_per_wh = excluded.quadratic_per_wh,
    interval_s = excluded.interval_s, fitted_at = excluded.fitted_at, window_from = excluded.window_from, window_to = excluded.window_to

-- put_report --
-- The last report of an area.
insert into area_report (area_id, window_from, window_to, anomaly_score, alarm, cause, technical_loss_wh, reason, marker, priors,
                         limits, cause_probability, reported_at)
values (%(area_id)s, %(first)s, %(last)s, %(anomaly_score)s, %(alarm)s, %(cause)s, %(technical_loss_wh)s, %(reason)s, %(marker)s, %(priors)s,
        %(limits)s, %(cause_probability)s, %(now)s)
on conflict (area_id) do update set window_from = excluded.window_from, window_to = excluded.window_to,
    anomaly_score = excluded.anomaly_score, alarm = excluded.alarm, cause = excluded.cause,
    technical_loss_wh = excluded.technical_loss_wh, reason = excluded.reason, marker = excluded.marker, priors = excluded.priors,
    limits = excluded.limits, cause_probability = excluded.cause_probability, reported_at = excluded.reported_at
