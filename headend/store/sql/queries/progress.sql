-- counts --
-- How far everything is; asked twice a second while a person waits.
select (select coalesce(sum(readings_modbus + readings_mqtt + readings_concentrator + readings_manual), 0)::bigint from latest_reading) as readings,
       (select count(*) from balance_day) as balances,
       (select count(*) from dirty_day) as dirty,
       (select count(*) from area_report) as reports,
       (select count(*) from area) as areas,
       (select count(*) from finding where state not in ('rejected', 'closed')) as findings,
       (select count(*) from billing_batch) as batches,
       (select count(*) from billing_batch where state = 'acknowledged') as batches_acknowledged,
       (select count(*) from latest_reading where readings_modbus > 0) as meters_polled

-- stored_readings --
-- What arrived of a history, meter by meter.
select m.manufacturer || '/' || m.serial as meter, count(*) as readings
from register_reading r join meter m using (meter_id)
where r.source = %(source)s and r.ts <= %(until)s
group by m.meter_id

-- readings_by_source --
-- Which installed meters were heard by one way in.
select m.manufacturer || '/' || m.serial as meter, coalesce(c.readings, 0) as readings
from meter m
left join reading_count c on c.meter_id = m.meter_id and c.source = %(source)s
where exists (select from installation i where i.meter_id = m.meter_id and i.valid_to is null)

-- areas --
-- Each area with its newest final balance and what the reconciliation says of it.
select a.code as area, b.day, b.state, b.loss_rate, b.coverage_households, r.cause, r.alarm, r.window_from, r.window_to,
       r.technical_loss_wh,
       (select sum(supplied_wh)::bigint from balance_day w where w.area_id = a.area_id and w.day between r.window_from and r.window_to) as supplied_wh,
       (select sum(loss_wh)::bigint from balance_day w where w.area_id = a.area_id and w.day between r.window_from and r.window_to) as loss_wh
from area a
left join area_report r using (area_id)
left join lateral (select * from balance_day d where d.area_id = a.area_id and d.final order by d.day desc limit 1) b on true
order by a.code

-- findings --
-- Open findings, the largest first.
select f.finding_id, a.code as area, f.kind, m.manufacturer || '/' || m.serial as meter, c.code as correct_area,
       f.confidence, f.energy_wh, f.onset_at
from finding f
join area a using (area_id)
left join meter m using (meter_id)
left join area c on c.area_id = f.correct_area_id
where f.state not in ('rejected', 'closed')
order by abs(f.energy_wh) desc, f.finding_id

-- batches --
-- What billing was told.
select number, period_from, period_to, determinants, energy_wh, state, attempts, acknowledged_at, receipt ->> 'receipt_id' as receipt
from billing_batch order by number

-- events --
-- Which events were heard of which meter, whoever told them.
select m.manufacturer || '/' || m.serial as meter, e.kind, count(*) as events
from device_event e join meter m using (meter_id)
group by m.meter_id, e.kind order by 1, 2

-- discovered --
-- Devices that nobody has imported.
select case kind when 'meter' then manufacturer || '/' else '' end || serial as device from discovered_device where adopted_at is null order by 1

-- not_read --
-- Polled meters that were not read the last time they were due, and why.
select m.manufacturer || '/' || m.serial as meter, p.outcome
from poll_meter p join meter m using (meter_id) where p.outcome <> 'ok' order by 1

-- buses --
-- How many buses there are of each kind of transport.
select split_part(bus, '://', 1) as transport, count(*) as buses from poll_bus group by 1 order by 1
