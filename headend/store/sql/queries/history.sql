-- stamp --
-- What this transaction changes is known from then on: the clock of the process, not the server's.
select set_config('headend.now', %(now)s::timestamptz::text, true)

-- ask_then --
-- Every query of this transaction that names its tables without a schema is answered as of then.
select set_config('headend.known_at', %(known_at)s::timestamptz::text, true),
       set_config('search_path', 'as_known, ' || current_setting('search_path'), true)

-- ask_now --
-- Back to what is known now, whatever the search path was before.
select set_config('headend.known_at', '', true),
       set_config('search_path', regexp_replace(current_setting('search_path'), '^as_known, ', ''), true)

-- first_known --
-- When an area was entered; null: before anybody kept that. Earlier nothing of it was known.
select nullif(least((select min(a.known_from) from area a where a.area_id = %(area_id)s),
                    (select min(p.known_from) from area_past p where p.area_id = %(area_id)s)), '-infinity') as first_known

-- note_arrivals --
-- Readings that came late: one row for meters with neighbouring numbers that came together.
insert into reading_arrival (block, received_at, first_ts, last_ts, meters)
select block, %(received_at)s, first_ts, last_ts, meters
from unnest(%(block)s, %(first)s, %(last)s, %(meters)s::bytea[]) as t (block, first_ts, last_ts, meters)

-- forget_arrivals --
-- Of readings that are not kept any more.
delete from reading_arrival where last_ts < %(kept_from)s

-- forget_completions --
-- Of readings that are not kept any more.
delete from reading_completion where ts < %(kept_from)s

-- nothing_is_written --
-- For the rest of the transaction, whatever is asked.
set transaction read only

-- categories --
-- What some usage points are billed as, by time.
select usage_point_id, category, nullif(valid_from, '-infinity') as valid_from, valid_to from usage_point_category
where usage_point_id = any(%(usage_points)s) order by usage_point_id, 3 nulls first

-- told --
-- What billing has been told in sum, adjustments included.
select usage_point_id, day, direction, sum(energy_wh)::bigint as energy_wh from determinant
where usage_point_id = any(%(usage_points)s) and day between %(first)s and %(last)s and tariff_band = 'total'
group by usage_point_id, day, direction

-- stored_points --
-- What some days of metering points are settled to; null: no interval has a number.
select usage_point_id, i.day, u.code, (select sum(e)::bigint from unnest(i.import_wh) e) as import_wh,
       (select sum(e)::bigint from unnest(day_vector(i.export_wh, cardinality(i.import_wh))) e) as export_wh
from unnest(%(usage_points)s::integer[], %(days)s::date[]) as w (usage_point_id, day)
join interval_day i using (usage_point_id, day) join usage_point u using (usage_point_id)

-- stored_balances --
-- What the days of an area are settled to.
select day, supplied_wh, delivered_wh, loss_wh, state from balance_day where area_id = %(area_id)s and day = any (%(days)s::date[])
