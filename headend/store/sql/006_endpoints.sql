-- A meter's endpoint is a bus and a unit on it; the bus is a URI, whatever carries it (modbus+tcp, modbus+rtu+tcp,
-- modbus+serial, modbus+dialin …), in the one spelling that drivers.registry gives it.

alter table endpoint add column bus text;
update endpoint
set bus = 'modbus+tcp://' || case when host like '%:%' then '[' || host || ']' else host end || ':' || port
where protocol = 'modbus';
alter table endpoint
    drop column host,   -- and with them the check that wanted them
    drop column port,
    add check (protocol <> 'modbus' or (bus is not null and unit is not null));
create index endpoint_bus on endpoint (bus, unit);
comment on column endpoint.bus is 'URI of the bus: meters with the same one share a connection';

create table register_refusal (
    refusal_id      bigint generated always as identity primary key,
    model           text not null,
    firmware        text,                             -- it holds for all meters of the model with this firmware
    meter_id        integer references meter,         -- ... or for this meter alone, whose firmware is not known
    register_table  text not null check (register_table in ('holding', 'input')),
    first_register  integer not null check (first_register between 0 and 65535),
    last_register   integer not null check (last_register between first_register and 65535),
    found_at        timestamptz not null,
    found_by        integer not null references meter,
    expires_at      timestamptz not null,             -- then it is asked once more: new firmware may have brought it
    check ((firmware is null) <> (meter_id is null)),
    unique nulls not distinct (model, firmware, meter_id, register_table, first_register, last_register)
);
comment on table register_refusal is 'registers that meters said they do not have: not asked for again until they expire or a person has them forgotten';

create table poll_bus (
    bus         text primary key,
    peer        text not null,                        -- as a person looks for it
    connected   boolean,                              -- as of the last round; null: no round yet
    since_at    timestamptz,                          -- since when it is, or is not
    reason      text,                                 -- why not
    began_at    timestamptz,                          -- the last round
    took_s      double precision,
    meters      integer not null,                     -- that hang on it and serve
    asked       integer,                              -- that were due in the last round
    read        integer,
    failed      integer,
    resting     integer,
    written_at  timestamptz not null
);
comment on table poll_bus is 'how each bus is doing, written by the process that polls it after each round';

create table poll_meter (
    meter_id        integer primary key references meter,
    bus             text not null,
    outcome         text not null,                    -- ok, resting, or what failed
    reason          text not null,
    since_at        timestamptz not null,             -- since when it is read, or is not
    failures        integer not null,                 -- rounds in a row without a reading
    next_probe_at   timestamptz,                      -- of a resting one
    response_ms     double precision,                 -- learnt; null: never answered
    timeout_ms      double precision,                 -- how long a question waits for its answer now
    firmware        text,
    written_at      timestamptz not null
);
create index poll_meter_bus on poll_meter (bus);
comment on table poll_meter is 'how each polled meter is doing, written when that changes';

create table profile_gap (
    gap_id      bigint generated always as identity primary key,
    meter_id    integer not null references meter,
    from_at     timestamptz not null,                 -- the last reading before it
    to_at       timestamptz not null check (to_at > from_at),  -- the first one after it
    done_to     timestamptz not null,                 -- what lies before was read back, or the meter does not have it
    state       text not null default 'open' check (state in ('open', 'closed', 'given_up')),
    records     integer not null default 0,           -- read back and sent on
    refused     integer not null default 0,           -- read, and not believed
    attempts    integer not null default 0,           -- in a row that failed
    detail      text not null default '',             -- for a person: what is the matter with it
    noted_at    timestamptz not null,
    changed_at  timestamptz not null,
    unique (meter_id, from_at)
);
create index profile_gap_open on profile_gap (from_at) where state = 'open';
comment on table profile_gap is 'times without polled readings that a meter''s own stored profile may fill';

create table poll_modem (
    modem          text primary key,                  -- as its registration says
    peer           text not null,                     -- the address that it last came from
    connected      boolean not null,
    in_use         boolean not null,                  -- a bus has it
    registered_at  timestamptz not null,
    heard_at       timestamptz not null,
    registrations  bigint not null,
    written_at     timestamptz not null
);
comment on table poll_modem is 'modems that dialled in, written by the process that they come to';
