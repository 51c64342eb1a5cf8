-- of_area --
-- Loads without a meter that hold on an area at any time of a stretch.
select u.code, a.code as area, u.kind, u.name, u.power_w, u.tolerance, u.schedule, u.latitude_deg, u.longitude_deg, u.valid_from, u.valid_to
from unmetered_load u join area a using (area_id)
where u.area_id = %(area_id)s and u.withdrawn_by is null and tstzrange(u.valid_from, u.valid_to) && tstzrange(%(start)s, %(end)s)
order by u.code, u.valid_from

-- listed --
-- Loads by code and the instant from which they hold, of one area or of all; `after_*` is where the page before ended.
select u.code, a.code as area, u.kind, u.name, u.power_w, u.tolerance, u.schedule, u.latitude_deg, u.longitude_deg, u.valid_from, u.valid_to,
       u.noted_by
from unmetered_load u join area a using (area_id)
where u.withdrawn_by is null and (%(area)s::text is null or a.code = %(area)s::text)
  and (%(at)s::timestamptz is null or (u.valid_from <= %(at)s::timestamptz and (u.valid_to is null or u.valid_to > %(at)s::timestamptz)))
  and (%(after_code)s::text is null or (u.code, u.valid_from) > (%(after_code)s::text, %(after_from)s::timestamptz))
order by u.code, u.valid_from
limit %(limit)s::int

-- of_code --
-- Every version of one load, oldest first, held while it is changed.
select u.code, a.code as area, u.kind, u.name, u.power_w, u.tolerance, u.schedule, u.latitude_deg, u.longitude_deg, u.valid_from, u.valid_to
from unmetered_load u join area a using (area_id)
where u.code = %(code)s and u.withdrawn_by is null
order by u.valid_from
for update of u

-- only_one_writer --
-- Two people who give a load the same code go one after the other; held until the transaction ends.
select pg_advisory_xact_lock(1212498245, hashtext(%(code)s))

-- add --
-- A load begins to hold; no row where there is no such area. The exclusion constraint has the last word on overlaps.
insert into unmetered_load (code, area_id, kind, name, power_w, tolerance, schedule, latitude_deg, longitude_deg, valid_from, valid_to, noted_by)
select %(code)s, a.area_id, %(kind)s, %(name)s, %(power_w)s, %(tolerance)s, %(schedule)s, %(latitude_deg)s, %(longitude_deg)s, %(valid_from)s,
       %(valid_to)s, %(by)s
from area a where a.code = %(area)s
returning area_id

-- close --
-- A load ceases to hold.
update unmetered_load set valid_to = %(at)s, noted_by = %(by)s where code = %(code)s and valid_from = %(valid_from)s and withdrawn_by is null
returning area_id

-- withdraw --
-- A version that never held; the row stays, for who asks what became of it.
update unmetered_load set withdrawn_by = %(by)s where code = %(code)s and valid_from = %(valid_from)s and withdrawn_by is null
returning area_id

-- first_day --
-- The first day of an area that was ever settled or is to be: days before it need no settlement.
select least((select min(day) from balance_day where area_id = %(area_id)s), (select min(day) from dirty_day where area_id = %(area_id)s)) as day
