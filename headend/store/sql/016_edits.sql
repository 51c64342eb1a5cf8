-- What people decided about a usage point's energy: values set for intervals, and register readings that are not believed.
-- The original stays: readings are untouched, and what the intervals said before stands beside what was set. An edit is undone, never deleted.

create table edit (
    edit_id         uuid primary key,                    -- made by the caller: sent twice it is one edit
    number          bigint generated always as identity unique,
    kind            text not null check (kind in ('values', 'readings')),
    usage_point_id  integer not null references usage_point,
    meter_id        integer references meter,             -- of readings set aside
    direction       text check (direction in ('import', 'export')),
    from_ts         timestamptz not null,
    to_ts           timestamptz not null,                 -- of values: not included; of readings: included
    interval_s      integer check (interval_s > 0),
    values_wh       bigint[],                             -- one an interval
    total_wh        bigint,                               -- where a total was given and spread by the shape that was there
    before_wh       bigint[],                             -- what the intervals said at that moment; null element: absent
    before_quality  smallint[],
    set_aside       integer,                              -- how many readings stood in the span when it was set aside
    first_day       date not null,                        -- local days that it touched when it was made: as far as the registers
    last_day        date not null check (last_day >= first_day),  -- on both sides reach
    made_at         timestamptz not null,
    made_by         text not null,
    reason          text not null,
    undone_at       timestamptz check (undone_at >= made_at),
    undone_by       text,
    undo_reason     text,
    check ((undone_at is null) = (undone_by is null) and (undone_at is null) = (undo_reason is null)),
    check (case kind
        when 'values' then meter_id is null and direction is not null and interval_s is not null and to_ts > from_ts
             and values_wh is not null and 0 <= all (values_wh) and array_position(values_wh, null) is null
             and extract(epoch from to_ts - from_ts) = cardinality(values_wh) * interval_s
             and cardinality(before_wh) = cardinality(values_wh) and cardinality(before_quality) = cardinality(values_wh)
        else meter_id is not null and direction is null and to_ts >= from_ts and values_wh is null end)
);
comment on table edit is 'values that a person set, and readings that a person does not believe; settlement decides each time whether values can hold';
create index edit_usage_point on edit (usage_point_id, from_ts);
create index edit_meter on edit (meter_id, from_ts) where kind = 'readings';
create index edit_made on edit (made_at desc, number desc);

create function edit_is_immutable() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' or old.undone_at is not null
       or to_jsonb(old) - array['undone_at', 'undone_by', 'undo_reason'] <> to_jsonb(new) - array['undone_at', 'undone_by', 'undo_reason'] then
        raise exception 'edit % is never changed: it is undone once, or a new one is made', old.edit_id;
    end if;
    return new;
end $$;
create trigger edit_immutable before update or delete on edit for each row execute function edit_is_immutable();
