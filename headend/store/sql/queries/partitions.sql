-- lock --
-- One process at a time makes partitions; held to the end of the transaction.
select pg_advisory_xact_lock(%s)

-- attached --
-- Which partitions there are already.
select c.relname as name
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = any (select t::regclass from unnest(%(tables)s::text[]) as t)

-- is_native --
-- A partitioned table, as opposed to a hypertable.
select relkind = 'p' from pg_class where oid = %s::regclass
