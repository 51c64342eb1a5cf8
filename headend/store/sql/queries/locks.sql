-- try --
-- A lock by its name, until the end of the transaction.
select pg_try_advisory_xact_lock(hashtextextended(%(what)s, 0))

-- held --
-- Whether anybody holds a lock of that name in this database. A lock's 64-bit key stands in two columns.
select exists (
    select from pg_locks l, hashtextextended(%(what)s, 0) key
    where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
      and l.database = (select oid from pg_database where datname = current_database())
      and l.classid::bigint = (key >> 32) & 4294967295 and l.objid::bigint = key & 4294967295)
