-- note --
-- Once each, however often it is told.
insert into profile_gap (meter_id, from_at, to_at, done_to, noted_at, changed_at)
select meter_id, from_at, to_at, from_at, %(now)s::timestamptz, %(now)s::timestamptz
from unnest(%(meter_id)s::integer[], %(from_at)s::timestamptz[], %(to_at)s::timestamptz[]) as n (meter_id, from_at, to_at)
order by meter_id, from_at
on conflict (meter_id, from_at) do nothing;

-- open_gaps --
-- Oldest first on each bus, with the meter as it is polled now and the registers at both ends.
with waiting as (
    select g.*, e.bus, e.unit, row_number() over (partition by e.bus order by g.from_at, g.gap_id) as place
    from profile_gap g
    join endpoint e on e.meter_id = g.meter_id and e.protocol = 'modbus'
    join poll_meter p on p.meter_id = g.meter_id and p.outcome = 'ok'
    where g.state = 'open' and e.bus = any (%(buses)s::text[])
      and (g.attempts = 0
           or g.changed_at <= %(now)s - least(3600, 60 * 2 ^ least(g.attempts - 1, 10)) * interval '1 second')
)
select w.gap_id, w.from_at, w.to_at, w.done_to, w.attempts,
       w.meter_id, m.manufacturer, m.serial, m.model, w.bus, w.unit, u.kind = 'area' as is_area_meter, a.code as area,
       (10::numeric ^ m.digits * m.resolution_wh)::bigint as rollover_wh,
       greatest(first.resolution_wh, last.resolution_wh)::integer as step_wh,
       k.offset_ms as clock_offset_ms, coalesce(k.drifted, false) as clock_drifted,
       first.import_wh as from_import_wh, first.export_wh as from_export_wh,
       last.import_wh as to_import_wh, last.export_wh as to_export_wh
from waiting w
join meter m using (meter_id)
join installation i on i.meter_id = w.meter_id and i.valid_from <= %(now)s and (i.valid_to is null or i.valid_to > %(now)s)
join usage_point u using (usage_point_id)
left join area_membership h on h.usage_point_id = u.usage_point_id and h.valid_from <= %(now)s and (h.valid_to is null or h.valid_to > %(now)s)
left join area a using (area_id)
left join lateral (
    select c.offset_ms, c.drifted from clock_reading c where c.meter_id = w.meter_id order by c.at desc limit 1
) k on true
left join register_reading first on first.meter_id = w.meter_id and first.ts = w.from_at
left join register_reading last on last.meter_id = w.meter_id and last.ts = w.to_at
where w.place <= %(per_bus)s
order by w.from_at, w.gap_id;

-- advance --
-- Counts are added; a gap that was closed stays so.
update profile_gap
set done_to = greatest(done_to, %(done_to)s), state = %(state)s, records = records + %(records)s, refused = refused + %(refused)s,
    attempts = %(attempts)s, detail = %(detail)s, changed_at = %(now)s
where gap_id = %(gap_id)s and state = 'open';

-- abandon --
-- Nobody will ask these meters again.
update profile_gap g
set state = 'given_up', detail = 'the meter serves no more, or is not read over Modbus any more', changed_at = %(now)s
where g.state = 'open'
  and not exists (select from endpoint e join installation i using (meter_id)
                  where e.meter_id = g.meter_id and e.protocol = 'modbus'
                    and i.valid_from <= %(now)s and (i.valid_to is null or i.valid_to > %(now)s));

-- last_readings --
-- The newest of each, whichever way it came.
select meter_id, ts from latest_reading where meter_id = any (%(meters)s::integer[]);

-- list --
-- By number, newest first: `after` is the last one of the page before.
select g.gap_id, m.manufacturer, m.serial, m.model, e.bus, b.peer, e.unit, g.from_at, g.to_at, g.done_to, g.state, g.records, g.refused,
       g.attempts, g.detail, g.noted_at, g.changed_at
from profile_gap g
join meter m using (meter_id)
left join endpoint e on e.meter_id = g.meter_id and e.protocol = 'modbus'
left join poll_bus b on b.bus = e.bus
where (%(all)s::boolean or g.state <> 'closed') and (%(after)s::bigint is null or g.gap_id < %(after)s::bigint)
order by g.gap_id desc
limit %(limit)s;
