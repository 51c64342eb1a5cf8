-- beat --
-- It lives. One whose row somebody swept comes back by itself.
insert into service_process as p (process_id, host, pid, version, roles, started_at, beat_at, stopped_at, health)
values (%(process_id)s, %(host)s, %(pid)s, %(version)s, %(roles)s, %(started_at)s, %(now)s, case when %(stopped)s then %(now)s::timestamptz end, %(health)s)
on conflict (process_id) do update set beat_at = excluded.beat_at, stopped_at = excluded.stopped_at, health = excluded.health

-- of_host --
-- What ran on this host and did not say goodbye.
select process_id, pid from service_process where host = %(host)s and process_id <> %(process_id)s and stopped_at is null

-- forget --
-- Processes that are known to be no more.
delete from service_process where process_id = any (%(process_ids)s)

-- sweep --
-- Those that said goodbye, and those silent for so long that nobody asks what became of them: once others do their work. A role that
-- nobody has any more is told of until somebody takes it.
delete from service_process p
where (p.stopped_at is not null or p.beat_at < %(silent)s)
  and p.roles <@ (select coalesce(array_agg(role), '{}') from service_process q cross join unnest(q.roles) as role
                  where q.stopped_at is null and q.beat_at > p.beat_at and q.beat_at >= %(silent)s)

-- listed --
-- All that are known, the living first.
select process_id, host, pid, version, roles, started_at, beat_at, stopped_at, health
from service_process order by stopped_at is not null, roles, host, started_at
