-- Two times. What was true holds from an instant to an instant (valid_from, valid_to). When we knew it is kept here: a table holds what is
-- known now, since `known_from`; a version that was changed or deleted goes to `<table>_past`, known from `known_from` until `known_to`.
--
-- For a table of your own:  select keep_history('my_table');   after its `create table`, and again after a migration that adds a column to it.
-- Nothing else is to be done: a trigger keeps every version, whoever changes a row; an update that changes nothing keeps none.
-- Rows as they were known at T: `headend.store.history.as_known` puts the schema as_known before the others in the search path, where views of the
-- same names answer. So any query that names its tables without a schema can be asked of then; one asked of now costs what it did.

create schema as_known;
comment on schema as_known is 'tables and readings as they were known at the instant of the setting headend.known_at';

create function known_at() returns timestamptz language sql stable parallel safe
as $$ select current_setting('headend.known_at')::timestamptz $$;
comment on function known_at is 'the instant that is asked for; an error where nobody asked for one';

-- One instant for all that a transaction changes: what is changed twice in it was never known in between. The store's clock where it gave
-- one (headend.now), else the server's. Others see a change once it is committed: an instant that lies before that by the time this took.
create function change_instant() returns timestamptz language plpgsql volatile as $$
declare
    found text := nullif(current_setting('headend.changed_at', true), '');
begin
    if found is null then
        found := coalesce(nullif(current_setting('headend.now', true), ''), clock_timestamp()::text);
        perform set_config('headend.changed_at', found, true);
    end if;
    return found::timestamptz;
end $$;

-- By jsonb, so that columns may have been added to either table in any order.
create function keep_version() returns trigger language plpgsql as $$
declare
    again boolean := nullif(current_setting('headend.changed_at', true), '') is not null;
    instant timestamptz;
begin
    if tg_op = 'UPDATE' then
        new.known_from := old.known_from;
        if new is not distinct from old then
            return new;
        end if;
    end if;
    instant := change_instant();
    if not (again and old.known_from = instant) then                -- else this transaction made it: nobody knew that version
        instant := greatest(instant, old.known_from + interval '1 microsecond');    -- a clock that was set back
        execute format('insert into %I.%I select * from jsonb_populate_record(null::%1$I.%2$I, $1)', tg_table_schema, tg_table_name || '_past')
            using to_jsonb(old) || jsonb_build_object('known_to', instant);
    end if;
    if tg_op = 'DELETE' then
        return old;
    end if;
    new.known_from := instant;
    return new;
end $$;

create function keep_history(kept regclass) returns void language plpgsql as $$
declare
    own_schema text;
    own_name text;
    past_name text;
    missing record;
    key_columns text;
    all_columns text;
begin
    select n.nspname, c.relname, c.relname || '_past' into own_schema, own_name, past_name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = kept;
    if not exists (select from pg_attribute where attrelid = kept and attname = 'known_from' and not attisdropped) then
        execute format('alter table %s add column known_from timestamptz not null default ''-infinity''', kept);
        execute format('alter table %s alter column known_from set default change_instant()', kept);
        execute format('comment on column %s.known_from is ''since when we know it so; -infinity: before that was kept''', kept);
    end if;
    if to_regclass(format('%I.%I', own_schema, past_name)) is null then
        execute format('create table %I.%I (like %s, known_to timestamptz not null, check (known_to > known_from))', own_schema, past_name, kept);
        execute format('comment on table %I.%I is ''versions of %s that were changed or deleted: known from known_from until known_to''',
                       own_schema, past_name, own_name);
        select string_agg(quote_ident(a.attname), ', ' order by k.place) into key_columns
        from pg_index i
        cross join unnest(i.indkey) with ordinality k (attnum, place)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where i.indrelid = kept and i.indisprimary;
        if key_columns is not null then
            execute format('create index on %I.%I (%s)', own_schema, past_name, key_columns);
        end if;
    end if;
    for missing in
        select a.attname, format_type(a.atttypid, a.atttypmod) as type from pg_attribute a
        where a.attrelid = kept and a.attnum > 0 and not a.attisdropped
          and not exists (select from pg_attribute p where p.attrelid = format('%I.%I', own_schema, past_name)::regclass and p.attname = a.attname)
    loop
        execute format('alter table %I.%I add column %I %s', own_schema, past_name, missing.attname, missing.type);
    end loop;
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into all_columns
    from pg_attribute a where a.attrelid = kept and a.attnum > 0 and not a.attisdropped;
    execute format('drop view if exists as_known.%I', own_name);
    execute format('create view as_known.%I as
                        select %s from %s where known_from <= known_at()
                        union all
                        select %2$s from %4$I.%5$I where known_from <= known_at() and known_to > known_at()',
                   own_name, all_columns, kept, own_schema, past_name);
    execute format('create or replace trigger keep_version before update or delete on %s for each row execute function keep_version()', kept);
end $$;
comment on function keep_history is 'from now on no version of a row of this table is forgotten';

select keep_history(t) from unnest(array['station', 'area', 'usage_point', 'area_membership', 'meter', 'installation']::regclass[]) t;
create index on installation_past (usage_point_id);
create index on area_membership_past (area_id);

-- When readings came. A reading counts as known at the instant of its stamp, unless it lies in a span here. Nothing is noted of one that came in
-- time, which is nearly all of them: a column of its own would cost each of them as much as its register does. A span covers none that was
-- stored before it; where several cover one, the latest counts.
create table reading_arrival (
    block        integer     not null,                  -- meter_id >> 8: meters with neighbouring numbers mostly come together
    received_at  timestamptz not null,
    first_ts     timestamptz not null,
    last_ts      timestamptz not null,
    meters       bytea       not null check (length(meters) = 32),      -- bit n (get_bit): the meter with meter_id & 255 = n
    check (first_ts <= last_ts)
);
comment on table reading_arrival is 'readings that came late: of these meters, between these stamps, both included';
create index reading_arrival_block on reading_arrival (block, last_ts);

-- What a stored reading lacked until a value was added to it (the registers stay what they were; absent is not another value).
create table reading_completion (
    meter_id    integer     not null,
    ts          timestamptz not null,
    noted_at    timestamptz not null,
    part        text        not null check (part in ('registers', 'phases')),
    import_wh   bigint,                                 -- as they stood before
    export_wh   bigint,
    voltage_dv  smallint,
    phases      jsonb                                   -- columns of phase_reading that held a value; null: there was no row
);
comment on table reading_completion is 'how a reading stood before a value that it lacked was added';
create index reading_completion_reading on reading_completion (meter_id, ts);

create view as_known.register_reading as
select r.meter_id, r.ts,
       case when c.found then c.import_wh else r.import_wh end as import_wh,
       case when c.found then c.export_wh else r.export_wh end as export_wh,
       case when c.found then c.voltage_dv else r.voltage_dv end as voltage_dv,
       r.flags, r.source, r.uncertainty_ms, r.resolution_wh
from register_reading r
left join lateral (
    select true as found, v.import_wh, v.export_wh, v.voltage_dv from reading_completion v
    where v.meter_id = r.meter_id and v.ts = r.ts and v.part = 'registers' and v.noted_at > known_at()
    order by v.noted_at limit 1) c on true
where r.ts <= known_at() and not exists (
    select from reading_arrival a
    where a.block = r.meter_id >> 8 and r.ts between a.first_ts and a.last_ts and a.received_at > known_at()
      and get_bit(a.meters, r.meter_id & 255) = 1);

create view as_known.phase_reading as
select p.meter_id, p.ts,
       (k.was).import_l1_wh, (k.was).import_l2_wh, (k.was).import_l3_wh, (k.was).export_l1_wh, (k.was).export_l2_wh, (k.was).export_l3_wh,
       (k.was).voltage_l1_dv, (k.was).voltage_l2_dv, (k.was).voltage_l3_dv, (k.was).current_l1_ma, (k.was).current_l2_ma, (k.was).current_l3_ma,
       (k.was).power_w
from phase_reading p
left join lateral (
    select true as found, v.phases from reading_completion v
    where v.meter_id = p.meter_id and v.ts = p.ts and v.part = 'phases' and v.noted_at > known_at()
    order by v.noted_at limit 1) c on true
cross join lateral (
    select case when c.found then jsonb_populate_record(null::phase_reading, c.phases) else p end as was) k
where p.ts <= known_at() and (c.found is null or c.phases is not null) and not exists (
    select from reading_arrival a
    where a.block = p.meter_id >> 8 and p.ts between a.first_ts and a.last_ts and a.received_at > known_at()
      and get_bit(a.meters, p.meter_id & 255) = 1);

create view as_known.reading_revision as select * from reading_revision where noted_at <= known_at();
create view as_known.device_event as select * from device_event where received_at <= known_at();
