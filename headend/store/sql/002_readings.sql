-- Raw register readings as meters show them, what could not be understood, and which area-days have to be settled again.
-- register_reading and phase_reading are hypertables where TimescaleDB is there, native range partitions by UTC day where not.

do $$
declare
    wanted record;
    timescale boolean := exists (select from pg_extension where extname = 'timescaledb');
begin
    for wanted in
        select * from (values
            ('register_reading', '
                meter_id        integer     not null,
                ts              timestamptz not null,
                import_wh       bigint,
                export_wh       bigint,
                voltage_dv      smallint,
                flags           smallint    not null,
                source          smallint    not null,
                uncertainty_ms  integer     not null,
                primary key (meter_id, ts)'),
            ('phase_reading', '
                meter_id        integer     not null,
                ts              timestamptz not null,
                import_l1_wh    bigint,   import_l2_wh  bigint,   import_l3_wh  bigint,
                export_l1_wh    bigint,   export_l2_wh  bigint,   export_l3_wh  bigint,
                voltage_l1_dv   smallint, voltage_l2_dv smallint, voltage_l3_dv smallint,
                current_l1_ma   bigint,   current_l2_ma bigint,   current_l3_ma bigint,
                power_w         bigint,
                primary key (meter_id, ts)')
        ) as t (name, columns)
    loop
        execute format('create table %I (%s) %s', wanted.name, wanted.columns,
                       case when timescale then '' else 'partition by range (ts)' end);
        if timescale then
            execute format('select create_hypertable(%L, by_range(%L, interval ''1 day''))', wanted.name, 'ts');
        end if;
    end loop;
end $$;

create table latest_reading (
    meter_id     integer primary key references meter,
    ts           timestamptz not null,
    import_wh    bigint,
    export_wh    bigint,
    voltage_dv   smallint,
    power_w      bigint,
    source       smallint not null,
    received_at  timestamptz not null
);
create table reading_count (
    meter_id    integer not null references meter,
    source      smallint not null,
    readings    bigint not null,
    primary key (meter_id, source)
);
comment on table reading_count is 'readings stored per meter and way in, counted in the transaction that stored them';

create table reading_revision (
    meter_id       integer not null references meter,
    ts             timestamptz not null,
    noted_at       timestamptz not null,
    kept_import_wh bigint, kept_export_wh bigint, kept_source smallint not null,
    other_import_wh bigint, other_export_wh bigint, other_source smallint not null,
    rule           text not null
);
comment on table reading_revision is 'same meter and instant, another value: both values and the rule that chose';
create unique index reading_revision_once on reading_revision (meter_id, ts, other_source, coalesce(other_import_wh, -1), coalesce(other_export_wh, -1));

create table quarantine (
    quarantine_id  bigint generated always as identity primary key,
    received_at    timestamptz not null,
    source         text not null,                     -- mqtt, modbus
    origin         text not null,                     -- topic, or host:port unit
    reason         text not null,                     -- machine word: not_json, unknown_meter ...
    detail         text not null,                     -- for a person: what and where
    payload        bytea not null,
    digest         bytea not null generated always as (sha256(payload)) stored,
    times          bigint not null default 1,         -- how often the very same message came with the same result
    last_received_at  timestamptz not null,
    replayed_at    timestamptz,
    unique (source, origin, reason, digest)           -- a message sent again, by its device or the broker, is not kept twice
);
create index quarantine_open on quarantine (received_at) where replayed_at is null;

create table dirty_day (
    area_id    integer not null references area,
    day        date not null,
    marked_at  timestamptz not null,
    primary key (area_id, day)
);
comment on table dirty_day is 'local days of an area that a reading, an edit or a topology change touched since they were settled';

create table device_request (
    request_id    uuid primary key,
    meter_id      integer not null references meter,
    kind          text not null check (kind in ('read')),
    requested_at  timestamptz not null,
    expires_at    timestamptz not null,
    state         text not null default 'queued' check (state in ('queued', 'taken', 'answered', 'failed', 'expired')),
    taken_until   timestamptz,                       -- whoever took it answers by then, or another may take it
    answer        jsonb,
    error         text,
    done_at       timestamptz
);
comment on table device_request is 'a live read that the owner of the meter''s bus executes and answers';
create index device_request_queued on device_request (requested_at) where state in ('queued', 'taken');
