-- add --
-- What a meter's clock said; the same instant read twice is one reading.
insert into clock_reading (meter_id, at, offset_ms, uncertainty_ms, drifted, command_id)
values (%(meter_id)s, %(at)s, %(offset_ms)s, %(uncertainty_ms)s, %(drifted)s, %(command_id)s)
on conflict (meter_id, at) do nothing;

-- mark --
-- The local day on which a clock was read is flagged otherwise now, on whichever area the meter hung: settle it again.
insert into dirty_day as d (area_id, day, marked_at)
select distinct m.area_id, (%(at)s::timestamptz at time zone %(zone)s)::date, %(now)s::timestamptz
from installation i join area_membership m using (usage_point_id)
where i.meter_id = %(meter_id)s
  and tstzrange(i.valid_from, i.valid_to) @> %(at)s::timestamptz and tstzrange(m.valid_from, m.valid_to) @> %(at)s::timestamptz
order by 1
on conflict (area_id, day) do update set
    marked_at = greatest(excluded.marked_at, d.marked_at + interval '1 microsecond'), since = coalesce(d.since, d.marked_at);

-- latest --
-- How far a meter's clock was off when it was read last.
select at, offset_ms, uncertainty_ms, drifted, command_id
from clock_reading where meter_id = %(meter_id)s and at <= %(now)s
order by at desc limit 1;

-- recent --
-- The last readings of a meter's clock, newest first.
select at, offset_ms, uncertainty_ms, drifted, command_id
from clock_reading where meter_id = %(meter_id)s
order by at desc limit %(limit)s;

-- read_last --
-- When each meter's clock was read last: one look into the index a meter.
select m.meter_id, c.at
from meter m
cross join lateral (select at from clock_reading r where r.meter_id = m.meter_id order by at desc limit 1) c;

-- set_last --
-- When a meter's clock was set last, or may have been.
select max(sent_at) as at from device_command where meter_id = %(meter_id)s and kind = 'clock' and sent_at is not null;
