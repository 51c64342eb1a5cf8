-- reading_counts --
-- Readings of a meter that were counted otherwise than stored; once old ones were dropped, more may be counted.
select meter_id, coalesce(c.counted, 0) as counted, coalesce(r.stored, 0) as stored
from (select meter_id, sum(readings)::bigint as counted from reading_count group by meter_id) c
full join (select meter_id, count(*) as stored from register_reading group by meter_id) r using (meter_id)
where coalesce(c.counted, 0) < coalesce(r.stored, 0) or (not %(dropped)s and coalesce(c.counted, 0) > coalesce(r.stored, 0))
order by meter_id

-- latest_readings --
-- Meters whose latest reading is not the newest one that is stored; once old ones were dropped, it may be gone.
select meter_id, l.ts as latest, r.ts as newest
from latest_reading l full join (select meter_id, max(ts) as ts from register_reading group by meter_id) r using (meter_id)
where l.ts is distinct from r.ts and not (%(dropped)s and r.ts is null)
order by meter_id

-- unmarked_days --
-- Local days of areas with readings that were neither settled nor wait for it.
with read as (
    select distinct meter_id, (ts at time zone %(zone)s)::date as day from register_reading
), touched as (
    select distinct m.area_id, r.day
    from read r
    join installation i on i.meter_id = r.meter_id
     and tstzrange(i.valid_from, i.valid_to) && tstzrange(r.day::timestamp at time zone %(zone)s, (r.day + 1)::timestamp at time zone %(zone)s)
    join area_membership m on m.usage_point_id = i.usage_point_id
     and tstzrange(m.valid_from, m.valid_to) && tstzrange(r.day::timestamp at time zone %(zone)s, (r.day + 1)::timestamp at time zone %(zone)s)
)
select a.code as area, t.day
from touched t join area a using (area_id)
left join dirty_day d on d.area_id = t.area_id and d.day = t.day
left join balance_day b on b.area_id = t.area_id and b.day = t.day
where d.area_id is null and b.area_id is null
order by 1, 2

-- batch_gaps --
-- Numbers of batches have no gaps.
select g as number from generate_series(1, (select max(number) from billing_batch)) g
where not exists (select from billing_batch b where b.number = g) order by g

-- batch_totals --
-- Control totals of a batch that are not those of its rows.
select b.number, b.determinants, count(d.batch_number) as rows, b.energy_wh, coalesce(sum(d.energy_wh), 0)::bigint as rows_wh
from billing_batch b left join determinant d on d.batch_number = b.number
group by b.number having b.determinants <> count(d.batch_number) or b.energy_wh <> coalesce(sum(d.energy_wh), 0)
order by b.number

-- batch_checksums --
-- Batches that have rows, each with the checksum that it was made with.
select number, checksum from billing_batch b where exists (select from determinant d where d.batch_number = b.number) order by number
