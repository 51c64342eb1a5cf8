-- measure --
-- How far behind the readings are that come through each concentrator: meters that serve now, and the newest reading of those that
-- come no other way.
insert into concentrator_lag as l (concentrator_id, meters, newest_at, computed_at)
select c.concentrator_id, count(m.meter_id), max(r.ts) filter (where not m.polled), %(now)s
from concentrator c
left join (select e.concentrator_id, e.meter_id,
                  exists (select from endpoint p where p.meter_id = e.meter_id and p.protocol = 'modbus') as polled
           from endpoint e join installation i using (meter_id)
           where e.concentrator_id is not null and i.valid_from <= %(now)s and (i.valid_to is null or i.valid_to > %(now)s)) m
       using (concentrator_id)
left join latest_reading r using (meter_id)
group by c.concentrator_id
order by c.concentrator_id
on conflict (concentrator_id) do update
set meters = excluded.meters, newest_at = excluded.newest_at, computed_at = excluded.computed_at

-- worst --
-- Concentrators with meters that serve: those longest silent first, those never heard of before all.
select c.code as concentrator, a.code as area, c.online, c.last_seen_at, c.backlog, l.meters, l.newest_at
from concentrator c join area a using (area_id) left join concentrator_lag l using (concentrator_id)
where coalesce(l.meters, 1) > 0
order by c.last_seen_at nulls first, l.newest_at nulls first, c.code limit %(limit)s

-- totals --
-- Of those with meters that serve.
select count(*) as concentrators, count(*) filter (where c.last_seen_at is null) as never_heard,
       count(*) filter (where c.last_seen_at < %(heard_since)s) as silent, count(*) filter (where c.online is false) as offline,
       coalesce(sum(c.backlog), 0)::bigint as backlog, min(l.newest_at) as furthest_behind_at
from concentrator c left join concentrator_lag l using (concentrator_id)
where coalesce(l.meters, 1) > 0
