-- one --
-- A meter with where it serves now, how it is polled, what it showed last, and what its model can do.
select m.meter_id, m.manufacturer, m.serial, m.model, m.phases, m.digits, m.resolution_wh,
       i.valid_from as installed_at, i.multiplier, i.sign, i.seal,
       u.code as usage_point, u.kind as usage_point_kind, u.name as usage_point_name, u.category, u.phase,
       a.code as area, a.name as area_name,
       l.ts as last_ts, l.import_wh, l.export_wh, l.voltage_dv, l.power_w, l.source,
       p.voltage_l1_dv, p.voltage_l2_dv, p.voltage_l3_dv,
       p.import_t1_wh, p.import_t2_wh, p.import_t3_wh, p.import_t4_wh, p.import_t5_wh, p.import_t6_wh, p.import_t7_wh, p.import_t8_wh,
       s.outcome, s.reason, s.since_at, s.failures, s.next_probe_at, s.response_ms, s.firmware,
       k.name as model_name, k.manufacturer as model_manufacturer, k.tells_serial, k.clock as model_clock
from meter m
left join installation i on i.meter_id = m.meter_id and i.valid_from <= %(now)s::timestamptz
                        and (i.valid_to is null or i.valid_to > %(now)s::timestamptz)
left join usage_point u using (usage_point_id)
left join area_membership h on h.usage_point_id = u.usage_point_id and h.valid_from <= %(now)s::timestamptz
                           and (h.valid_to is null or h.valid_to > %(now)s::timestamptz)
left join area a using (area_id)
left join latest_reading l on l.meter_id = m.meter_id
left join phase_reading p on p.meter_id = l.meter_id and p.ts = l.ts
left join poll_meter s on s.meter_id = m.meter_id
left join meter_model k on k.model = m.model
where (m.manufacturer, m.serial) = (%(manufacturer)s, %(serial)s);

-- endpoints --
-- How a meter is reached.
select e.protocol, e.bus, e.unit, b.peer, b.connected, c.code as concentrator, c.online
from endpoint e
left join poll_bus b using (bus)
left join concentrator c using (concentrator_id)
where e.meter_id = %(meter_id)s
order by e.protocol;

-- events --
-- What a meter told, or what was seen of it, newest first.
select event_id, kind, code, occurred_at, uncertainty_ms, received_at, phase, value, detail, source
from device_event where meter_id = %(meter_id)s
order by occurred_at desc, event_id desc
limit %(limit)s;
