-- Premises behind a shared meter and the steps that give each household its own.

create table premises (
    premises_id            integer generated always as identity primary key,
    code                   text not null unique,
    area_id                integer not null references area,
    shared_usage_point_id  integer not null references usage_point,
    usage_point_id         integer not null unique references usage_point,
    label                  text not null,               -- door, as a crew looks for it; never evidence for a finding
    has_production         boolean not null default false
);
create index premises_shared on premises (shared_usage_point_id);

create table rollout_step (
    premises_id  integer not null references premises,
    step         text not null check (step in ('survey', 'household_meter_installed', 'production_separated', 'commissioned', 'shared_meter_removed')),
    client_id    uuid not null,                          -- made by the phone: sending twice changes nothing
    closed_at    timestamptz not null,
    closed_by    text not null,
    evidence     jsonb not null,
    detail       text,                                   -- what the crew was told; told again when it sends again
    primary key (premises_id, step),
    unique (client_id, premises_id)
);

create table commissioning (
    premises_id   integer primary key references premises,
    request_id    uuid not null references device_request,
    client_id     uuid not null,
    requested_by  text not null,
    noted_import_wh bigint not null,
    noted_at      timestamptz,                           -- null: when the read was asked for
    state         text not null default 'waiting' check (state in ('waiting', 'passed', 'failed')),
    detail        text
);
comment on table commissioning is 'the head-end''s own live read behind the step commissioned: passed only when serial and register agree';

create table commissioning_failed (
    premises_id   integer not null references premises,
    client_id     uuid not null,
    request_id    uuid not null references device_request,
    requested_by  text not null,
    detail        text not null,
    primary key (premises_id, client_id)
);
comment on table commissioning_failed is 'attempts that a later one took the place of: sending one of them again still changes nothing';
