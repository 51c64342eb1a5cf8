-- What every stored reading touches, made cheap: one row a meter for its newest reading and its counts, rewritten in place; a
-- meter's installations and a usage point's areas found by index; a revision keeps every value that differed.

-- Each batch renews these rows: room in the page keeps the new version beside the old one, out of the indexes.
alter table latest_reading set (fillfactor = 60);
alter table dirty_day set (fillfactor = 60);

alter table latest_reading
    add column readings_modbus        bigint not null default 0,
    add column readings_mqtt          bigint not null default 0,
    add column readings_concentrator  bigint not null default 0,
    add column readings_manual        bigint not null default 0;
comment on table latest_reading is 'of each meter its newest reading, and how many are stored by way in; counted in the transaction that stored them';
update latest_reading l
set readings_modbus = c.modbus, readings_mqtt = c.mqtt, readings_concentrator = c.concentrator, readings_manual = c.manual
from (select meter_id,
             coalesce(sum(readings) filter (where source = 1), 0) as modbus, coalesce(sum(readings) filter (where source = 2), 0) as mqtt,
             coalesce(sum(readings) filter (where source = 3), 0) as concentrator, coalesce(sum(readings) filter (where source = 4), 0) as manual
      from reading_count group by meter_id) c
where c.meter_id = l.meter_id;
drop table reading_count;
create view reading_count as
select l.meter_id, n.source, n.readings
from latest_reading l
cross join lateral (values (1::smallint, l.readings_modbus), (2::smallint, l.readings_mqtt),
                           (3::smallint, l.readings_concentrator), (4::smallint, l.readings_manual)) n (source, readings)
where n.readings > 0;
comment on view reading_count is 'readings stored per meter and way in';

-- Behind the range indexes of the exclusion constraints no join by number finds its way.
create index installation_meter on installation (meter_id, valid_from);
create index area_membership_usage_point on area_membership (usage_point_id, valid_from);

alter table reading_revision
    add column kept_voltage_dv smallint,
    add column kept_phases jsonb,                        -- columns of phase_reading that hold a value
    add column other_voltage_dv smallint,
    add column other_phases jsonb;
drop index reading_revision_once;
create unique index reading_revision_once on reading_revision
    (meter_id, ts, other_source, other_import_wh, other_export_wh, other_voltage_dv, other_phases) nulls not distinct;
