-- A usage point's category by time, and the changes and corrections of what hangs where: who, why, what was and what is.

create table usage_point_category (
    category_id     integer generated always as identity primary key,
    usage_point_id  integer not null references usage_point on delete cascade,
    category        text not null check (category in ('residential', 'production', 'commercial', 'irrigation', 'public_lighting', 'temporary', 'none')),
    valid_from      timestamptz not null,                -- -infinity: since there is anything known of it
    valid_to        timestamptz check (valid_to > valid_from),
    exclude using gist (int4range(usage_point_id, usage_point_id, '[]') with &&, tstzrange(valid_from, valid_to) with &&)
);
comment on table usage_point_category is 'what a usage point is billed as, from an instant to an instant; usage_point.category is the one that holds now';
create index usage_point_category_usage_point on usage_point_category (usage_point_id, valid_from);
create index usage_point_category_begins on usage_point_category (valid_from) where valid_from > '-infinity';

insert into usage_point_category (usage_point_id, category, valid_from)
select usage_point_id, category, '-infinity' from usage_point order by usage_point_id;

-- Whoever adds a usage point says what it is; from then on only a change says otherwise.
create function open_category() returns trigger language plpgsql as $$
begin
    insert into usage_point_category (usage_point_id, category, valid_from)
    select usage_point_id, category, '-infinity' from added order by usage_point_id;
    return null;
end $$;
create trigger usage_point_category_opened after insert on usage_point referencing new table as added
    for each statement execute function open_category();

select keep_history('usage_point_category');
create index on usage_point_category_past (usage_point_id);

create table topology_change (
    change_id     uuid primary key,                      -- made by the caller: the same one sent again changes nothing
    number        bigint generated always as identity unique,  -- in the order in which they were made
    kind          text not null,                         -- headend.domain.changes.ChangeKind
    effective_at  timestamptz,                           -- the instant from which it holds; null: of a device, whenever it served
    by            text not null check (by <> ''),
    reason        text not null check (reason <> ''),
    noted_at      timestamptz not null,
    asked         jsonb not null,                        -- as it was asked for: the same id with another content is refused
    before        jsonb not null,                        -- rows by table as they were, of those that changed
    after         jsonb not null,                        -- and as they are now
    usage_points  integer[] not null,                    -- whom it is about
    meters        integer[] not null,
    areas         integer[] not null,
    first_day     date,                                  -- local days that may come out otherwise; null: none, or not yet
    last_day      date,
    area_days     integer not null,                      -- how many were marked to be settled again
    undoes        uuid references topology_change,
    unique (undoes)
);
comment on table topology_change is 'changes and corrections of memberships, installations, categories and devices; kept for good';
create index topology_change_noted on topology_change (noted_at);
create index topology_change_usage_points on topology_change using gin (usage_points);
create index topology_change_meters on topology_change using gin (meters);
create index topology_change_areas on topology_change using gin (areas);
create trigger topology_change_kept before update or delete on topology_change
    for each row execute function refuse_rewriting();
