-- tell --
-- What the register maps of the process that polls say; the last one to say it wins.
insert into meter_model (model, manufacturer, name, tells_serial, clock, relay, tariffs, said_at)
values (%(model)s, %(manufacturer)s, %(name)s, %(tells_serial)s, %(clock)s, %(relay)s, %(tariffs)s, %(now)s)
on conflict (model) do update
set manufacturer = excluded.manufacturer, name = excluded.name, tells_serial = excluded.tells_serial,
    clock = excluded.clock, relay = excluded.relay, tariffs = excluded.tariffs, said_at = excluded.said_at;

-- find --
-- What one model can do.
select model, manufacturer, name, tells_serial, clock, relay, tariffs, said_at
from meter_model where model = %(model)s;
