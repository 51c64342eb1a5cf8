-- add --
-- Seen once more, or for the first time; a device is one row.
insert into discovered_device as d (kind, manufacturer, serial, protocol, origin, concentrator, model_guess, phases_guess, first_seen_at, last_seen_at, messages)
select kind, manufacturer, serial, protocol, origin, concentrator, model_guess, phases_guess, first_seen_at, last_seen_at, messages
from unnest(%(kind)s::text[], %(manufacturer)s::text[], %(serial)s::text[], %(protocol)s::text[], %(origin)s::text[], %(concentrator)s::text[],
            %(model_guess)s::text[], %(phases_guess)s::smallint[], %(first_seen_at)s::timestamptz[], %(last_seen_at)s::timestamptz[], %(messages)s::bigint[])
     as n (kind, manufacturer, serial, protocol, origin, concentrator, model_guess, phases_guess, first_seen_at, last_seen_at, messages)
order by kind, manufacturer, serial
on conflict (kind, manufacturer, serial) do update
set protocol = excluded.protocol, origin = excluded.origin, concentrator = coalesce(excluded.concentrator, d.concentrator),
    model_guess = coalesce(excluded.model_guess, d.model_guess), phases_guess = greatest(d.phases_guess, excluded.phases_guess),
    first_seen_at = least(d.first_seen_at, excluded.first_seen_at), last_seen_at = greatest(d.last_seen_at, excluded.last_seen_at),
    messages = d.messages + excluded.messages
returning discovered_id, kind, manufacturer, serial, adopted_at is not null as adopted, xmax = 0 as is_new,
          (select count(*) from discovered_message m where m.discovered_id = d.discovered_id) as kept

-- imported --
-- Which of these devices there are by now.
select n.discovered_id
from unnest(%(discovered_id)s::bigint[], %(kind)s::text[], %(manufacturer)s::text[], %(serial)s::text[]) as n (discovered_id, kind, manufacturer, serial)
where exists (select from meter m where n.kind = 'meter' and (m.manufacturer, m.serial) = (n.manufacturer, n.serial))
   or exists (select from concentrator c where n.kind = 'concentrator' and c.code = n.serial)

-- reopen --
-- Adopted once, and gone since.
update discovered_device set adopted_at = null, adopted_by = null where discovered_id = any (%s)

-- keep_payloads --
-- A message is kept once, however many unknown devices it names.
insert into discovered_payload (digest, size, payload)
select distinct on (digest) digest, size, payload from unnest(%(digest)s::bytea[], %(size)s::bigint[], %(payload)s::bytea[]) as n (digest, size, payload)
order by digest
on conflict (digest) do nothing

-- keep_messages --
-- The first few of each device.
insert into discovered_message (discovered_id, nth, received_at, origin, payload_id)
select n.discovered_id, n.nth, n.received_at, n.origin, p.payload_id
from unnest(%(discovered_id)s::bigint[], %(nth)s::smallint[], %(received_at)s::timestamptz[], %(origin)s::text[], %(digest)s::bytea[])
     as n (discovered_id, nth, received_at, origin, digest)
join discovered_payload p using (digest)
on conflict do nothing

-- forget_the_stalest --
-- The list is bounded: those not adopted and not heard of for the longest go; their messages stay in the quarantine.
delete from discovered_device
where discovered_id in (select discovered_id from discovered_device where adopted_at is null order by last_seen_at desc, discovered_id desc offset %(most)s)

-- forget_payloads --
-- What no device refers to any more.
delete from discovered_payload p where not exists (select from discovered_message m where m.payload_id = p.payload_id)

-- list --
-- Heard of last first.
select discovered_id, kind, manufacturer, serial, protocol, origin, concentrator, model_guess, phases_guess, first_seen_at, last_seen_at, messages,
       adopted_at, adopted_by
from discovered_device
where (%(adopted)s::boolean or adopted_at is null) and (%(kind)s::text is null or kind = %(kind)s::text)
  and (%(search)s::text is null or strpos(lower(manufacturer || '/' || serial), lower(%(search)s::text)) > 0)
  and (%(after_seen)s::timestamptz is null or (last_seen_at, discovered_id) < (%(after_seen)s::timestamptz, %(after_id)s::bigint))
order by last_seen_at desc, discovered_id desc limit %(limit)s

-- show --
-- One device.
select discovered_id, kind, manufacturer, serial, protocol, origin, concentrator, model_guess, phases_guess, first_seen_at, last_seen_at, messages,
       adopted_at, adopted_by
from discovered_device where discovered_id = %s

-- messages --
-- Its first messages.
select m.nth, m.received_at, m.origin, p.size, p.payload
from discovered_message m join discovered_payload p using (payload_id) where m.discovered_id = %s order by m.nth

-- hold --
-- Whoever adopts it, or hears of it, goes one after the other.
select kind, manufacturer, serial, protocol, concentrator, adopted_at from discovered_device where discovered_id = %s for update

-- adopt --
-- It is a device of ours from now on.
update discovered_device set adopted_at = %(now)s, adopted_by = %(by)s where discovered_id = %(discovered_id)s

-- add_meter --
-- A meter as somebody described it; one that is there already stays as it is.
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
values (%(manufacturer)s, %(serial)s, %(model)s, %(phases)s, %(digits)s, %(resolution_wh)s)
on conflict (manufacturer, serial) do nothing
returning meter_id

-- add_mqtt_endpoint --
-- It publishes for itself, or a concentrator does.
insert into endpoint (meter_id, protocol, concentrator_id)
values (%(meter_id)s, 'mqtt', (select concentrator_id from concentrator where code = %(concentrator)s))
on conflict (meter_id, protocol) do nothing

-- add_concentrator --
-- A concentrator of an area.
insert into concentrator (code, area_id) select %(code)s, area_id from area where code = %(area)s
on conflict (code) do nothing
returning concentrator_id
