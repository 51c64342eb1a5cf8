-- The quarantine can be searched, its entries have a trail, and what it cannot keep is counted instead of vanishing.

alter table quarantine
    add column size        bigint not null generated always as (length(payload)) stored,
    add column whole_size  bigint check (whole_size > length(payload)),
    add column became_id   bigint references quarantine on delete set null;
comment on column quarantine.whole_size is 'of the message [bytes], where it was too large to be kept whole';
comment on column quarantine.became_id is 'replayed in vain: the entry with the reason that it has now';
create index quarantine_became on quarantine (became_id) where became_id is not null;

-- In the order of a replay; newest first for people is the primary key.
drop index quarantine_open;
create index quarantine_open on quarantine (received_at, quarantine_id) where replayed_at is null;
create index quarantine_closed on quarantine (replayed_at) where replayed_at is not null;
-- How much of one origin and reason is open, without looking at the rows.
create index quarantine_of_origin on quarantine (source, origin, reason) include (size) where replayed_at is null;

create table quarantine_given_up (
    source          text not null,
    origin          text not null,                       -- empty: all those of whom nothing is kept whole any more
    reason          text not null,
    why             text not null check (why in ('origin', 'full', 'age')),
    messages        bigint not null check (messages > 0),
    bytes           bigint not null check (bytes >= 0),
    first_at        timestamptz not null,
    last_at         timestamptz not null,
    since_at        timestamptz not null,                -- when the spell began that last_at belongs to
    since_messages  bigint not null,                     -- messages of that spell
    primary key (source, origin, reason, why)
);
comment on table quarantine_given_up is 'messages that the quarantine did not keep: counted, with how many, of whom and why';
