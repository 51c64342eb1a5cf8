-- add --
-- An event told before, by whomever, stays as it was told first; returns what is new.
insert into device_event (meter_id, concentrator_id, kind, code, occurred_at, uncertainty_ms, received_at, phase, value, detail, source)
select meter_id, concentrator_id, kind, code, occurred_at, uncertainty_ms, received_at, phase, value, detail, source
from unnest(%(meter_id)s::integer[], %(concentrator_id)s::integer[], %(kind)s::text[], %(code)s::text[], %(occurred_at)s::timestamptz[],
            %(uncertainty_ms)s::bigint[], %(received_at)s::timestamptz[], %(phase)s::smallint[], %(value)s::double precision[],
            %(detail)s::text[], %(source)s::text[])
     as n (meter_id, concentrator_id, kind, code, occurred_at, uncertainty_ms, received_at, phase, value, detail, source)
order by meter_id, concentrator_id, occurred_at, kind, phase
on conflict (meter_id, concentrator_id, kind, occurred_at, phase) do nothing
returning kind, meter_id, occurred_at, uncertainty_ms

-- hold_meters --
-- Who opens or closes an episode goes one after the other, in one order; the state is read again behind the lock.
select from meter where meter_id = any (%s) order by meter_id for no key update

-- set_episodes --
-- Nothing open is no row.
with wanted as (select * from unnest(%(meter_id)s::integer[], %(open)s::integer[]) as n (meter_id, open)),
gone as (delete from event_episode e using wanted w where w.meter_id = e.meter_id and w.open = 0)
insert into event_episode (meter_id, open) select meter_id, open from wanted where open > 0 order by meter_id
on conflict (meter_id) do update set open = excluded.open

-- status_words --
-- Status registers as they were read last.
select meter_id, register, word, (extract(epoch from seen_at) * 1000000)::bigint as seen_us from status_word where meter_id = any (%s)

-- set_status_words --
-- Forward in time only.
insert into status_word as s (meter_id, register, word, seen_at)
select meter_id, register, word, 'epoch'::timestamptz + seen_us * interval '1 microsecond'
from unnest(%(meter_id)s::integer[], %(register)s::text[], %(word)s::integer[], %(seen_us)s::bigint[]) as n (meter_id, register, word, seen_us)
order by meter_id, register
on conflict (meter_id, register) do update set word = excluded.word, seen_at = excluded.seen_at where excluded.seen_at > s.seen_at

-- list --
-- Newest first, with where the device was then; `after_*` is where the page before ended.
select e.event_id, e.kind, e.code, e.occurred_at, e.uncertainty_ms, e.received_at, e.phase, e.value, e.detail, e.source,
       m.manufacturer, m.serial, c.code as concentrator, place.area, place.usage_point
from device_event e
left join meter m using (meter_id)
left join concentrator c on c.concentrator_id = e.concentrator_id
left join lateral (
    select a.code as area, u.code as usage_point
    from installation i
    join usage_point u using (usage_point_id)
    left join area_membership h on h.usage_point_id = i.usage_point_id and h.valid_from <= e.occurred_at
                               and (h.valid_to is null or h.valid_to > e.occurred_at)
    left join area a on a.area_id = h.area_id
    where i.meter_id = e.meter_id and i.valid_from <= e.occurred_at and (i.valid_to is null or i.valid_to > e.occurred_at)
    union all
    select a.code, null from area a where a.area_id = c.area_id
    limit 1
) place on true
where (%(kind)s::text is null or e.kind = %(kind)s::text)
  and (%(manufacturer)s::text is null or m.manufacturer = %(manufacturer)s::text)
  and (%(serial)s::text is null or m.serial = %(serial)s::text or c.code = %(serial)s::text)
  and (%(first)s::timestamptz is null or e.occurred_at >= %(first)s::timestamptz)
  and (%(end)s::timestamptz is null or e.occurred_at < %(end)s::timestamptz)
  and (%(area)s::text is null
       or place.area = %(area)s::text
          and (e.meter_id in (select i.meter_id from area a join area_membership h using (area_id) join installation i using (usage_point_id)
                              where a.code = %(area)s::text)
               or c.area_id = (select area_id from area where code = %(area)s::text)))
  and (%(after_at)s::timestamptz is null or (e.occurred_at, e.event_id) < (%(after_at)s::timestamptz, %(after_id)s::bigint))
order by e.occurred_at desc, e.event_id desc limit %(limit)s

-- recent --
-- How many of each kind in an area since an instant, by where its devices are now.
select e.kind, count(*) as events, max(e.occurred_at) as last_at
from device_event e
where e.occurred_at >= %(since)s
  and (e.meter_id in (select i.meter_id from area_membership h join installation i using (usage_point_id)
                      where h.area_id = %(area_id)s and h.valid_to is null and i.valid_to is null)
       or e.concentrator_id in (select concentrator_id from concentrator where area_id = %(area_id)s))
group by e.kind order by count(*) desc, e.kind

-- kinds --
-- Kinds that there are events of.
select distinct kind from device_event order by kind

-- of_power --
-- Failures and restorations of some meters' power between two instants, in order of time. What may have happened half a day sooner or later
-- says nothing.
select e.meter_id, e.kind = 'power_failed' as failed, (extract(epoch from e.occurred_at) * 1000000)::bigint as ts_us, e.uncertainty_ms
from device_event e
where e.meter_id = any(%(meters)s) and e.occurred_at between %(first)s and %(last)s
  and e.kind in ('power_failed', 'power_restored') and e.meter_id is not null and e.phase is null and e.uncertainty_ms <= 43200000
order by e.meter_id, e.occurred_at, e.kind, e.uncertainty_ms
