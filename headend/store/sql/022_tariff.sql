-- Registers per rate of meters that keep them (OBIS 1.8.1 … 1.8.8), beside what they measure per phase.

-- One statement: the table is rewritten by none of its columns, and locked once.
alter table phase_reading
    add column import_t1_wh bigint, add column import_t2_wh bigint, add column import_t3_wh bigint, add column import_t4_wh bigint,
    add column import_t5_wh bigint, add column import_t6_wh bigint, add column import_t7_wh bigint, add column import_t8_wh bigint;

-- TimescaleDB cannot put together whole rows of chunks that were compressed before a column was added. Of this view it can: it names them.
create view phase_values as
select meter_id, ts, import_l1_wh, import_l2_wh, import_l3_wh, export_l1_wh, export_l2_wh, export_l3_wh,
       voltage_l1_dv, voltage_l2_dv, voltage_l3_dv, current_l1_ma, current_l2_ma, current_l3_ma, power_w,
       import_t1_wh, import_t2_wh, import_t3_wh, import_t4_wh, import_t5_wh, import_t6_wh, import_t7_wh, import_t8_wh
from phase_reading;
comment on view phase_values is 'phase_reading, for queries that take a row as a whole';

-- The same view as before, with what was added to the table.
create or replace view as_known.phase_reading as
select p.meter_id, p.ts,
       (k.was).import_l1_wh, (k.was).import_l2_wh, (k.was).import_l3_wh, (k.was).export_l1_wh, (k.was).export_l2_wh, (k.was).export_l3_wh,
       (k.was).voltage_l1_dv, (k.was).voltage_l2_dv, (k.was).voltage_l3_dv, (k.was).current_l1_ma, (k.was).current_l2_ma, (k.was).current_l3_ma,
       (k.was).power_w,
       (k.was).import_t1_wh, (k.was).import_t2_wh, (k.was).import_t3_wh, (k.was).import_t4_wh,
       (k.was).import_t5_wh, (k.was).import_t6_wh, (k.was).import_t7_wh, (k.was).import_t8_wh
from phase_values p
left join lateral (
    select true as found, v.phases from reading_completion v
    where v.meter_id = p.meter_id and v.ts = p.ts and v.part = 'phases' and v.noted_at > known_at()
    order by v.noted_at limit 1) c on true
cross join lateral (
    select case when c.found then jsonb_populate_record(null::phase_values, c.phases) else p end as was) k
where p.ts <= known_at() and (c.found is null or c.phases is not null) and not exists (
    select from reading_arrival a
    where a.block = p.meter_id >> 8 and p.ts between a.first_ts and a.last_ts and a.received_at > known_at()
      and get_bit(a.meters, p.meter_id & 255) = 1);

create table tariff_meter (
    meter_id  integer primary key references meter
);
comment on table tariff_meter is 'meters that told a register per rate at any time: of the others none has to be looked for';
