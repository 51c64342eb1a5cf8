-- meter_ids --
-- Many identities at once: one look-up for a whole batch.
select m.manufacturer, m.serial, m.meter_id
from unnest(%(manufacturer)s::text[], %(serial)s::text[]) as n (manufacturer, serial)
join meter m on (m.manufacturer, m.serial) = (n.manufacturer, n.serial);

-- meter --
-- One meter as it is stored.
select meter_id, manufacturer, serial, model, phases, digits, resolution_wh
from meter where (manufacturer, serial) = (%(manufacturer)s, %(serial)s);

-- models --
-- What meters are of, for a person to choose from.
select distinct model from meter order by model;

-- area_id --
-- A code's number.
select area_id from area where code = %(code)s;

-- usage_point_id --
-- A code's number.
select usage_point_id from usage_point where code = %(code)s;

-- membership_at --
-- Where a usage point hung at an instant.
select m.membership_id, m.usage_point_id, m.area_id, a.code as area, m.behind_usage_point_id, m.valid_from, m.valid_to
from area_membership m
join area a using (area_id)
where m.usage_point_id = %(usage_point_id)s
  and m.valid_from <= %(at)s and (m.valid_to is null or m.valid_to > %(at)s);

-- installation_of_meter --
-- Where a meter served at an instant.
select i.installation_id, i.usage_point_id, i.meter_id, i.valid_from, i.valid_to, i.multiplier, i.sign,
       i.start_import_wh, i.start_export_wh, i.end_import_wh, i.end_export_wh, i.seal
from installation i
where i.meter_id = %(meter_id)s and i.valid_from <= %(at)s and (i.valid_to is null or i.valid_to > %(at)s);

-- installation_of_usage_point --
-- Which meter served a usage point at an instant.
select i.installation_id, i.usage_point_id, i.meter_id, i.valid_from, i.valid_to, i.multiplier, i.sign,
       i.start_import_wh, i.start_export_wh, i.end_import_wh, i.end_export_wh, i.seal
from installation i
where i.usage_point_id = %(usage_point_id)s and i.valid_from <= %(at)s and (i.valid_to is null or i.valid_to > %(at)s);

-- later_installation --
-- The first installation of a usage point or of a meter that holds at an instant or after it.
select i.usage_point_id, u.code as usage_point, i.meter_id, m.manufacturer, m.serial, i.valid_from, i.valid_to
from installation i
join usage_point u using (usage_point_id)
join meter m using (meter_id)
where (i.usage_point_id = %(usage_point_id)s or i.meter_id = %(meter_id)s)
  and (i.valid_to is null or i.valid_to > %(at)s)
order by i.valid_from
limit 1;

-- hold_usage_point --
-- Two crews at one usage point go one after the other.
select u.code, u.kind from usage_point u where u.usage_point_id = %(usage_point_id)s for update;

-- hold_meter --
-- The same for a meter.
select m.manufacturer, m.serial, m.digits, m.resolution_wh from meter m where m.meter_id = %(meter_id)s for update;

-- open_installation --
-- A meter begins to serve.
insert into installation (usage_point_id, meter_id, valid_from, multiplier, sign, start_import_wh, start_export_wh, seal)
values (%(usage_point_id)s, %(meter_id)s, %(at)s, %(multiplier)s, %(sign)s, %(start_import_wh)s, %(start_export_wh)s,
        %(seal)s)
returning installation_id;

-- close_installation --
-- A meter ceases to serve, with its final registers.
update installation set valid_to = %(at)s, end_import_wh = %(end_import_wh)s, end_export_wh = %(end_export_wh)s
where installation_id = %(installation_id)s;

-- close_membership --
-- The old place ends where the new one begins.
update area_membership set valid_to = %(at)s where membership_id = %(membership_id)s;

-- open_membership --
-- The new place.
insert into area_membership (usage_point_id, area_id, behind_usage_point_id, valid_from)
values (%(usage_point_id)s, %(area_id)s, %(behind_usage_point_id)s, %(at)s)
returning membership_id;

-- add_customer --
-- A supply that the lists did not know; no row when the code is taken, in this moment too.
insert into usage_point (code, kind, category, name, phase)
values (%(code)s, 'customer', %(category)s, %(name)s, %(phase)s)
on conflict (code) do nothing
returning usage_point_id;

-- areas_since --
-- Areas whose balance a change at a usage point touches.
select distinct area_id
from area_membership
where usage_point_id = %(usage_point_id)s and (valid_to is null or valid_to >= %(at)s)
order by area_id;

-- hung_since --
-- Where a usage point hung from an instant on, and until when.
select area_id, greatest(valid_from, %(since)s::timestamptz) as since, valid_to
from area_membership
where usage_point_id = %(usage_point_id)s and (valid_to is null or valid_to > %(since)s::timestamptz)
order by area_id, valid_from;

-- poll_targets --
-- Meters that serve now and are read over Modbus, by bus, area meters first.
select e.meter_id, m.manufacturer, m.serial, m.model, e.bus, e.unit, u.kind = 'area' as is_area_meter, a.code as area
from endpoint e
join meter m using (meter_id)
join installation i using (meter_id)
join usage_point u using (usage_point_id)
left join area_membership h on h.usage_point_id = u.usage_point_id and h.valid_from <= %(now)s and (h.valid_to is null or h.valid_to > %(now)s)
left join area a using (area_id)
where e.protocol = 'modbus' and i.valid_from <= %(now)s and (i.valid_to is null or i.valid_to > %(now)s)
order by e.bus, u.kind <> 'area', e.unit, e.meter_id;

-- poll_fingerprint --
-- Another value when poll_targets would answer otherwise; one row instead of all of them.
select count(*) as targets,
       coalesce(sum(hashtextextended(concat_ws('|', e.meter_id, m.manufacturer, m.serial, m.model, e.bus, e.unit,
                                               u.kind, h.area_id), 0)), 0) as digest
from endpoint e
join meter m using (meter_id)
join installation i using (meter_id)
join usage_point u using (usage_point_id)
left join area_membership h on h.usage_point_id = u.usage_point_id and h.valid_from <= %(now)s and (h.valid_to is null or h.valid_to > %(now)s)
where e.protocol = 'modbus' and i.valid_from <= %(now)s and (i.valid_to is null or i.valid_to > %(now)s);

-- poll_target_of --
-- Where one meter is read, installed or not: a live read comes before commissioning.
select e.meter_id, m.manufacturer, m.serial, m.model, e.bus, e.unit, false as is_area_meter, null as area
from endpoint e
join meter m using (meter_id)
where e.protocol = 'modbus' and e.meter_id = %(meter_id)s;
