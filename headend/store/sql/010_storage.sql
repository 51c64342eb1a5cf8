-- How readings lie and how long they are kept. Neither table needs a second way in beside its key: TimescaleDB's own index by time
-- costs a third of the insertion and no query asks for it. Columnar layout: queries/chunks.sql, where the server's licence has it.

do $$
declare
    unused record;
begin
    if exists (select from pg_extension where extname = 'timescaledb') then
        for unused in
            select i.indexrelid::regclass as name
            from pg_index i
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
            where i.indrelid in ('register_reading'::regclass, 'phase_reading'::regclass)
              and not i.indisunique and i.indnatts = 1 and a.attname = 'ts'
        loop
            execute format('drop index %s', unused.name);     -- those of its chunks go with it
        end loop;
    end if;
end $$;

create table reading_floor (
    table_name  text primary key,
    kept_from   timestamptz,                              -- null: nothing was ever dropped
    raised_at   timestamptz
);
comment on table reading_floor is 'readings before kept_from have been dropped, or are about to be: what was settled from them stays as it is';
insert into reading_floor (table_name) values ('register_reading'), ('phase_reading');

create table chunk_grown (
    chunk  text primary key
);
comment on table chunk_grown is 'compressed chunks of several days that are complete and have to be compressed anew, so that the days share batches';
