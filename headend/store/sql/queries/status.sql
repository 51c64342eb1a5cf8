-- parts --
-- How far each stage is, in one row: what waits, and since when.
select (select coalesce(sum(readings), 0)::bigint from reading_count) as readings_stored,
       (select max(received_at) from latest_reading) as last_received_at,
       (select count(*) from meter m where exists (select from installation i where i.meter_id = m.meter_id
                                                   and i.valid_from <= %(now)s and (i.valid_to is null or i.valid_to > %(now)s))) as meters_installed,
       (select count(*) from latest_reading where ts >= %(read_since)s) as meters_read,
       d.area_days_waiting, d.oldest_marked_at,
       b.batches_waiting, b.batches_rejected, b.batches_acknowledged, b.oldest_waiting_at,
       (select count(*) from billing_exception where worked_off_at is null) as exceptions_open,
       j.jobs_waiting, j.jobs_running, j.jobs_failed
from (select count(*) as area_days_waiting, min(coalesce(since, marked_at)) as oldest_marked_at from dirty_day) d,
     (select count(*) filter (where state = 'created') as batches_waiting, count(*) filter (where state = 'rejected') as batches_rejected,
             count(*) filter (where state = 'acknowledged') as batches_acknowledged,
             min(created_at) filter (where state = 'created') as oldest_waiting_at from billing_batch) b,
     (select count(*) filter (where status = 'todo') as jobs_waiting, count(*) filter (where status = 'doing') as jobs_running,
             count(*) filter (where status = 'failed') as jobs_failed from procrastinate_jobs) j

-- standing --
-- Alerts that stand, by kind.
select kind, severity, count(*) as alerts from alert where cleared_at is null group by kind, severity order by kind, severity

-- dirty --
-- Area-days that wait to be settled.
select count(*) as area_days, min(coalesce(since, marked_at)) as oldest_marked_at from dirty_day
