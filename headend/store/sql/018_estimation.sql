-- What meters told of power failures: asked for by settlement with every stretch of readings, and few among all events.
create index device_event_power on device_event (meter_id, occurred_at)
    where kind in ('power_failed', 'power_restored') and meter_id is not null and phase is null;
