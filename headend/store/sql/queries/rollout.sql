-- hold_premises --
-- Two crews at one door go one after the other.
select p.premises_id, p.code, p.label, p.has_production, p.area_id, a.code as area, p.shared_usage_point_id,
       s.code as shared_usage_point, p.usage_point_id, u.code as usage_point
from premises p
join area a using (area_id)
join usage_point s on s.usage_point_id = p.shared_usage_point_id
join usage_point u on u.usage_point_id = p.usage_point_id
where p.code = %(code)s
for update of p;

-- hold_behind_the_same --
-- All doors behind the shared meter of one of them, always in the same order, so that two crews never wait for each other.
select p.premises_id, p.code, p.label, p.has_production, p.area_id, a.code as area, p.shared_usage_point_id,
       s.code as shared_usage_point, p.usage_point_id, u.code as usage_point
from premises p
join area a using (area_id)
join usage_point s on s.usage_point_id = p.shared_usage_point_id
join usage_point u on u.usage_point_id = p.usage_point_id
where p.shared_usage_point_id = (select shared_usage_point_id from premises where code = %(code)s)
order by p.premises_id
for update of p;

-- closed_steps --
-- What is closed at some doors.
select premises_id, step, client_id, closed_at, closed_by, evidence, detail
from rollout_step where premises_id = any(%(premises)s);

-- close_step --
-- A step is closed once: a second row is a contradiction.
insert into rollout_step (premises_id, step, client_id, closed_at, closed_by, evidence, detail)
values (%(premises_id)s, %(step)s, %(client_id)s, %(now)s, %(by)s, %(evidence)s, %(detail)s);

-- meters_of_serial --
-- Meters with a serial, of one or of every manufacturer, and where each of them serves at an instant or after it.
select m.meter_id, m.manufacturer, m.serial, m.model, m.phases, m.digits, m.resolution_wh,
       taken.usage_point as serves, taken.valid_from as serves_from
from meter m
left join lateral (
    select u.code as usage_point, i.valid_from
    from installation i
    join usage_point u using (usage_point_id)
    where i.meter_id = m.meter_id and (i.valid_to is null or i.valid_to > %(at)s)
    order by i.valid_from
    limit 1
) taken on true
where m.serial = %(serial)s and (%(manufacturer)s::text is null or m.manufacturer = %(manufacturer)s::text)
order by m.manufacturer;

-- meter --
-- A meter by its number.
select meter_id, manufacturer, serial, model, phases, digits, resolution_wh from meter where meter_id = %(meter_id)s;

-- usage_point --
-- What is known of the place.
select usage_point_id, code, kind, category, phase, rated_current_a from usage_point where usage_point_id = %(usage_point_id)s;

-- fill_phase --
-- What the survey saw where the lists say nothing.
update usage_point set phase = %(phase)s where usage_point_id = %(usage_point_id)s and phase is null;

-- points_behind --
-- Who is supplied through a shared meter at an instant or later, and since when the meter of its own that serves then, or first afterwards.
select m.usage_point_id, u.code as usage_point, m.valid_from,
       (select min(i.valid_from) from installation i
        where i.usage_point_id = m.usage_point_id and (i.valid_to is null or i.valid_to > %(at)s)) as own_meter_from
from area_membership m
join usage_point u using (usage_point_id)
where m.behind_usage_point_id = %(shared_usage_point_id)s and (m.valid_to is null or m.valid_to > %(at)s)
order by u.code;

-- last_import --
-- The register before an instant, as far back as anybody would compare it.
select ts, import_wh, resolution_wh from register_reading
where meter_id = %(meter_id)s and ts <= %(at)s and ts > %(since)s and import_wh is not null
order by ts desc
limit 1;

-- next_import --
-- The register at an instant or after it, while the same meter still hung there.
select ts, import_wh, resolution_wh from register_reading
where meter_id = %(meter_id)s and ts >= %(at)s and ts <= %(until)s and import_wh is not null
order by ts
limit 1;

-- largest_supply --
-- What can flow there at the most: the connection's rated current, or the transformer it hangs on.
select u.phase, u.rated_current_a, a.transformer_kva
from usage_point u, area a
where u.usage_point_id = %(usage_point_id)s and a.area_id = %(area_id)s;

-- commissioning --
-- The live read behind a door's commissioning, and how it stands.
select c.premises_id, c.request_id, c.client_id, c.requested_by, c.noted_import_wh,
       coalesce(c.noted_at, r.requested_at) as noted_at, c.noted_at is not null as noted_at_given, r.requested_at, c.state,
       c.detail, r.meter_id
from commissioning c
join device_request r using (request_id)
where c.premises_id = %(premises_id)s;

-- failed_commissioning --
-- An attempt that failed and was followed by another.
select detail from commissioning_failed where (premises_id, client_id) = (%(premises_id)s, %(client_id)s);

-- keep_failed --
-- The attempt that failed gives way to another one.
with gone as (
    delete from commissioning where premises_id = %(premises_id)s and state = 'failed'
    returning premises_id, client_id, request_id, requested_by, coalesce(detail, '') as detail
)
insert into commissioning_failed (premises_id, client_id, request_id, requested_by, detail)
select premises_id, client_id, request_id, requested_by, detail from gone;

-- begin_commissioning --
-- A live read is wanted.
insert into commissioning (premises_id, request_id, client_id, requested_by, noted_import_wh, noted_at)
values (%(premises_id)s, %(request_id)s, %(client_id)s, %(by)s, %(noted_import_wh)s, %(noted_at)s);

-- end_commissioning --
-- What the live read showed.
update commissioning set state = %(state)s, detail = %(detail)s
where premises_id = %(premises_id)s and state = 'waiting';

-- decidable --
-- Doors whose live read has been answered, has failed, or waits for nobody any more.
select p.code
from commissioning c
join premises p using (premises_id)
join device_request r using (request_id)
where c.state = 'waiting' and (r.state in ('answered', 'failed', 'expired') or r.expires_at <= %(now)s)
order by p.premises_id;
