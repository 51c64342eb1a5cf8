-- newest_final --
-- A cheap question asked before the expensive one.
select max(changed_at) as changed_at from balance_day where final

-- anything_dirty --
-- While days wait to be settled, final ones may still be held back.
select exists (select from dirty_day) as dirty

-- lock_numbers --
-- One maker of batches at a time; held to the end of the transaction.
select pg_advisory_xact_lock(hashtext('billing_batch.number'))

-- next_number --
-- Without gaps: an identity column would leave some behind.
select coalesce(max(number), 0) + 1 as number from billing_batch

-- unbilled --
-- Final days, both directions, against the sum of what billing was told; a difference becomes an adjustment.
-- Only the intervals count in which the usage point had a meter and was not supplied through a shared one; one of them
-- without a number keeps the whole day back. An area with days still waiting to be settled is left alone.
with told as (
    select usage_point_id, day, direction, sum(energy_wh)::bigint as energy_wh, max(revision) as revision
    from determinant where tariff_band = 'total' group by usage_point_id, day, direction
), day_of_point as (
    select i.*, m.valid_from, coalesce(m.valid_to, 'infinity') as valid_to, metered.since, metered.until,
           b.final and not exists (select from dirty_day d where d.area_id = m.area_id and d.day <= b.day) as holds
    from interval_day i
    join area_membership m on m.usage_point_id = i.usage_point_id and m.behind_usage_point_id is null
         and m.valid_from < i.starts_at + cardinality(i.quality) * i.interval_s * interval '1 second'
         and (m.valid_to is null or m.valid_to > i.starts_at)
    join balance_day b on b.area_id = m.area_id and b.day = i.day
    cross join lateral (select min(x.valid_from) as since, max(coalesce(x.valid_to, 'infinity')) as until
                        from installation x where x.usage_point_id = i.usage_point_id
                        and x.valid_from < i.starts_at + cardinality(i.quality) * i.interval_s * interval '1 second'
                        and (x.valid_to is null or x.valid_to > i.starts_at)) metered
), candidate as (
    select p.usage_point_id, p.day, side.direction, bool_and(p.holds) as holds, bool_or(total.incomplete) as incomplete,
           sum(total.energy_wh)::bigint as energy_wh, sum(total.estimated_wh)::bigint as estimated_wh,
           (array_agg(side.start_register_wh))[1] as start_register_wh, (array_agg(side.end_register_wh))[1] as end_register_wh
    from day_of_point p
    cross join lateral (values ('import', p.import_wh, p.start_import_wh, p.end_import_wh),
                               ('export', p.export_wh, p.start_export_wh, p.end_export_wh))
         as side (direction, energy, start_register_wh, end_register_wh)
    cross join lateral (
        select sum(e) as energy_wh, coalesce(sum(e) filter (where q = 3), 0) as estimated_wh,
               bool_or(e is null and at >= p.since and at + p.interval_s * interval '1 second' <= p.until) as incomplete
        from (select t.e, t.q, p.starts_at + (t.n - 1) * p.interval_s * interval '1 second' as at
              from unnest(side.energy, p.quality) with ordinality as t (e, q, n)) interval_energy
        where at >= p.valid_from and at < p.valid_to
    ) total
    group by p.usage_point_id, p.day, side.direction
)
select c.usage_point_id, u.code as usage_point, u.category, c.day, c.direction, 'total' as tariff_band,
       c.energy_wh - coalesce(t.energy_wh, 0) as energy_wh, c.estimated_wh,
       coalesce(t.revision + 1, 0)::smallint as revision,
       c.start_register_wh, i.starts_at as start_ts,
       c.end_register_wh, i.starts_at + cardinality(i.quality) * i.interval_s * interval '1 second' as end_ts,
       i.multiplier,
       array(select x.manufacturer || '/' || x.serial from unnest(i.meters) with ordinality as o (meter_id, n)
             join meter x using (meter_id) order by o.n) as meters,
       case when t.energy_wh is not null
            then 'settled again: ' || t.energy_wh || ' Wh were billed, ' || c.energy_wh || ' Wh are right' end as reason
from candidate c
join usage_point u using (usage_point_id)
join interval_day i using (usage_point_id, day)
left join told t using (usage_point_id, day, direction)
where u.kind in ('customer', 'shared') and c.holds and not c.incomplete and c.energy_wh is not null
  and case when t.energy_wh is null then c.direction = 'import' or c.energy_wh <> 0 else t.energy_wh <> c.energy_wh end
order by c.day, u.code, c.direction
limit %(limit)s

-- note_unbillable --
-- A final day with an interval that has no number: it is not zero, and somebody has to look.
insert into billing_exception (usage_point_id, day, reason, noted_at)
select distinct i.usage_point_id, i.day, 'final, but not every interval has a number: no register at the end of the gap', %(now)s
from interval_day i
join usage_point u using (usage_point_id)
join area_membership m on m.usage_point_id = i.usage_point_id and m.behind_usage_point_id is null
     and m.valid_from <= i.starts_at
     and (m.valid_to is null or m.valid_to >= i.starts_at + cardinality(i.quality) * i.interval_s * interval '1 second')
join installation x on x.usage_point_id = i.usage_point_id and x.valid_from <= i.starts_at
     and (x.valid_to is null or x.valid_to >= i.starts_at + cardinality(i.quality) * i.interval_s * interval '1 second')
join balance_day b on b.area_id = m.area_id and b.day = i.day and b.final
where u.kind in ('customer', 'shared') and array_position(i.import_wh, null) is not null
on conflict do nothing

-- insert_batch --
-- The head; its rows follow in the same transaction.
insert into billing_batch (number, idempotency_key, created_at, period_from, period_to, determinants, energy_wh, checksum)
values (%(number)s, %(key)s, %(created_at)s, %(period_from)s, %(period_to)s, %(determinants)s, %(energy_wh)s, %(checksum)s)

-- copy_determinants --
-- All rows of a batch at once.
copy determinant (batch_number, usage_point_id, day, direction, tariff_band, revision, category, energy_wh, estimated_wh,
                  start_register_wh, start_ts, end_register_wh, end_ts, multiplier, meters, reason) from stdin

-- waiting --
-- What billing has not answered for.
select number from billing_batch where state = 'created' order by number

-- batch --
-- The head as it was made.
select number, idempotency_key, created_at, period_from, period_to, state from billing_batch where number = %(number)s

-- determinants --
-- The rows in the order in which they were numbered into the batch: by day, usage point, direction.
select d.usage_point_id, u.code as usage_point, d.category, d.day, d.direction, d.tariff_band, d.revision, d.energy_wh, d.estimated_wh,
       d.start_register_wh, d.start_ts, d.end_register_wh, d.end_ts, d.multiplier, d.meters, d.reason
from determinant d join usage_point u using (usage_point_id)
where d.batch_number = %(number)s
order by d.day, u.code, d.direction

-- acknowledge --
-- From here on the batch is locked.
update billing_batch set state = 'acknowledged', attempts = attempts + 1, last_error = null, acknowledged_at = %(now)s, receipt = %(receipt)s
where number = %(number)s and state <> 'acknowledged'

-- attempt_failed --
-- Kept with the batch, for the person who looks.
update billing_batch set attempts = attempts + 1, last_error = %(error)s, state = case when %(rejected)s then 'rejected' else state end
where number = %(number)s and state = 'created'

-- note_exception --
-- A row that billing would not take.
insert into billing_exception (batch_number, usage_point_id, day, reason, noted_at)
values (%(number)s, (select usage_point_id from usage_point where code = %(usage_point)s), %(day)s, %(reason)s, %(now)s)
on conflict do nothing
