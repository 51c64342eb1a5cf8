-- only_one_import --
-- Two imports at once would each decide on what the other is about to change; held until the transaction ends.
select pg_advisory_xact_lock(1212498244, 1);

-- load_station --
-- Everything by code, as the files have it.
select code as station, name from station;

-- load_area --
-- Areas by code.
select a.code as area, s.code as station, a.name, a.transformer_kva, a.high_loss_rate, a.negative_loss_rate
from area a join station s using (station_id);

-- load_usage_point --
-- Usage points by code.
select code as usage_point, kind, category, name, phase, rated_current_a from usage_point;

-- load_membership --
-- The whole history of what hangs where, oldest first.
select u.code as usage_point, a.code as area, b.code as behind, m.valid_from, m.valid_to
from area_membership m
join usage_point u using (usage_point_id)
join area a using (area_id)
left join usage_point b on b.usage_point_id = m.behind_usage_point_id
order by m.usage_point_id, m.valid_from;

-- load_category --
-- Categories of those whose category ever changed; the others are since ever what usage_point says.
select u.code as usage_point, c.category, nullif(c.valid_from, '-infinity') as valid_from, c.valid_to
from usage_point_category c join usage_point u using (usage_point_id)
where exists (select from usage_point_category o where o.usage_point_id = c.usage_point_id and o.valid_from > '-infinity')
order by c.usage_point_id, c.valid_from;

-- load_meter --
-- Meters by manufacturer and serial.
select manufacturer, serial, model, phases, digits, resolution_wh, accuracy_class from meter;

-- load_installation --
-- The whole history of which meter served where.
select u.code as usage_point, m.manufacturer, m.serial, i.valid_from, i.valid_to, i.multiplier, i.sign,
       i.start_import_wh, i.start_export_wh, i.seal
from installation i
join usage_point u using (usage_point_id)
join meter m using (meter_id);

-- load_concentrator --
-- Concentrators by code.
select c.code as concentrator, a.code as area from concentrator c join area a using (area_id);

-- load_endpoint --
-- How each meter is reached.
select m.manufacturer, m.serial, e.protocol, e.bus, e.unit, c.code as concentrator
from endpoint e
join meter m using (meter_id)
left join concentrator c using (concentrator_id);

-- load_premises --
-- Doors behind shared meters.
select p.code as premises, a.code as area, s.code as shared_usage_point, u.code as usage_point, p.label, p.has_production
from premises p
join area a using (area_id)
join usage_point s on s.usage_point_id = p.shared_usage_point_id
join usage_point u on u.usage_point_id = p.usage_point_id;

-- add_station --
-- One statement for all rows, as for every noun below: arrays in, no round trip a row.
insert into station (code, name)
select * from unnest(%(station)s::text[], %(name)s::text[]);

-- change_station --
-- Stations have no history.
update station s set name = n.name
from unnest(%(station)s::text[], %(name)s::text[]) as n (code, name)
where s.code = n.code;

-- add_area --
-- New areas.
insert into area (code, station_id, name, transformer_kva, high_loss_rate, negative_loss_rate)
select n.code, s.station_id, n.name, n.transformer_kva, n.high_loss_rate, n.negative_loss_rate
from unnest(%(area)s::text[], %(station)s::text[], %(name)s::text[], %(transformer_kva)s::numeric[],
            %(high_loss_rate)s::float8[], %(negative_loss_rate)s::float8[])
     as n (code, station, name, transformer_kva, high_loss_rate, negative_loss_rate)
left join station s on s.code = n.station;

-- change_area --
-- Another name, rating, limit or station; returns those whose balances are judged otherwise.
with n as materialized (
    select * from unnest(%(area)s::text[], %(station)s::text[], %(name)s::text[], %(transformer_kva)s::numeric[],
                         %(high_loss_rate)s::float8[], %(negative_loss_rate)s::float8[])
                  as n (code, station, name, transformer_kva, high_loss_rate, negative_loss_rate)
), otherwise as materialized (
    select a.code from area a join n using (code)
    where (a.high_loss_rate, a.negative_loss_rate) is distinct from (n.high_loss_rate, n.negative_loss_rate)
), changed as (
    update area a
    set station_id = s.station_id, name = n.name, transformer_kva = n.transformer_kva,
        high_loss_rate = n.high_loss_rate, negative_loss_rate = n.negative_loss_rate
    from n join station s on s.code = n.station
    where a.code = n.code)
select code from otherwise;

-- add_usage_point --
-- New usage points; where they hang is add_membership.
insert into usage_point (code, kind, category, name, phase, rated_current_a)
select * from unnest(%(usage_point)s::text[], %(kind)s::text[], %(category)s::text[], %(name)s::text[],
                     %(phase)s::text[], %(rated_current_a)s::integer[]);

-- change_usage_point --
-- Kind and category are part of the past and stay. Returns those whose energy is judged otherwise.
with n as materialized (
    select * from unnest(%(usage_point)s::text[], %(name)s::text[], %(phase)s::text[], %(rated_current_a)s::integer[])
                  as n (code, name, phase, rated_current_a)
), otherwise as materialized (
    select u.code from usage_point u join n using (code) where u.rated_current_a is distinct from n.rated_current_a
), changed as (
    update usage_point u set name = n.name, phase = n.phase, rated_current_a = n.rated_current_a from n where u.code = n.code)
select code from otherwise;

-- add_membership --
-- Where new usage points hang.
insert into area_membership (usage_point_id, area_id, behind_usage_point_id, valid_from, valid_to)
select u.usage_point_id, a.area_id, b.usage_point_id, n.valid_from, n.valid_to
from unnest(%(usage_point)s::text[], %(area)s::text[], %(behind)s::text[], %(valid_from)s::timestamptz[],
            %(valid_to)s::timestamptz[]) as n (usage_point, area, behind, valid_from, valid_to)
left join usage_point u on u.code = n.usage_point
left join area a on a.code = n.area
left join usage_point b on b.code = n.behind;

-- add_meter --
-- New meters, installed or in stock.
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh, accuracy_class)
select * from unnest(%(manufacturer)s::text[], %(serial)s::text[], %(model)s::text[], %(phases)s::smallint[],
                     %(digits)s::smallint[], %(resolution_wh)s::integer[], %(accuracy_class)s::numeric[]);

-- change_meter --
-- A correction of what the device is; returns those whose registers say something else by it.
with n as materialized (
    select * from unnest(%(manufacturer)s::text[], %(serial)s::text[], %(model)s::text[], %(phases)s::smallint[],
                         %(digits)s::smallint[], %(resolution_wh)s::integer[], %(accuracy_class)s::numeric[])
                  as n (manufacturer, serial, model, phases, digits, resolution_wh, accuracy_class)
), otherwise as materialized (
    select m.meter_id from meter m join n using (manufacturer, serial)
    where (m.phases, m.digits, m.resolution_wh, m.accuracy_class)
          is distinct from (n.phases, n.digits, n.resolution_wh, n.accuracy_class)
), changed as (
    update meter m set model = n.model, phases = n.phases, digits = n.digits, resolution_wh = n.resolution_wh, accuracy_class = n.accuracy_class
    from n where (m.manufacturer, m.serial) = (n.manufacturer, n.serial))
select meter_id from otherwise;

-- add_installation --
-- The schema's exclusion constraints stay the last word on overlaps.
insert into installation (usage_point_id, meter_id, valid_from, valid_to, multiplier, sign, start_import_wh,
                          start_export_wh, seal)
select u.usage_point_id, m.meter_id, n.valid_from, n.valid_to, n.multiplier, n.sign, n.start_import_wh,
       n.start_export_wh, n.seal
from unnest(%(usage_point)s::text[], %(manufacturer)s::text[], %(serial)s::text[], %(valid_from)s::timestamptz[],
            %(valid_to)s::timestamptz[], %(multiplier)s::numeric[], %(sign)s::smallint[],
            %(start_import_wh)s::bigint[], %(start_export_wh)s::bigint[], %(seal)s::text[])
     as n (usage_point, manufacturer, serial, valid_from, valid_to, multiplier, sign, start_import_wh,
           start_export_wh, seal)
left join usage_point u on u.code = n.usage_point
left join meter m on (m.manufacturer, m.serial) = (n.manufacturer, n.serial);

-- change_installation --
-- Closing an open one is the only change that the past allows.
update installation i set valid_to = n.valid_to
from unnest(%(usage_point)s::text[], %(manufacturer)s::text[], %(serial)s::text[], %(valid_from)s::timestamptz[],
            %(valid_to)s::timestamptz[]) as n (usage_point, manufacturer, serial, valid_from, valid_to)
join usage_point u on u.code = n.usage_point
join meter m on (m.manufacturer, m.serial) = (n.manufacturer, n.serial)
where (i.usage_point_id, i.meter_id, i.valid_from) = (u.usage_point_id, m.meter_id, n.valid_from)
  and i.valid_to is null;

-- add_concentrator --
-- New concentrators; what they said of themselves is not ours to import.
insert into concentrator (code, area_id)
select n.code, a.area_id
from unnest(%(concentrator)s::text[], %(area)s::text[]) as n (code, area)
left join area a on a.code = n.area;

-- change_concentrator --
-- Another area.
update concentrator c set area_id = a.area_id
from unnest(%(concentrator)s::text[], %(area)s::text[]) as n (code, area)
join area a on a.code = n.area
where c.code = n.code;

-- add_endpoint --
-- How new meters are reached.
insert into endpoint (meter_id, protocol, bus, unit, concentrator_id)
select m.meter_id, n.protocol, n.bus, n.unit, c.concentrator_id
from unnest(%(manufacturer)s::text[], %(serial)s::text[], %(protocol)s::text[], %(bus)s::text[],
            %(unit)s::smallint[], %(concentrator)s::text[])
     as n (manufacturer, serial, protocol, bus, unit, concentrator)
left join meter m on (m.manufacturer, m.serial) = (n.manufacturer, n.serial)
left join concentrator c on c.code = n.concentrator;

-- change_endpoint --
-- The poller notices by itself.
update endpoint e set bus = n.bus, unit = n.unit, concentrator_id = c.concentrator_id
from unnest(%(manufacturer)s::text[], %(serial)s::text[], %(protocol)s::text[], %(bus)s::text[],
            %(unit)s::smallint[], %(concentrator)s::text[])
     as n (manufacturer, serial, protocol, bus, unit, concentrator)
join meter m on (m.manufacturer, m.serial) = (n.manufacturer, n.serial)
left join concentrator c on c.code = n.concentrator
where (e.meter_id, e.protocol) = (m.meter_id, n.protocol);

-- add_premises --
-- Doors that the rollout works through.
insert into premises (code, area_id, shared_usage_point_id, usage_point_id, label, has_production)
select n.code, a.area_id, s.usage_point_id, u.usage_point_id, n.label, n.has_production
from unnest(%(premises)s::text[], %(area)s::text[], %(shared_usage_point)s::text[], %(usage_point)s::text[],
            %(label)s::text[], %(has_production)s::boolean[])
     as n (code, area, shared_usage_point, usage_point, label, has_production)
left join area a on a.code = n.area
left join usage_point s on s.code = n.shared_usage_point
left join usage_point u on u.code = n.usage_point;

-- change_premises --
-- Another label, or production found after all.
update premises p set label = n.label, has_production = n.has_production
from unnest(%(premises)s::text[], %(label)s::text[], %(has_production)s::boolean[])
     as n (code, label, has_production)
where p.code = n.code;

-- load_feeder --
-- Feeders by code.
select f.code as feeder, s.code as station, f.name from feeder f join station s using (station_id);

-- load_area_feeder --
-- The whole history of which area hung on which feeder.
select a.code as area, f.code as feeder, m.valid_from, m.valid_to
from area_feeder m join area a using (area_id) join feeder f using (feeder_id);

-- load_unmetered_load --
-- The whole history of loads without a meter.
select u.code, a.code as area, u.kind, u.name, u.power_w, u.tolerance, u.schedule, u.latitude_deg, u.longitude_deg, u.valid_from, u.valid_to
from unmetered_load u join area a using (area_id)
where u.withdrawn_by is null;

-- add_feeder --
-- New feeders.
insert into feeder (code, station_id, name)
select n.code, s.station_id, n.name
from unnest(%(feeder)s::text[], %(station)s::text[], %(name)s::text[]) as n (code, station, name)
left join station s on s.code = n.station;

-- change_feeder --
-- Another name, or another station that answers for it.
update feeder f set station_id = s.station_id, name = n.name
from unnest(%(feeder)s::text[], %(station)s::text[], %(name)s::text[]) as n (code, station, name)
join station s on s.code = n.station
where f.code = n.code;

-- add_area_feeder --
-- Where areas hang.
insert into area_feeder (area_id, feeder_id, valid_from, valid_to)
select a.area_id, f.feeder_id, n.valid_from, n.valid_to
from unnest(%(area)s::text[], %(feeder)s::text[], %(valid_from)s::timestamptz[], %(valid_to)s::timestamptz[])
     as n (area, feeder, valid_from, valid_to)
left join area a on a.code = n.area
left join feeder f on f.code = n.feeder;

-- change_area_feeder --
-- Closing an open span is the only change that the past allows.
update area_feeder m set valid_to = n.valid_to
from unnest(%(area)s::text[], %(feeder)s::text[], %(valid_from)s::timestamptz[], %(valid_to)s::timestamptz[])
     as n (area, feeder, valid_from, valid_to)
join area a on a.code = n.area
where (m.area_id, m.valid_from) = (a.area_id, n.valid_from) and m.valid_to is null;

-- add_unmetered_load --
-- New loads, or another version of one.
insert into unmetered_load (code, area_id, kind, name, power_w, tolerance, schedule, latitude_deg, longitude_deg, valid_from, valid_to, noted_by)
select n.code, a.area_id, n.kind, n.name, n.power_w, n.tolerance, n.schedule, n.latitude_deg, n.longitude_deg, n.valid_from, n.valid_to, 'import'
from unnest(%(code)s::text[], %(area)s::text[], %(kind)s::text[], %(name)s::text[], %(power_w)s::integer[], %(tolerance)s::float8[],
            %(schedule)s::text[], %(latitude_deg)s::float8[], %(longitude_deg)s::float8[], %(valid_from)s::timestamptz[],
            %(valid_to)s::timestamptz[])
     as n (code, area, kind, name, power_w, tolerance, schedule, latitude_deg, longitude_deg, valid_from, valid_to)
left join area a on a.code = n.area;

-- change_unmetered_load --
-- Closing an open span is the only change that the past allows.
update unmetered_load u set valid_to = n.valid_to, noted_by = 'import'
from unnest(%(code)s::text[], %(valid_from)s::timestamptz[], %(valid_to)s::timestamptz[]) as n (code, valid_from, valid_to)
where (u.code, u.valid_from) = (n.code, n.valid_from) and u.valid_to is null and u.withdrawn_by is null;

-- analyze --
-- A fresh database takes its tables for empty and joins ten thousand meters by nested loops.
analyze area, usage_point, area_membership, meter, installation, endpoint;

-- touched_areas --
-- From which instant on an area's balance may come out otherwise, and the first day of it that anybody has seen: days
-- without a single reading need no settlement. Meters count from their first stored reading.
with touched as (
    select u.usage_point_id, t.since
    from unnest(%(usage_point)s::text[], %(since)s::timestamptz[]) as t (code, since)
    join usage_point u using (code)
    union all
    select usage_point_id, valid_from from installation where meter_id = any (%(meters)s)
    union all
    select m.usage_point_id, m.valid_from from area_membership m join usage_point u using (usage_point_id)
    where u.code = any (%(judged)s)
), hanging as (
    select m.area_id, t.usage_point_id, min(greatest(m.valid_from, t.since)) as since
    from touched t
    join area_membership m using (usage_point_id)
    where m.valid_to is null or m.valid_to > t.since
    group by m.area_id, t.usage_point_id
    union all
    select a.area_id, null, min(m.valid_from) from area a join area_membership m using (area_id) where a.code = any (%(areas)s) group by a.area_id
), readings as (
    select h.area_id, min(r.ts) as first_at
    from hanging h
    join installation i using (usage_point_id)
    join (select distinct meter_id from reading_count) c using (meter_id)
    cross join lateral (select min(ts) as ts from register_reading where meter_id = i.meter_id) r
    group by h.area_id
)
select h.area_id, min(h.since) as since, min(r.first_at) as first_reading_at,
       least((select min(b.day) from balance_day b where b.area_id = h.area_id),
             (select min(d.day) from dirty_day d where d.area_id = h.area_id)) as first_day
from hanging h
left join readings r using (area_id)
group by h.area_id
order by h.area_id;
