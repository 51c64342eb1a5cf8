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

-- sizes --
-- Every partition with what the planner takes its rows for.
select i.inhparent::regclass::text as table_name, c.relname as name, c.reltuples::bigint as rows, pg_total_relation_size(c.oid) as bytes
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = any (select t::regclass from unnest(%(tables)s::text[]) as t)

-- standing --
-- Days' tables of one parent: attached, being detached (somebody was interrupted), or detached and left over.
select c.relname as name, i.inhparent is not null as attached, coalesce(i.inhdetachpending, false) as pending
from pg_class c left join pg_inherits i on i.inhrelid = c.oid
where c.relkind = 'r' and c.relnamespace = (select relnamespace from pg_class where oid = %(table)s::regclass)
  and c.relname ~ ('^' || %(table)s || '_[0-9]{8}$') and (i.inhparent is null or i.inhparent = %(table)s::regclass)
order by c.relname

-- bound_waits --
-- Of this transaction, or of the connection.
select set_config('lock_timeout', %(timeout)s, %(local)s)
