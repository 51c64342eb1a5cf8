-- Commands to meters with their whole life, what each meter model can do, and how far meters' clocks are off.
-- A command is written to its meter at most once: it is `sent`, and committed so, before anything leaves; nobody writes
-- one that is. What was asked and what became of it is never deleted or rewritten.

alter table device_request drop constraint device_request_kind_check;
alter table device_request add constraint device_request_kind_check check (kind in ('read', 'clock'));
comment on table device_request is 'a live read, of registers or of the clock, that the owner of the meter''s bus executes and answers; changes nothing';

create table meter_model (
    model         text primary key,
    manufacturer  text not null,
    name          text not null,
    tells_serial  boolean not null,
    clock         text not null check (clock in ('none', 'read', 'set')),
    relay         text[] not null,                   -- states that can be switched to; empty: no relay
    tariffs       text[] not null,
    said_at       timestamptz not null
);
comment on table meter_model is 'what register maps say that meters can do; told by the process that reads them';

create table device_command (
    command_id        uuid primary key,              -- made by the caller: sending it twice changes nothing
    meter_id          integer not null references meter,
    kind              text not null,
    wanted            text not null,
    across_intervals  boolean not null default false, -- of a clock: may step over instants of the interval grid
    requested_by      text not null check (requested_by <> ''),
    reason            text not null check (reason <> ''),
    note              text not null default '',
    automatic         boolean not null,              -- by policy, not by a person
    requested_at      timestamptz not null,
    expires_at        timestamptz not null,
    state             text not null default 'queued'
                      check (state in ('queued', 'taken', 'sent', 'confirmed', 'unconfirmed', 'refused', 'expired')),
    taken_until       timestamptz,                   -- whoever took it concludes by then, or another may take it
    not_before        timestamptz,                   -- given back: not tried again earlier
    tries             integer not null default 0,
    sent_at           timestamptz,                   -- committed before the write went out
    done_at           timestamptz,
    before_state      text,                          -- as read from the meter; null: not read, or not understood
    after_state       text,
    detail            text not null default '',      -- for a person: why it stands where it stands
    check ((kind = 'relay' and wanted in ('open', 'closed')) or (kind = 'tariff' and wanted ~ '^[1-8]$')
           or (kind = 'clock' and wanted = 'now')),
    check (kind = 'clock' or not across_intervals),
    check (expires_at > requested_at and expires_at <= requested_at + interval '1 hour'),
    check ((state in ('confirmed', 'unconfirmed', 'refused', 'expired')) = (done_at is not null)),
    check (state not in ('sent', 'unconfirmed') or sent_at is not null)
);
comment on table device_command is 'a change that somebody wants at a meter; confirmed only when the state read back agrees';
create unique index device_command_one_at_a_time on device_command (meter_id) where state in ('taken', 'sent');
create index device_command_waiting on device_command (requested_at) where done_at is null;
create index device_command_meter on device_command (meter_id, requested_at desc);

create table device_command_step (
    step_id     bigint generated always as identity primary key,
    command_id  uuid not null references device_command,
    at          timestamptz not null,
    step        text not null check (step in ('requested', 'taken', 'found', 'given_back', 'sent', 'written', 'not_written',
                                              'read_back', 'confirmed', 'unconfirmed', 'refused', 'expired')),
    state       text,                                -- of the meter, as its registers say
    words       integer[],                           -- raw registers, as read or written
    detail      text not null default ''
);
comment on table device_command_step is 'the life of a command, one row a step; raw registers with it';
create index device_command_step_of on device_command_step (command_id, step_id);

create table clock_reading (
    meter_id        integer not null references meter,
    at              timestamptz not null,            -- by our clock
    offset_ms       bigint,                          -- the meter's clock minus ours; null: its registers name no instant
    uncertainty_ms  integer not null check (uncertainty_ms >= 0),
    drifted         boolean not null,                -- beyond the threshold of that time, since whenever the episode began
    command_id      uuid references device_command,  -- read back after this command had set it: a new course begins
    primary key (meter_id, at)
);
comment on table clock_reading is 'how far meters'' clocks were off, as read';

create function refuse_rewriting() returns trigger language plpgsql as $$
begin
    raise exception 'rows of % are never deleted or rewritten', tg_table_name using errcode = 'restrict_violation';
end $$;

create trigger device_command_step_kept before update or delete on device_command_step
    for each row execute function refuse_rewriting();
create trigger device_command_kept before delete on device_command
    for each row execute function refuse_rewriting();
create trigger device_command_asked before update on device_command
    for each row when (
        old.done_at is not null
        or (old.sent_at is not null and new.sent_at is distinct from old.sent_at)
        or (old.command_id, old.meter_id, old.kind, old.wanted, old.across_intervals, old.requested_by, old.reason,
            old.note, old.automatic, old.requested_at, old.expires_at)
           is distinct from
           (new.command_id, new.meter_id, new.kind, new.wanted, new.across_intervals, new.requested_by, new.reason,
            new.note, new.automatic, new.requested_at, new.expires_at)
    ) execute function refuse_rewriting();
