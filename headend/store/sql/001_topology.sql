-- What hangs where, and since when: stations, areas, usage points, meters, installations, endpoints.
-- Everything that can change holds from an instant to an instant (valid_to null = still); any past day can be asked for.

create table station (
    station_id  integer generated always as identity primary key,
    code        text not null unique,
    name        text not null
);

create table area (
    area_id             integer generated always as identity primary key,
    code                text not null unique,
    station_id          integer not null references station,
    name                text not null,
    transformer_kva     numeric(8, 1) check (transformer_kva > 0),
    high_loss_rate      double precision check (high_loss_rate between 0 and 1),      -- null: the default of the settings
    negative_loss_rate  double precision check (negative_loss_rate between -1 and 0)
);

create table usage_point (
    usage_point_id   integer generated always as identity primary key,
    code             text not null unique,
    kind             text not null check (kind in ('customer', 'shared', 'area')),
    category         text not null check (category in ('residential', 'production', 'commercial', 'irrigation', 'public_lighting', 'temporary', 'none')),
    name             text not null default '',
    phase            text check (phase in ('L1', 'L2', 'L3', 'L123')),                -- null: not known
    rated_current_a  integer check (rated_current_a > 0)
);
comment on table usage_point is 'where one customer is supplied (customer), several behind one meter (shared), or the transformer itself (area)';

create table area_membership (
    membership_id          integer generated always as identity primary key,
    usage_point_id         integer not null references usage_point,
    area_id                integer not null references area,
    behind_usage_point_id  integer references usage_point check (behind_usage_point_id <> usage_point_id),
    valid_from             timestamptz not null,
    valid_to               timestamptz check (valid_to > valid_from),
    exclude using gist (int4range(usage_point_id, usage_point_id, '[]') with &&, tstzrange(valid_from, valid_to) with &&)
);
comment on column area_membership.behind_usage_point_id is 'supplied through this shared usage point''s meter: not counted in the balance while that is so';
create index area_membership_area on area_membership (area_id, valid_from);

create table meter (
    meter_id       integer generated always as identity primary key,
    manufacturer   text not null,
    serial         text not null,
    model          text not null,
    phases         smallint not null check (phases in (1, 3)),
    digits         smallint not null check (digits between 4 and 12),
    resolution_wh  integer not null check (resolution_wh > 0),
    unique (manufacturer, serial)
);
comment on column meter.digits is 'the register rolls over at 10^digits * resolution_wh';

create table installation (
    installation_id   integer generated always as identity primary key,
    usage_point_id    integer not null references usage_point,
    meter_id          integer not null references meter,
    valid_from        timestamptz not null,
    valid_to          timestamptz check (valid_to > valid_from),
    multiplier        numeric(12, 4) not null default 1 check (multiplier > 0),       -- CT x VT ratio that the register does not hold
    sign              smallint not null default 1 check (sign in (-1, 1)),            -- -1: wired the other way round
    start_import_wh   bigint check (start_import_wh >= 0),
    start_export_wh   bigint check (start_export_wh >= 0),
    end_import_wh     bigint check (end_import_wh >= 0),
    end_export_wh     bigint check (end_export_wh >= 0),
    seal              text,
    exclude using gist (int4range(usage_point_id, usage_point_id, '[]') with &&, tstzrange(valid_from, valid_to) with &&),
    exclude using gist (int4range(meter_id, meter_id, '[]') with &&, tstzrange(valid_from, valid_to) with &&)
);

create table concentrator (
    concentrator_id  integer generated always as identity primary key,
    code             text not null unique,
    area_id          integer not null references area,
    confirmed_seq    bigint,                          -- highest upload number that was committed, since its numbering began
    numbered_at      timestamptz,                     -- when that number was heard: a device exchanged under its code begins anew
    backlog          bigint,                          -- uploads it still keeps for us, as it last said; null: never heard of
    online           boolean,
    last_seen_at     timestamptz
);

create table endpoint (
    meter_id         integer not null references meter,
    protocol         text not null check (protocol in ('modbus', 'mqtt')),
    host             text,
    port             integer check (port between 1 and 65535),
    unit             smallint check (unit between 0 and 255),
    concentrator_id  integer references concentrator,
    primary key (meter_id, protocol),
    check (protocol <> 'modbus' or (host is not null and port is not null and unit is not null))
);
comment on table endpoint is 'how a meter is reached; the register map is the one of meter.model';
create index endpoint_concentrator on endpoint (concentrator_id);
