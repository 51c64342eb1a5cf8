-- newest_final --
-- A cheap question asked before the expensive one. A change of category alone settles no day otherwise.
select (select max(changed_at) from balance_day where final) as changed_at, (select max(noted_at) from topology_change) as noted_at

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
-- Final days, both directions, against the sum of what billing was told; a difference becomes an adjustment that names the edit that made it,
-- if one did. What a person set counts as estimated: no meter said it.
-- Only the intervals count in which the usage point had a meter and was not supplied through a shared one; one of them
-- without a number keeps the whole day back. An area with days still waiting to be settled is left alone.
-- A day is billed in the category of its first instant. What was told in another one, or of a day on which, as it is known
-- now, nobody was supplied there directly or no meter served, is taken back.
with told as (
    select usage_point_id, day, direction, category, sum(energy_wh)::bigint as energy_wh, max(revision) as revision,
           min(start_ts) as start_ts, max(end_ts) as end_ts
    from determinant where tariff_band = 'total' group by usage_point_id, day, direction, category
), told_of_day as (
    select usage_point_id, day, direction, max(revision) as revision from told group by usage_point_id, day, direction
), day_of_point as (
    select i.*, m.valid_from, coalesce(m.valid_to, 'infinity') as valid_to, metered.since, metered.until,
           b.final and not exists (select from dirty_day d where d.area_id = m.area_id and d.day <= b.day) as holds
    from interval_day i
    join area_membership m on m.usage_point_id = i.usage_point_id and m.behind_usage_point_id is null
         and m.valid_from < i.starts_at + cardinality(i.import_wh) * i.interval_s * interval '1 second'
         and (m.valid_to is null or m.valid_to > i.starts_at)
    join balance_day b on b.area_id = m.area_id and b.day = i.day
    cross join lateral (select min(x.valid_from) as since, max(coalesce(x.valid_to, 'infinity')) as until
                        from installation x where x.usage_point_id = i.usage_point_id
                        and x.valid_from < i.starts_at + cardinality(i.import_wh) * i.interval_s * interval '1 second'
                        and (x.valid_to is null or x.valid_to > i.starts_at)) metered
), candidate as (
    select p.usage_point_id, p.day, side.direction, bool_and(p.holds) as holds, bool_or(total.incomplete) as incomplete,
           sum(total.energy_wh)::bigint as energy_wh, sum(total.estimated_wh)::bigint as estimated_wh,
           (array_agg(side.start_register_wh))[1] as start_register_wh, (array_agg(side.end_register_wh))[1] as end_register_wh
    from day_of_point p
    cross join lateral (values ('import', p.import_wh, p.start_import_wh, p.end_import_wh),
                               ('export', day_vector(p.export_wh, cardinality(p.import_wh)), p.start_export_wh, p.end_export_wh))
         as side (direction, energy, start_register_wh, end_register_wh)
    cross join lateral (
        select sum(e) as energy_wh, coalesce(sum(e) filter (where q in (3, 4)), 0) as estimated_wh,
               bool_or(e is null and at >= p.since and at + p.interval_s * interval '1 second' <= p.until) as incomplete
        from (select t.e, t.q, p.starts_at + (t.n - 1) * p.interval_s * interval '1 second' as at
              from unnest(side.energy, day_vector(p.quality, cardinality(p.import_wh))) with ordinality as t (e, q, n)) interval_energy
        where at >= p.valid_from and at < p.valid_to
    ) total
    group by p.usage_point_id, p.day, side.direction
), due as (
    select c.usage_point_id, c.day, c.direction, k.category, c.energy_wh, c.estimated_wh, c.start_register_wh, i.starts_at as start_ts,
           c.end_register_wh, i.starts_at + cardinality(i.import_wh) * i.interval_s * interval '1 second' as end_ts, i.multiplier, i.meters
    from candidate c
    join usage_point u using (usage_point_id)
    join interval_day i using (usage_point_id, day)
    join usage_point_category k on k.usage_point_id = c.usage_point_id and k.valid_from <= i.starts_at
         and (k.valid_to is null or k.valid_to > i.starts_at)
    where u.kind in ('customer', 'shared') and c.holds and not c.incomplete and c.energy_wh is not null
), difference as (
    select d.*, d.energy_wh - coalesce(t.energy_wh, 0) as more_wh,
           case when t.energy_wh is not null then 'settled again: ' || t.energy_wh || ' Wh were billed, ' || d.energy_wh || ' Wh are right'
                when o.revision is not null then 'billed in another category: ' || d.category || ' is right' end as reason
    from due d
    left join told t using (usage_point_id, day, direction, category)
    left join told_of_day o using (usage_point_id, day, direction)
    where case when t.energy_wh is not null then t.energy_wh <> d.energy_wh
               else d.energy_wh <> 0 or (d.direction = 'import' and o.revision is null) end
    union all
    select t.usage_point_id, t.day, t.direction, t.category, 0, 0, d.start_register_wh, d.start_ts, d.end_register_wh, d.end_ts, d.multiplier,
           d.meters, -t.energy_wh, 'billed in another category: ' || d.category || ' is right, not ' || t.category
    from told t
    join due d using (usage_point_id, day, direction)
    where t.energy_wh <> 0 and t.category <> d.category
    union all
    select t.usage_point_id, t.day, t.direction, t.category, 0, 0, null, t.start_ts, null, t.end_ts, null, '{}', -t.energy_wh,
           'settled again: ' || t.energy_wh || ' Wh were billed, nothing is right: nobody was supplied there directly, or no meter served'
    from told t
    where t.energy_wh <> 0
      and not (exists (select from area_membership m where m.usage_point_id = t.usage_point_id and m.behind_usage_point_id is null
                       and m.valid_from < t.end_ts and (m.valid_to is null or m.valid_to > t.start_ts))
               and exists (select from installation x where x.usage_point_id = t.usage_point_id
                           and x.valid_from < t.end_ts and (x.valid_to is null or x.valid_to > t.start_ts)))
), numbered as (
    select d.*, u.code, o.revision as told_revision,
           coalesce(o.revision + row_number() over (partition by d.usage_point_id, d.day, d.direction order by d.more_wh, d.category),
                    0)::smallint as revision
    from difference d
    join usage_point u using (usage_point_id)
    left join told_of_day o using (usage_point_id, day, direction)
)
select n.usage_point_id, n.code as usage_point, n.category, n.day, n.direction, 'total' as tariff_band, n.more_wh as energy_wh, n.estimated_wh,
       n.revision, n.start_register_wh, n.start_ts, n.end_register_wh, n.end_ts, n.multiplier,
       array(select x.manufacturer || '/' || x.serial from unnest(n.meters) with ordinality as o (meter_id, n)
             join meter x using (meter_id) order by o.n) as meters,
       n.reason || coalesce(why.words, '') || coalesce(edited.words, '') as reason
from numbered n
left join lateral (
    select ' (' || replace(c.kind, '_', ' ') || ' by ' || c.by || ': ' || c.reason || ')' as words
    from topology_change c
    where n.told_revision is not null and c.usage_points @> array[n.usage_point_id]
      and n.day between c.first_day and c.last_day
      and c.noted_at >= (select max(b.created_at) from determinant p join billing_batch b on b.number = p.batch_number
                         where (p.usage_point_id, p.day, p.direction, p.tariff_band) = (n.usage_point_id, n.day, n.direction, 'total'))
    order by c.number desc limit 1) why on true
left join lateral (
    select ' (' || case when e.undone_at is null then 'edited by ' || e.made_by || ': ' || e.reason
                        else 'an edit by ' || e.made_by || ' undone by ' || e.undone_by || ': ' || e.undo_reason end
               || ', edit ' || e.edit_id || ')' as words
    from edit e
    cross join (select max(b.created_at) as at from determinant p join billing_batch b on b.number = p.batch_number
                where (p.usage_point_id, p.day, p.direction, p.tariff_band) = (n.usage_point_id, n.day, n.direction, 'total')) told
    where n.told_revision is not null and e.usage_point_id = n.usage_point_id and n.day between e.first_day and e.last_day
      and (e.direction is null or e.direction = n.direction)
      and (case when e.undone_at is null then e.made_at >= told.at else e.made_at < told.at and e.undone_at >= told.at end)
    order by coalesce(e.undone_at, e.made_at) desc, e.number desc limit 1) edited on true
order by n.day, n.code, n.direction, n.revision
limit %(limit)s

-- note_unbillable --
-- A final day with an interval that has no number: it is not zero, and somebody has to look.
insert into billing_exception (usage_point_id, day, reason, noted_at)
select distinct i.usage_point_id, i.day, 'final, but not every interval has a number: no register at the end of the gap', %(now)s
from interval_day i
join usage_point u using (usage_point_id)
join area_membership m on m.usage_point_id = i.usage_point_id and m.behind_usage_point_id is null
     and m.valid_from <= i.starts_at
     and (m.valid_to is null or m.valid_to >= i.starts_at + cardinality(i.import_wh) * i.interval_s * interval '1 second')
join installation x on x.usage_point_id = i.usage_point_id and x.valid_from <= i.starts_at
     and (x.valid_to is null or x.valid_to >= i.starts_at + cardinality(i.import_wh) * i.interval_s * interval '1 second')
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
-- The rows in the order in which they were numbered into the batch: by day, usage point, direction, revision.
select d.usage_point_id, u.code as usage_point, d.category, d.day, d.direction, d.tariff_band, d.revision, d.energy_wh, d.estimated_wh,
       d.start_register_wh, d.start_ts, d.end_register_wh, d.end_ts, d.multiplier, d.meters, d.reason
from determinant d join usage_point u using (usage_point_id)
where d.batch_number = %(number)s
order by d.day, u.code, d.direction, d.revision

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
