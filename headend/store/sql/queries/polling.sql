-- save_buses --
-- All of a round at once: arrays in.
insert into poll_bus (bus, peer, connected, since_at, reason, began_at, took_s, meters, asked, read, failed, resting, written_at)
select *, %(now)s::timestamptz
from unnest(%(bus)s::text[], %(peer)s::text[], %(connected)s::boolean[], %(since_at)s::timestamptz[], %(reason)s::text[],
            %(began_at)s::timestamptz[], %(took_s)s::float8[], %(meters)s::integer[], %(asked)s::integer[], %(read)s::integer[],
            %(failed)s::integer[], %(resting)s::integer[])
order by 1
on conflict (bus) do update
set peer = excluded.peer, connected = excluded.connected, since_at = excluded.since_at, reason = excluded.reason,
    began_at = excluded.began_at, took_s = excluded.took_s, meters = excluded.meters, asked = excluded.asked,
    read = excluded.read, failed = excluded.failed, resting = excluded.resting, written_at = excluded.written_at;

-- save_meters --
-- Only those whose state changed come here.
insert into poll_meter (meter_id, bus, outcome, reason, since_at, failures, next_probe_at, response_ms, timeout_ms, firmware, written_at)
select *, %(now)s::timestamptz
from unnest(%(meter_id)s::integer[], %(bus)s::text[], %(outcome)s::text[], %(reason)s::text[], %(since_at)s::timestamptz[],
            %(failures)s::integer[], %(next_probe_at)s::timestamptz[], %(response_ms)s::float8[], %(timeout_ms)s::float8[],
            %(firmware)s::text[])
order by 1
on conflict (meter_id) do update
set bus = excluded.bus, outcome = excluded.outcome, reason = excluded.reason, since_at = excluded.since_at,
    failures = excluded.failures, next_probe_at = excluded.next_probe_at, response_ms = excluded.response_ms,
    timeout_ms = excluded.timeout_ms, firmware = excluded.firmware, written_at = excluded.written_at;

-- drop_other_buses --
-- No meter that serves hangs there any more.
delete from poll_bus where bus <> all (%(buses)s::text[]);

-- drop_other_meters --
-- Removed, or reached another way.
delete from poll_meter where meter_id <> all (%(meters)s::integer[]);

-- save_modems --
-- Those whose state changed.
insert into poll_modem (modem, peer, connected, in_use, registered_at, heard_at, registrations, written_at)
select *, %(now)s::timestamptz
from unnest(%(modem)s::text[], %(peer)s::text[], %(connected)s::boolean[], %(in_use)s::boolean[], %(registered_at)s::timestamptz[],
            %(heard_at)s::timestamptz[], %(registrations)s::bigint[])
order by 1
on conflict (modem) do update
set peer = excluded.peer, connected = excluded.connected, in_use = excluded.in_use, registered_at = excluded.registered_at,
    heard_at = excluded.heard_at, registrations = excluded.registrations, written_at = excluded.written_at;

-- modems_gone --
-- The process that they came to begins anew: nobody is connected to it yet.
update poll_modem set connected = false, in_use = false, written_at = %(now)s where connected or in_use;

-- forget_modems --
-- Scrapped, or given another id.
delete from poll_modem where heard_at < %(before)s;

-- modems --
-- The bus of each is the one whose meters are reached through it.
select d.modem, d.peer, d.connected, d.in_use, d.registered_at, d.heard_at, d.registrations,
       (select b.bus from poll_bus b where b.bus in ('modbus+dialin://' || d.modem, 'modbus+dialin+tcp://' || d.modem) limit 1) as bus
from poll_modem d
order by d.connected, d.heard_at desc, d.modem
limit %(limit)s::integer;

-- stored_meters --
-- As they were left.
select meter_id, bus, outcome, reason, since_at, failures, next_probe_at, response_ms, timeout_ms, firmware from poll_meter;

-- stored_buses --
-- The same of buses.
select bus, peer, connected, since_at, reason, began_at, took_s, meters, asked, read, failed, resting from poll_bus;

-- totals --
-- Meters are counted where they stand now: a round of area meters alone says nothing of the others.
select (select count(*) from poll_bus) as buses,
       (select count(*) from poll_bus where connected) as connected,
       (select count(*) from poll_bus where connected is false) as away,
       count(*) as meters,
       count(*) filter (where outcome = 'ok') as read,
       count(*) filter (where outcome = 'resting') as resting,
       count(*) filter (where outcome not in ('ok', 'resting')) as failed
from poll_meter;

-- oldest_rounds --
-- For metrics: the longest ago first.
select bus, began_at from poll_bus where began_at is not null order by began_at, bus limit %(limit)s::integer;

-- buses --
-- Ranked by trouble: away, somebody not read, no round yet, well. The meters that were not read come with each.
with ranked as (
    select b.*, m.not_read, m.known, m.read_now, m.resting_now, m.response_ms, m.slowest_ms,
           case when b.connected is false then 0 when m.not_read > 0 then 1 when b.connected is null then 2 else 3 end as rank
    from poll_bus b
    cross join lateral (
        select count(*) as known, count(*) filter (where outcome <> 'ok') as not_read,
               count(*) filter (where outcome = 'ok') as read_now, count(*) filter (where outcome = 'resting') as resting_now,
               percentile_cont(0.5) within group (order by p.response_ms) as response_ms, max(p.response_ms) as slowest_ms
        from poll_meter p where p.bus = b.bus
    ) m
    where %(bus)s::text is null or b.bus = %(bus)s::text
), page as (
    select * from ranked r
    where (not %(troubled)s::boolean or r.rank < 2)
      and (%(search)s::text is null
           or strpos(lower(r.peer), lower(%(search)s::text)) > 0 or strpos(lower(r.bus), lower(%(search)s::text)) > 0
           or exists (select from endpoint e join meter m using (meter_id) left join installation i using (meter_id)
                      left join area_membership h using (usage_point_id) left join area a using (area_id)
                      where e.bus = r.bus and i.valid_to is null and h.valid_to is null
                        and (starts_with(lower(m.serial), lower(%(search)s::text))
                             or strpos(lower(a.code), lower(%(search)s::text)) > 0
                             or strpos(lower(a.name), lower(%(search)s::text)) > 0)))
      and (%(after_rank)s::integer is null or (r.rank, r.bus) > (%(after_rank)s::integer, %(after_bus)s::text))
    order by r.rank, r.bus
    limit %(limit)s::integer
)
select page.*,
       (select coalesce(jsonb_agg(distinct jsonb_build_object('code', a.code, 'name', a.name)), '[]'::jsonb)
        from endpoint e join installation i using (meter_id) join area_membership h using (usage_point_id) join area a using (area_id)
        where e.bus = page.bus and i.valid_to is null and h.valid_to is null) as areas,
       (select coalesce(jsonb_agg(jsonb_build_object(
                   'manufacturer', m.manufacturer, 'serial', m.serial, 'model', m.model, 'unit', e.unit, 'outcome', p.outcome,
                   'reason', p.reason, 'since_at', p.since_at, 'failures', p.failures, 'next_probe_at', p.next_probe_at)
                   order by e.unit), '[]'::jsonb)
        from poll_meter p join meter m using (meter_id) left join endpoint e on e.meter_id = p.meter_id and e.protocol = 'modbus'
        where p.bus = page.bus and p.outcome <> 'ok') as troubled
from page
order by rank, bus;

-- meters_of --
-- With the last reading, whichever way it came.
select m.manufacturer, m.serial, m.model, e.unit, u.code as usage_point, u.kind, p.outcome, p.reason, p.since_at, p.failures, p.next_probe_at,
       p.response_ms, p.timeout_ms, p.firmware, l.ts as last_reading_at
from poll_meter p
join meter m using (meter_id)
left join endpoint e on e.meter_id = p.meter_id and e.protocol = 'modbus'
left join installation i on i.meter_id = p.meter_id and i.valid_to is null
left join usage_point u using (usage_point_id)
left join latest_reading l on l.meter_id = p.meter_id
where p.bus = %(bus)s
order by e.unit, m.manufacturer, m.serial;
