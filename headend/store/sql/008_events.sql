-- What devices noticed, in one table whatever the protocol; devices that nobody imported yet; a reading's own resolution.

create table device_event (
    event_id         bigint generated always as identity primary key,
    meter_id         integer references meter,
    concentrator_id  integer references concentrator,
    kind             text not null,                      -- drivers.events.EventKind
    code             text check (code ~ '^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$'),   -- IEC 61968-9 EndDeviceEventType; null: the standard names none
    occurred_at      timestamptz not null,
    uncertainty_ms   bigint not null default 0 check (uncertainty_ms >= 0),
    received_at      timestamptz not null,
    phase            smallint check (phase between 1 and 3),
    value            double precision,                   -- in the unit of the kind: volts, seconds
    detail           text not null default '',
    source           text not null check (source in ('modbus', 'mqtt', 'headend')),
    check (num_nonnulls(meter_id, concentrator_id) = 1),
    unique nulls not distinct (meter_id, concentrator_id, kind, occurred_at, phase)
);
comment on table device_event is 'told by a device (modbus, mqtt) or seen in what it sent (headend); the same event told twice is one row';
create index device_event_time on device_event (occurred_at desc, event_id desc);
create index device_event_meter on device_event (meter_id, occurred_at desc) where meter_id is not null;
create index device_event_concentrator on device_event (concentrator_id, occurred_at desc) where concentrator_id is not null;

-- A register's step at the value that was read: a 32-bit float of kWh resolves only 8 Wh at 100,000 kWh.
alter table register_reading add column resolution_wh smallint;
comment on column register_reading.resolution_wh is 'step of the energy registers at this reading; null: not stated, the meter''s own holds';

-- Where a meter stands between two readings, so that an episode is told once when it begins and once when it ends.
create table event_episode (
    meter_id  integer primary key references meter,
    open      integer not null check (open > 0)         -- bits of headend.ingest.derived_events; no row: nothing is open
);
create table status_word (
    meter_id  integer not null references meter,
    register  text not null,                            -- table and address, such as `holding 258`
    word      integer not null check (word between 0 and 65535),
    seen_at   timestamptz not null,
    primary key (meter_id, register)
);
comment on table status_word is 'status registers as they were read last: an event is a bit that changed since';
alter table concentrator add column state_at timestamptz;
comment on column concentrator.state_at is 'instant of the word that `online` is from: an older one that arrives later changes nothing';

-- Devices that speak and that nobody has imported; their messages lie in the quarantine until somebody adopts them.
create table discovered_device (
    discovered_id  bigint generated always as identity primary key,
    kind           text not null check (kind in ('meter', 'concentrator')),
    manufacturer   text not null,                       -- of a concentrator: empty
    serial         text not null,                       -- of a concentrator: its code
    protocol       text not null check (protocol in ('mqtt', 'modbus')),
    origin         text not null,                       -- topic, or bus and unit, of its newest message
    concentrator   text,                                -- code of the concentrator that uploads for it, where one does
    model_guess    text,
    phases_guess   smallint check (phases_guess in (1, 3)),
    first_seen_at  timestamptz not null,
    last_seen_at   timestamptz not null,
    messages       bigint not null,
    adopted_at     timestamptz,
    adopted_by     text,
    check (kind = 'meter' or manufacturer = ''),
    unique (kind, manufacturer, serial)
);
create index discovered_device_seen on discovered_device (last_seen_at desc, discovered_id desc);

create table discovered_payload (
    payload_id  bigint generated always as identity primary key,
    digest      bytea not null unique,                  -- of the whole message, of which the beginning is kept
    size        bigint not null,
    payload     bytea not null check (length(payload) <= 65536)
);
create table discovered_message (
    discovered_id  bigint not null references discovered_device on delete cascade,
    nth            smallint not null check (nth between 1 and 3),
    received_at    timestamptz not null,
    origin         text not null,
    payload_id     bigint not null references discovered_payload,
    primary key (discovered_id, nth)
);
create index discovered_message_payload on discovered_message (payload_id);
comment on table discovered_payload is 'one row a message, however many unknown meters it names';

alter table quarantine add column strangers text[];
comment on column quarantine.strangers is 'the unknown devices that the message names (MANUFACTURER/SERIAL, or a concentrator''s code): what is replayed once one of them is adopted';
create index quarantine_strangers on quarantine using gin (strangers) where replayed_at is null;
