-- What the head-end has to tell its operators: an alert stands from an instant until its cause is gone.

create table alert (
    alert_id    bigint generated always as identity primary key,
    kind        text not null,                           -- headend.domain.alerts.AlertKind
    subject     text not null,                           -- of what: an area's code, a process, a store ...
    area_id     integer references area,                 -- where it is about an area
    raised_at   timestamptz not null,
    renewed_at  timestamptz not null,                    -- last seen to stand
    cleared_at  timestamptz check (cleared_at >= raised_at),
    value       double precision,                        -- in the unit of the kind, as it was last
    detail      text not null                            -- for a person: what, how much, what to do
);
create unique index alert_one_open on alert (kind, subject) where cleared_at is null;
create index alert_time on alert (raised_at desc, alert_id desc);
