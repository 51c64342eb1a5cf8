-- How the head-end itself is doing: which processes run it, what each day brought in of what it should have, how far behind
-- concentrators are; and how grave an alert is.

create table service_process (
    process_id   uuid primary key,                    -- made when it starts
    host         text not null,
    pid          integer not null,
    version      text not null,
    roles        text[] not null,
    started_at   timestamptz not null,
    beat_at      timestamptz not null,                -- by its own clock
    stopped_at   timestamptz,                         -- it said goodbye; one that is silent without having done so is gone
    health       json not null                        -- by role: state, since_at, restarts, error, facts; in the order in which it was told
);
comment on table service_process is 'one row a process of the service, renewed every few seconds while it lives';

create table read_success_area (
    area_id   integer primary key references area,
    since_at  timestamptz not null                    -- the head-end began to count here: what was before is history, and no reads of its own
);

create table read_success_day (
    area_id          integer not null references area,
    day              date not null,
    scheduled        integer not null check (scheduled >= 0),   -- reads that were due by computed_at
    stored           integer not null check (stored between 0 and scheduled),
    stored_first     integer,                         -- of a day that is over: stored when its grace ended, before any backfill
    scheduled_first  integer,                         -- ... of so many
    meters           integer not null,                -- that had a read scheduled
    meters_complete  integer not null,                -- of them with every one stored
    computed_at      timestamptz not null,
    primary key (area_id, day),
    check ((stored_first is null) = (scheduled_first is null))
);
create index read_success_day_day on read_success_day (day);
comment on table read_success_day is 'of each area and local day: reads that the head-end was to store, and that it did';

create table concentrator_lag (
    concentrator_id  integer primary key references concentrator,
    meters           integer not null,                -- that serve now and are read through it
    newest_at        timestamptz,                     -- newest stored reading of any of them; null: there is none
    computed_at      timestamptz not null
);
comment on table concentrator_lag is 'how far behind the readings are that come through each concentrator';

alter table alert add column severity text not null default 'alert' check (severity in ('warning', 'alert'));
comment on column alert.severity is 'alert: somebody has to see to it; warning: short of what is aimed at';
