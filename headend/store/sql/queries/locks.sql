-- try --
-- A lock by its name, until the end of the transaction.
select pg_try_advisory_xact_lock(hashtextextended(%(what)s, 0))
