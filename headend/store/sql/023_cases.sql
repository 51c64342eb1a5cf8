-- Findings as cases: who has one, what a crew saw, what was said of it in the end; and how strong each night found it.

-- One case a concern: what is wrong with a meter's reading stays one case when the engine changes its mind about the kind. The same words
-- stand in headend/domain/cases.py.
alter table finding
    add column concern text generated always as (case
        when meter_id is null then kind
        when kind in ('under_registering', 'stuck', 'wrong_multiplier', 'reversed_polarity') then 'reading'
        when kind in ('missing_data', 'prolonged_estimation') then 'data'
        else kind end) stored,
    add column assigned_to   text,
    add column verdict       text check (verdict in ('confirmed', 'rejected')),     -- on its kind, which stays what it was then
    add column verdict_at    timestamptz,
    add column repaired_on   date,                     -- local day from which what was confirmed is put right
    add column follows       bigint references finding,
    add constraint finding_verdict_whole check ((verdict is null) = (verdict_at is null));
comment on column finding.concern is 'what it is about, whatever the kind: with area and meter what makes two sightings one case';
comment on column finding.follows is 'the case before it about the same: confirmed and closed, or rejected';

update finding set verdict = state, verdict_at = coalesce(closed_at, seen_at) where state in ('confirmed', 'rejected');

create table finding_event (
    event_id     uuid primary key default gen_random_uuid(),    -- made by the caller: sent twice it is one event
    number       bigint generated always as identity unique,
    finding_id   bigint not null references finding,
    made_at      timestamptz not null,
    move         text not null,
    from_state   text,                                  -- null: it was opened
    to_state     text not null,
    made_by      text,                                  -- null: the engine
    note         text,
    assigned_to  text,
    saw          jsonb,                                 -- what a crew saw on site, by headend.domain.cases.Inspection
    repaired_on  date,
    detail       jsonb not null default '{}',           -- what the engine has to say of it
    check (case when made_by is null then move in ('opened', 'returned', 'kind_changed', 'closed', 'merged')
                else move in ('assign', 'inspect', 'confirm', 'reject', 'repair', 'reopen') end),
    check ((move = 'assign') = (assigned_to is not null) and (move = 'inspect') = (saw is not null)
           and (move = 'repair') = (repaired_on is not null)),
    check (move not in ('confirm', 'reject', 'reopen') or note is not null)
);
comment on table finding_event is 'every step in the life of a case, who took it and why; never changed';
create index finding_event_of on finding_event (finding_id, number);

create function finding_event_is_immutable() returns trigger language plpgsql as $$
begin
    raise exception 'event % of finding % is never changed', old.event_id, old.finding_id;
end $$;
create trigger finding_event_immutable before update or delete on finding_event for each row execute function finding_event_is_immutable();

create table finding_run (
    finding_id      bigint not null references finding,
    window_to       date not null,                      -- one row a window: what the last run on it said
    window_from     date not null,
    ran_at          timestamptz not null,
    seen            boolean not null,
    kind            text,                               -- what it was taken for, of a confirmed case too
    confidence      double precision check (confidence between 0 and 1),
    energy_wh       double precision,
    energy_low_wh   double precision,
    energy_high_wh  double precision,
    primary key (finding_id, window_to),
    check (seen = (kind is not null) and seen = (confidence is not null) and seen = (energy_wh is not null)
           and seen = (energy_low_wh is not null) and seen = (energy_high_wh is not null))
);
comment on table finding_run is 'how a case strengthens or fades: of each window whether it was seen; no row: nothing could be told';

-- Cases of earlier releases: opened and, where they were, closed; seen in their last window. What people did was not kept.
insert into finding_event (finding_id, made_at, move, to_state)
select finding_id, opened_at, 'opened', 'open' from finding order by opened_at, finding_id;
insert into finding_event (finding_id, made_at, move, from_state, to_state)
select finding_id, coalesce(closed_at, seen_at), 'closed', 'open', 'closed' from finding where state = 'closed' order by 2, 1;
insert into finding_run (finding_id, window_to, window_from, ran_at, seen, kind, confidence, energy_wh, energy_low_wh, energy_high_wh)
select finding_id, window_to, window_from, seen_at, true, kind, confidence, energy_wh, energy_low_wh, energy_high_wh from finding;

-- Of two that are one case by now, the one that people got further with stays, else the one that was seen last.
with ranked as (
    select finding_id, state, row_number() over same as place, first_value(finding_id) over same as kept
    from finding where state not in ('rejected', 'closed')
    window same as (partition by area_id, concern, coalesce(meter_id, 0)
                    order by array_position(array['confirmed', 'inspected', 'assigned', 'open'], state), seen_at desc, confidence desc, finding_id)
), merged as (
    update finding f set state = 'closed', closed_at = greatest(now(), f.seen_at) from ranked r
    where r.finding_id = f.finding_id and r.place > 1
    returning f.finding_id, r.state, r.kept, f.closed_at
)
insert into finding_event (finding_id, made_at, move, from_state, to_state, detail)
select finding_id, closed_at, 'merged', state, 'closed', jsonb_build_object('into', kept) from merged order by finding_id;

drop index finding_one_open;
create unique index finding_one_live on finding (area_id, concern, coalesce(meter_id, 0)) where state not in ('rejected', 'closed');
create index finding_earlier on finding (area_id, concern, coalesce(meter_id, 0), finding_id) where state in ('rejected', 'closed');
create index finding_judged on finding (verdict_at) where verdict is not null;

alter table area_report add column priors jsonb not null default '{}';
comment on column area_report.priors is 'kind of finding to the log odds that it is right before its own evidence; empty: made before these were kept';
