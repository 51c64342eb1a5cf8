-- laid_out --
-- Whether there are hypertables, whether their old chunks can be compressed under the server's licence, and which are not set up for it.
select coalesce(current_setting('timescaledb.license', true), '') = 'timescale' as packing,
       coalesce(array_agg(hypertable_name::text) filter (where not compression_enabled), '{}') as missing
from timescaledb_information.hypertables
where hypertable_schema = current_schema() and hypertable_name = any(%(tables)s)
having count(*) > 0

-- is_timescale --
-- The extension is in this database.
select extversion from pg_extension where extname = 'timescaledb'

-- packable --
-- Days that are old enough and not compressed, oldest first.
select hypertable_name::text as hypertable, format('%%I.%%I', chunk_schema, chunk_name)::regclass::text as chunk, range_start, range_end
from timescaledb_information.chunks c
where hypertable_schema = current_schema() and hypertable_name = any(%(tables)s) and not is_compressed and range_end <= %(before)s
order by range_start, hypertable_name

-- loosened --
-- Compressed chunks that got late readings since: those lie beside the columns until they are compressed again.
select format('%%I.%%I', c.chunk_schema, c.chunk_name)::regclass::text as chunk
from timescaledb_information.chunks c
join _timescaledb_catalog.chunk k on k.schema_name = c.chunk_schema and k.table_name = c.chunk_name
where c.hypertable_schema = current_schema() and c.hypertable_name = any(%(tables)s) and c.is_compressed and k.status & 8 <> 0
order by c.range_start

-- compress --
-- One day; the answer is the chunk that it lies in afterwards: its own, or the one of the days before it.
select compress_chunk(%(chunk)s::regclass)::text as chunk

-- note_grown --
-- Its days lie there one by one, and no further one will come.
insert into chunk_grown (chunk) values (%(chunk)s) on conflict do nothing

-- grown --
-- What is to be compressed anew; it may have been dropped since.
select chunk, to_regclass(chunk) is not null as stands from chunk_grown order by chunk

-- forget_grown --
-- In the transaction that compressed it anew.
delete from chunk_grown where chunk = %(chunk)s

-- compress_anew --
-- All of a chunk, so that days that were appended to each other fill common batches.
select compress_chunk(%(chunk)s::regclass, recompress => true)

-- stretch --
-- How far a chunk reaches.
select range_start, range_end from timescaledb_information.chunks
where format('%%I.%%I', chunk_schema, chunk_name)::regclass = %(chunk)s::regclass

-- before --
-- The compressed chunk next before an instant: once a day after it begins a chunk of its own it grows no more.
select format('%%I.%%I', chunk_schema, chunk_name)::regclass::text as chunk, range_start, range_end
from timescaledb_information.chunks
where hypertable_schema = current_schema() and hypertable_name = %(hypertable)s and is_compressed and range_end <= %(instant)s
order by range_end desc limit 1

-- droppable --
-- Chunks whose every reading is too old, oldest first.
select hypertable_name::text as hypertable, range_end
from timescaledb_information.chunks
where hypertable_schema = current_schema() and hypertable_name = any(%(tables)s) and range_end <= %(before)s
order by range_end, hypertable_name

-- drop --
-- What ends by then.
select drop_chunks(%(hypertable)s::regclass, older_than => %(before)s::timestamptz)

-- extent --
-- How far the days of a table reach, and how many of them there are; a chunk of a week counts for seven.
select min(range_start) as begins, max(range_end) as ends,
       (coalesce(sum(extract(epoch from range_end - range_start)), 0) / 86400)::integer as days,
       (coalesce(sum(extract(epoch from range_end - range_start)) filter (where is_compressed), 0) / 86400)::integer as packed_days
from timescaledb_information.chunks
where hypertable_schema = current_schema() and hypertable_name = %(table)s

-- sizes --
-- Bytes of the hypertables with their chunks, compressed or not.
select t as table_name, coalesce(hypertable_size(t::regclass), 0) as bytes from unnest(%(tables)s::text[]) t

-- rows --
-- What lies as rows by the planner's estimate, and what lay as rows when it was compressed.
select coalesce(sum(greatest(r.reltuples, 0) + coalesce(s.numrows_pre_compression, 0)), 0)::bigint as rows
from timescaledb_information.chunks c
join _timescaledb_catalog.chunk k on k.schema_name = c.chunk_schema and k.table_name = c.chunk_name
join pg_class r on r.oid = format('%%I.%%I', c.chunk_schema, c.chunk_name)::regclass
left join _timescaledb_catalog.compression_chunk_size s on s.chunk_id = k.id
where c.hypertable_schema = current_schema() and c.hypertable_name = %(table)s
