-- read_only --
-- Every page and API answer is one consistent picture, cannot write and cannot hold the database up for long.
set transaction isolation level repeatable read, read only;

-- statement_limit --
-- A page that asks for too much is refused instead of starving the writers.
set local statement_timeout to '20s';

-- area_summaries --
-- One row an area: its latest full local day, loss of the last 7 and 28 days, open findings, what is still loading.
-- Ordered by a number that the sort key gives (rows without it last), then by code; `after_*` is where the page before ended.
with summary as (
    select a.area_id, a.code, a.name, s.code as station, s.name as station_name, a.transformer_kva::float8 as transformer_kva,
           a.high_loss_rate, row_number() over (order by a.code)::float8 as code_rank,
           latest.day, latest.state, latest.reason, latest.supplied_wh, latest.delivered_wh, latest.loss_wh, latest.technical_wh,
           latest.unexplained_wh, latest.uncertainty_wh, latest.loss_rate, latest.households, latest.households_measured,
           latest.coverage_households, latest.coverage_intervals, latest.estimated_share, latest.final,
           recent.days_7d, recent.loss_7d_wh, recent.loss_7d_wh / nullif(recent.gross_7d_wh, 0)::float8 as loss_rate_7d,
           recent.days_28d, recent.loss_28d_wh, recent.loss_28d_wh / nullif(recent.gross_28d_wh, 0)::float8 as loss_rate_28d,
           recent.supplied_28d_wh, recent.delivered_28d_wh, recent.days_settled,
           cases.open_findings, cases.at_stake_wh,
           coalesce(field.uploads_waiting, 0) as uploads_waiting, dirty.days_waiting
    from area a
    join station s using (station_id)
    left join lateral (
        select * from balance_day b where b.area_id = a.area_id and b.day < %(today)s::date order by b.day desc limit 1
    ) latest on true
    cross join lateral (
        select count(*) as days_settled,
               count(*) filter (where good and b.day >= %(today)s::date - 7) as days_7d,
               sum(b.loss_wh) filter (where good and b.day >= %(today)s::date - 7)::bigint as loss_7d_wh,
               sum(b.gross_wh) filter (where good and b.day >= %(today)s::date - 7)::bigint as gross_7d_wh,
               count(*) filter (where good) as days_28d,
               sum(b.loss_wh) filter (where good)::bigint as loss_28d_wh,
               sum(b.gross_wh) filter (where good)::bigint as gross_28d_wh,
               sum(b.supplied_wh) filter (where good)::bigint as supplied_28d_wh,
               sum(b.delivered_wh) filter (where good)::bigint as delivered_28d_wh
        from balance_day b
        cross join lateral (select b.state <> 'not_computable' and b.loss_wh is not null and b.gross_wh is not null as good) g
        where b.area_id = a.area_id and b.day >= %(today)s::date - 28 and b.day < %(today)s::date
    ) recent
    cross join lateral (
        select count(*) as open_findings, sum(abs(f.energy_wh)) as at_stake_wh
        from finding f where f.area_id = a.area_id and f.state not in ('rejected', 'closed')
    ) cases
    cross join lateral (
        select sum(c.backlog)::bigint as uploads_waiting
        from concentrator c where c.area_id = a.area_id and c.last_seen_at >= %(heard_since)s::timestamptz
    ) field
    cross join lateral (
        select count(*) as days_waiting from dirty_day d where d.area_id = a.area_id and d.day < %(today)s::date
    ) dirty
    where %(code)s::text is null or a.code = %(code)s::text
), sorted as (
    select *, %(direction)s::float8 * case %(sort)s::text
        when 'code' then code_rank
        when 'state' then array_position(array['high', 'negative', 'not_computable', 'normal'], state)::float8
        when 'loss_rate' then loss_rate
        when 'loss_rate_7d' then loss_rate_7d
        when 'loss_rate_28d' then loss_rate_28d
        when 'loss_28d' then loss_28d_wh::float8
        when 'supplied' then supplied_28d_wh::float8
        when 'delivered' then delivered_28d_wh::float8
        when 'coverage' then coverage_intervals
        when 'findings' then open_findings::float8
        when 'at_stake' then at_stake_wh
    end as sort_number
    from summary
)
select * from sorted
where (%(station)s::text is null or station = %(station)s::text)
  and (%(state)s::text is null or state = %(state)s::text or (%(state)s::text = 'unknown' and state is null))
  and (%(search)s::text is null or strpos(lower(code || ' ' || name || ' ' || station_name), lower(%(search)s::text)) > 0)
  and (%(with_findings)s::bool is not true or open_findings > 0)
  and (%(after_code)s::text is null
       or (sort_number is null, coalesce(sort_number, 0), code)
          > (%(after_missing)s::bool, %(after_number)s::float8, %(after_code)s::text))
order by sort_number is null, coalesce(sort_number, 0), code
limit %(limit)s::int;

-- coverage_now --
-- Customers of areas as they hang now, and how many of them their own meter was read at since it was installed and lately:
-- a balance knows of a new meter only when it has measured a whole interval.
select h.area_id, count(*) as households,
       count(*) filter (where l.ts >= greatest(i.valid_from, %(read_since)s::timestamptz)) as households_read
from area_membership h
join usage_point u on u.usage_point_id = h.usage_point_id and u.kind = 'customer'
left join installation i on i.usage_point_id = u.usage_point_id and i.valid_from <= %(now)s::timestamptz
                        and (i.valid_to is null or i.valid_to > %(now)s::timestamptz)
left join latest_reading l using (meter_id)
where h.area_id = any(%(areas)s::int[]) and h.valid_from <= %(now)s::timestamptz
  and (h.valid_to is null or h.valid_to > %(now)s::timestamptz)
group by h.area_id;

-- fleet --
-- What the head of the areas page counts, over every area whatever the filter.
select (select count(*) from area) as areas,
       (select coalesce(sum(readings_modbus + readings_mqtt + readings_concentrator + readings_manual), 0)::bigint from latest_reading) as readings_stored,
       (select count(*) from balance_day where day >= %(today)s::date - 28 and day < %(today)s::date) as days_settled,
       (select count(*) from dirty_day where day < %(today)s::date) as days_waiting,
       (select coalesce(sum(backlog), 0)::bigint from concentrator where last_seen_at >= %(heard_since)s::timestamptz) as uploads_waiting,
       (select count(*) from concentrator) as concentrators,
       (select count(*) from concentrator where last_seen_at >= %(heard_since)s::timestamptz) as concentrators_heard,
       (select count(*) from finding where state not in ('rejected', 'closed')) as open_findings,
       (select sum(abs(energy_wh)) from finding where state not in ('rejected', 'closed')) as at_stake_wh,
       (select count(*) from quarantine where replayed_at is null) as quarantined,
       (select jsonb_object_agg(state, areas) from (
            select coalesce(latest.state, 'unknown') as state, count(*) as areas
            from area a left join lateral (
                select state from balance_day b where b.area_id = a.area_id and b.day < %(today)s::date order by day desc limit 1
            ) latest on true group by 1) per_state) as states,
       (select sum(loss_wh)::bigint from balance_day
         where day >= %(today)s::date - 28 and day < %(today)s::date and state <> 'not_computable') as loss_28d_wh,
       (select sum(gross_wh)::bigint from balance_day
         where day >= %(today)s::date - 28 and day < %(today)s::date and state <> 'not_computable' and loss_wh is not null) as gross_28d_wh;

-- stations --
-- For the filter of the areas page.
select code, name from station order by code;

-- area_days --
-- Daily loss rates of several areas: the sparklines.
select area_id, day, state, loss_rate
from balance_day
where area_id = any(%(areas)s::int[]) and day >= %(first)s::date and day <= %(last)s::date
order by area_id, day;

-- balances --
-- An area's balances by local day, oldest first, without the day's vectors.
select b.day, b.state, b.reason, b.starts_at, b.interval_s, b.supplied_wh, b.delivered_wh, b.loss_wh, b.technical_wh, b.unexplained_wh,
       b.gross_wh, b.unmetered_wh, b.technical_source, b.loss_rate, b.uncertainty_wh, b.systematic_wh, b.measured_wh, b.estimated_wh,
       b.edited_wh, b.intervals, b.intervals_complete, b.households, b.households_measured,
       b.coverage_households, b.coverage_intervals, b.estimated_share, b.final, b.settled_at
from balance_day b join area a using (area_id)
where a.code = %(area)s::text and b.day >= %(first)s::date and b.day <= %(last)s::date
  and (%(after)s::date is null or b.day > %(after)s::date)
order by b.day
limit %(limit)s::int;

-- balances_with_intervals --
-- The same with the vectors: 96 values and more a day, so only where asked for.
select b.day, b.state, b.reason, b.starts_at, b.interval_s, b.supplied_wh, b.delivered_wh, b.loss_wh, b.technical_wh, b.unexplained_wh,
       b.gross_wh, b.unmetered_wh, b.technical_source, b.loss_rate, b.uncertainty_wh, b.systematic_wh, b.measured_wh, b.estimated_wh,
       b.edited_wh, b.intervals, b.intervals_complete, b.households, b.households_measured,
       b.coverage_households, b.coverage_intervals, b.estimated_share, b.final, b.settled_at,
       b.supplied_interval_wh, b.delivered_interval_wh, b.technical_interval_wh
from balance_day b join area a using (area_id)
where a.code = %(area)s::text and b.day >= %(first)s::date and b.day <= %(last)s::date
  and (%(after)s::date is null or b.day > %(after)s::date)
order by b.day
limit %(limit)s::int;

-- households --
-- Usage points on an area now, each with its meter, its last reading and its energy of the last full days.
select u.code, u.name, u.kind, u.category, u.phase, behind.code as behind,
       m.manufacturer, m.serial, m.model, i.multiplier, i.sign,
       l.ts as last_ts, l.voltage_dv, l.power_w, l.source,
       week.energy_7d_wh, week.export_7d_wh, week.measured_7d, week.estimated_7d, one.energy_day_wh
from area a
join area_membership h on h.area_id = a.area_id and h.valid_from <= %(now)s::timestamptz
                      and (h.valid_to is null or h.valid_to > %(now)s::timestamptz)
join usage_point u on u.usage_point_id = h.usage_point_id and u.kind <> 'area'
left join usage_point behind on behind.usage_point_id = h.behind_usage_point_id
left join installation i on i.usage_point_id = u.usage_point_id and i.valid_from <= %(now)s::timestamptz
                        and (i.valid_to is null or i.valid_to > %(now)s::timestamptz)
left join meter m using (meter_id)
left join latest_reading l using (meter_id)
cross join lateral (
    select sum((select sum(x) from unnest(d.import_wh) x))::bigint as energy_7d_wh,
           sum((select sum(x) from unnest(day_vector(d.export_wh, cardinality(d.import_wh))) x))::bigint as export_7d_wh,
           sum(d.measured)::bigint as measured_7d, sum(d.estimated)::bigint as estimated_7d
    from interval_day d
    where d.usage_point_id = u.usage_point_id and d.day >= %(today)s::date - 7 and d.day < %(today)s::date
) week
left join lateral (
    select (select sum(x) from unnest(d.import_wh) x)::bigint as energy_day_wh
    from interval_day d where d.usage_point_id = u.usage_point_id and d.day = %(day)s::date
) one on true
where a.code = %(area)s::text
order by u.kind desc, u.code;

-- area_meters --
-- The transformer's own meter(s) with what they last showed; power and voltage where the meter has them.
select u.code, m.manufacturer, m.serial, m.model, i.multiplier, i.sign, l.ts as last_ts, l.power_w, l.voltage_dv, l.source,
       p.voltage_l1_dv, p.voltage_l2_dv, p.voltage_l3_dv
from area a
join area_membership h on h.area_id = a.area_id and h.valid_from <= %(now)s::timestamptz
                      and (h.valid_to is null or h.valid_to > %(now)s::timestamptz)
join usage_point u on u.usage_point_id = h.usage_point_id and u.kind = 'area'
left join installation i on i.usage_point_id = u.usage_point_id and i.valid_from <= %(now)s::timestamptz
                        and (i.valid_to is null or i.valid_to > %(now)s::timestamptz)
left join meter m using (meter_id)
left join latest_reading l using (meter_id)
left join phase_reading p on p.meter_id = l.meter_id and p.ts = l.ts
where a.code = %(area)s::text
order by u.code;

-- area_report --
-- What the reconciliation last said of an area as a whole.
select r.* from area_report r join area a using (area_id) where a.code = %(area)s::text;

-- findings --
-- Findings, newest or largest first; `after_*` is where the page before ended.
select f.finding_id, a.code as area, a.name as area_name, f.kind, f.state, f.confidence, f.energy_wh, f.energy_low_wh, f.energy_high_wh,
       f.onset_at, f.window_from, f.window_to, f.opened_at, f.seen_at, f.closed_at, f.assigned_to, f.verdict, f.repaired_on, f.follows,
       m.manufacturer, m.serial, c.code as correct_area, point.code as usage_point, point.name as usage_point_name
from finding f
join area a using (area_id)
left join area c on c.area_id = f.correct_area_id
left join meter m using (meter_id)
left join lateral (
    select u.code, u.name from installation i join usage_point u using (usage_point_id)
    where i.meter_id = f.meter_id and i.valid_from <= f.seen_at order by i.valid_from desc limit 1
) point on true
where (%(area)s::text is null or a.code = %(area)s::text)
  and (%(kind)s::text is null or f.kind = %(kind)s::text)
  and (%(assigned_to)s::text is null or f.assigned_to = %(assigned_to)s::text)
  and (%(state)s::text is null or f.state = %(state)s::text or (%(state)s::text = 'unresolved' and f.state not in ('rejected', 'closed')))
  and (%(after_id)s::bigint is null
       or case when %(sort)s::text = 'energy' then (-abs(f.energy_wh), -f.finding_id) > (-abs(%(after_energy)s::float8), -%(after_id)s::bigint)
               else f.finding_id < %(after_id)s::bigint end)
order by case when %(sort)s::text = 'energy' then -abs(f.energy_wh) end, f.finding_id desc
limit %(limit)s::int;

-- finding --
-- One finding with its evidence.
select f.finding_id, a.code as area, a.name as area_name, f.kind, f.state, f.confidence, f.energy_wh, f.energy_low_wh, f.energy_high_wh,
       f.onset_at, f.window_from, f.window_to, f.opened_at, f.seen_at, f.closed_at, f.assigned_to, f.verdict, f.repaired_on, f.follows,
       f.evidence,
       m.manufacturer, m.serial, m.model, c.code as correct_area, c.name as correct_area_name,
       point.code as usage_point, point.name as usage_point_name, point.category, point.phase, point.seal, point.multiplier,
       point.valid_to as installed_until
from finding f
join area a using (area_id)
left join area c on c.area_id = f.correct_area_id
left join meter m using (meter_id)
left join lateral (
    select u.code, u.name, u.category, u.phase, i.seal, i.multiplier, i.valid_to
    from installation i join usage_point u using (usage_point_id)
    where i.meter_id = f.meter_id and i.valid_from <= f.seen_at order by i.valid_from desc limit 1
) point on true
where f.finding_id = %(finding)s::bigint;

-- meters_of_serial --
-- A serial is unique within its manufacturer only.
select meter_id, manufacturer, serial, model, phases, digits, resolution_wh
from meter
where serial = %(serial)s::text and (%(manufacturer)s::text is null or manufacturer = %(manufacturer)s::text)
order by manufacturer;

-- readings --
-- Raw registers of one meter as it showed them, oldest first.
select r.ts, r.import_wh, r.export_wh, r.voltage_dv, r.flags, r.source, r.uncertainty_ms, r.resolution_wh,
       p.import_l1_wh, p.import_l2_wh, p.import_l3_wh, p.export_l1_wh, p.export_l2_wh, p.export_l3_wh,
       p.voltage_l1_dv, p.voltage_l2_dv, p.voltage_l3_dv, p.current_l1_ma, p.current_l2_ma, p.current_l3_ma, p.power_w,
       p.import_t1_wh, p.import_t2_wh, p.import_t3_wh, p.import_t4_wh, p.import_t5_wh, p.import_t6_wh, p.import_t7_wh, p.import_t8_wh
from register_reading r
left join phase_reading p on p.meter_id = r.meter_id and p.ts = r.ts
where r.meter_id = %(meter)s::int and r.ts >= %(first)s::timestamptz and r.ts < %(end)s::timestamptz
  and (%(after)s::timestamptz is null or r.ts > %(after)s::timestamptz)
order by r.ts
limit %(limit)s::int;

-- batches --
-- Billing batches, newest first.
select b.*, (select count(*) from billing_exception e where e.batch_number = b.number and e.worked_off_at is null) as exceptions
from billing_batch b
where (%(state)s::text is null or b.state = %(state)s::text)
  and (%(number)s::bigint is null or b.number = %(number)s::bigint)
  and (%(before)s::bigint is null or b.number < %(before)s::bigint)
order by b.number desc
limit %(limit)s::int;

-- determinants --
-- What one batch told billing, in the order of its key; the rows never change, so pages of them fit together.
select u.code as usage_point, d.usage_point_id, d.category, d.day, d.direction, d.tariff_band, d.revision, d.energy_wh, d.estimated_wh,
       d.start_register_wh, d.start_ts, d.end_register_wh, d.end_ts, d.multiplier, d.meters, d.reason
from determinant d join usage_point u using (usage_point_id)
where d.batch_number = %(number)s::bigint
  and (%(after_usage_point)s::int is null
       or (d.usage_point_id, d.day, d.direction, d.tariff_band, d.revision)
          > (%(after_usage_point)s::int, %(after_day)s::date, %(after_direction)s::text, %(after_band)s::text, %(after_revision)s::int))
order by d.usage_point_id, d.day, d.direction, d.tariff_band, d.revision
limit %(limit)s::int;

-- billing_exceptions --
-- What billing would not take, and nobody has worked off yet.
select e.exception_id, e.batch_number, u.code as usage_point, e.day, e.reason, e.noted_at, e.worked_off_at
from billing_exception e left join usage_point u using (usage_point_id)
where (%(number)s::bigint is null or e.batch_number = %(number)s::bigint)
order by e.worked_off_at is not null, e.exception_id desc
limit %(limit)s::int;

-- premises --
-- Premises with the steps closed so far, the live read behind the commissioning, and who behind the same shared meter is not commissioned.
select p.code, p.label, p.has_production, a.area_id, a.code as area, a.name as area_name,
       shared.code as shared_usage_point, u.code as usage_point, u.category, u.phase,
       coalesce((select jsonb_object_agg(s.step, jsonb_build_object('closed_at', s.closed_at, 'closed_by', s.closed_by, 'evidence', s.evidence))
                 from rollout_step s where s.premises_id = p.premises_id), '{}'::jsonb) as closed,
       c.state as commissioning_state, c.detail as commissioning_detail,
       array(select other.label from premises other
             where other.shared_usage_point_id = p.shared_usage_point_id
               and not exists (select from rollout_step s where s.premises_id = other.premises_id and s.step = 'commissioned')
             order by other.label) as not_commissioned
from premises p
join area a using (area_id)
join usage_point shared on shared.usage_point_id = p.shared_usage_point_id
join usage_point u on u.usage_point_id = p.usage_point_id
left join commissioning c using (premises_id)
where (%(area)s::text is null or a.code = %(area)s::text)
  and (%(code)s::text is null or p.code = %(code)s::text)
  and (%(after)s::text is null or p.code > %(after)s::text)
order by p.code
limit %(limit)s::int;

-- stock_meters --
-- Meters never installed that an area's gateways and concentrators reach: what a crew can take there.
select m.manufacturer, m.serial, m.model, e.bus, e.unit, c.code as concentrator
from endpoint e
join meter m using (meter_id)
left join concentrator c using (concentrator_id)
where not exists (select from installation i where i.meter_id = e.meter_id)
  and (c.area_id = %(area)s::int
       or exists (select from endpoint near
                  join installation i using (meter_id)
                  join area_membership h using (usage_point_id)
                  where near.protocol = 'modbus' and e.protocol = 'modbus' and near.bus = e.bus
                    and h.area_id = %(area)s::int and h.valid_from <= %(now)s::timestamptz
                    and (h.valid_to is null or h.valid_to > %(now)s::timestamptz)
                    and i.valid_from <= %(now)s::timestamptz and (i.valid_to is null or i.valid_to > %(now)s::timestamptz)))
order by m.manufacturer, m.serial, e.protocol
limit %(limit)s::int;

-- rollout_areas --
-- How far each area with premises in the rollout is.
select a.area_id, a.code, a.name, s.name as station_name, count(*) as premises,
       count(*) filter (where has.survey) as surveyed, count(*) filter (where has.installed) as installed,
       count(*) filter (where has.commissioned) as commissioned, count(*) filter (where has.removed) as removed
from premises p
join area a using (area_id)
join station s using (station_id)
cross join lateral (
    select coalesce(bool_or(step = 'survey'), false) as survey, coalesce(bool_or(step = 'household_meter_installed'), false) as installed,
           coalesce(bool_or(step = 'commissioned'), false) as commissioned, coalesce(bool_or(step = 'shared_meter_removed'), false) as removed
    from rollout_step r where r.premises_id = p.premises_id
) has
where %(area)s::text is null or a.code = %(area)s::text
group by a.area_id, a.code, a.name, s.name
order by a.code;

-- area_limits --
-- An area's own limits of the loss rate; null: the default of the settings.
select high_loss_rate, negative_loss_rate from area where code = %(area)s::text;
