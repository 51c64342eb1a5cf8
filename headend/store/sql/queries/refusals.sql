-- remember --
-- For the meter that hangs there and serves, else for one that waits there in stock; nobody's refusal is not kept.
insert into register_refusal as r (model, firmware, meter_id, register_table, first_register, last_register, found_at, found_by, expires_at)
select %(model)s::text, %(firmware)s::text, case when %(firmware)s::text is null then there.meter_id end,
       %(table)s, %(first)s, %(last)s, %(found_at)s, there.meter_id, %(expires_at)s
from (
    select e.meter_id
    from endpoint e
    join meter m using (meter_id)
    left join installation i on i.meter_id = e.meter_id and i.valid_from <= %(found_at)s and (i.valid_to is null or i.valid_to > %(found_at)s)
    where e.protocol = 'modbus' and (e.bus, e.unit, m.model) = (%(bus)s, %(unit)s, %(model)s)
    order by i.installation_id is null, e.meter_id
    limit 1
) there
on conflict (model, firmware, meter_id, register_table, first_register, last_register) do update
set found_at = excluded.found_at, found_by = excluded.found_by, expires_at = excluded.expires_at;

-- answered --
-- Of a whole firmware, or of the meter that hangs there.
delete from register_refusal r
where (r.model, r.register_table, r.first_register, r.last_register) = (%(model)s, %(table)s, %(first)s, %(last)s)
  and (r.firmware = %(firmware)s
       or %(firmware)s::text is null and r.firmware is null
          and r.meter_id in (select meter_id from endpoint where protocol = 'modbus' and (bus, unit) = (%(bus)s, %(unit)s)));

-- kept --
-- With the place where the meter hangs now: a meter that moved takes its refusals along.
select r.refusal_id, r.model, r.firmware, e.bus, e.unit, r.register_table as table, r.first_register as first,
       r.last_register as last, r.found_at, r.expires_at
from register_refusal r
left join endpoint e on e.meter_id = coalesce(r.meter_id, r.found_by) and e.protocol = 'modbus';

-- forget --
-- The poller looks every few seconds.
delete from register_refusal where refusal_id = %(refusal_id)s;

-- purge --
-- A meter that is still there has been asked again since, and the row renewed or dropped.
delete from register_refusal where expires_at < %(before)s;

-- list --
-- By number, newest first: `after` is the last one of the page before.
select r.refusal_id, r.model, r.firmware, r.register_table, r.first_register, r.last_register, r.found_at, r.expires_at,
       m.manufacturer, m.serial, f.manufacturer as found_by_manufacturer, f.serial as found_by_serial,
       e.bus, e.unit, b.peer
from register_refusal r
left join meter m on m.meter_id = r.meter_id
join meter f on f.meter_id = r.found_by
left join endpoint e on e.meter_id = r.found_by and e.protocol = 'modbus'
left join poll_bus b on b.bus = e.bus
where %(after)s::bigint is null or r.refusal_id < %(after)s::bigint
order by r.refusal_id desc
limit %(limit)s;
