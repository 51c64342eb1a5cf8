-- find --
-- A change by the id that its caller made.
select c.change_id, c.number, c.kind, c.effective_at, c.by, c.reason, c.noted_at, c.asked, c.before, c.after, c.first_day, c.last_day,
       c.area_days, c.undoes, u.change_id as undone_by,
       array(select code from usage_point p where p.usage_point_id = any(c.usage_points) order by code) as usage_points,
       array(select manufacturer || '/' || serial from meter m where m.meter_id = any(c.meters) order by 1) as meters,
       array(select code from area a where a.area_id = any(c.areas) order by code) as areas
from topology_change c
left join topology_change u on u.undoes = c.change_id
where c.change_id = %(change_id)s;

-- listed --
-- Changes about a usage point, a meter or an area (null: about any), newest first; `before` is where the page before ended.
select c.change_id, c.number, c.kind, c.effective_at, c.by, c.reason, c.noted_at, c.asked, c.before, c.after, c.first_day, c.last_day,
       c.area_days, c.undoes, u.change_id as undone_by,
       array(select code from usage_point p where p.usage_point_id = any(c.usage_points) order by code) as usage_points,
       array(select manufacturer || '/' || serial from meter m where m.meter_id = any(c.meters) order by 1) as meters,
       array(select code from area a where a.area_id = any(c.areas) order by code) as areas
from topology_change c
left join topology_change u on u.undoes = c.change_id
where (%(usage_point_id)s::integer is null or c.usage_points @> array[%(usage_point_id)s::integer])
  and (%(meter_id)s::integer is null or c.meters @> array[%(meter_id)s::integer])
  and (%(area_id)s::integer is null or c.areas @> array[%(area_id)s::integer])
  and (%(before)s::bigint is null or c.number < %(before)s::bigint)
order by c.number desc
limit %(limit)s;

-- touched_ids --
-- Whom a change that is taken back was about.
select usage_points, meters from topology_change where change_id = %(change_id)s;

-- points_of --
-- Usage points that a change can touch: those named, those supplied behind them, those where a meter served that is corrected; and the shared
-- ones that any of them is supplied behind.
with subject as (
    select usage_point_id from usage_point where code = any(%(codes)s) or usage_point_id = any(%(ids)s)
    union
    select m.usage_point_id from area_membership m join usage_point b on b.usage_point_id = m.behind_usage_point_id
    where b.code = %(subject)s::text
    union
    select i.usage_point_id from installation i join meter m using (meter_id)
    where (m.manufacturer, m.serial) = (%(manufacturer)s::text, %(serial)s::text)
)
select usage_point_id from subject
union
select m.behind_usage_point_id from area_membership m join subject using (usage_point_id) where m.behind_usage_point_id is not null;

-- hold_points --
-- Two engineers at one usage point go one after the other; always in the same order, so that none waits for the other.
select usage_point_id, code, kind from usage_point where usage_point_id = any(%(ids)s) order by usage_point_id for update;

-- hold_meters --
-- The same for the meters: those named, and those that ever served there.
select m.meter_id, m.manufacturer, m.serial, m.phases, m.digits, m.resolution_wh
from meter m
where m.meter_id in (select meter_id from installation where usage_point_id = any(%(ids)s))
   or (m.manufacturer, m.serial) = (%(manufacturer)s::text, %(serial)s::text) or m.meter_id = any(%(meters)s)
order by m.meter_id for update;

-- installations --
-- Every installation at these usage points, or of these meters wherever they served.
select i.installation_id as row_id, u.code as usage_point, m.manufacturer, m.serial, i.valid_from, i.valid_to, i.multiplier, i.sign,
       i.start_import_wh, i.start_export_wh, i.end_import_wh, i.end_export_wh, i.seal
from installation i join usage_point u using (usage_point_id) join meter m using (meter_id)
where i.usage_point_id = any(%(ids)s) or i.meter_id = any(%(meters)s)
order by u.code, i.valid_from;

-- memberships --
-- Every membership of these usage points.
select h.membership_id as row_id, u.code as usage_point, a.code as area, b.code as behind, h.valid_from, h.valid_to
from area_membership h join usage_point u using (usage_point_id) join area a using (area_id)
left join usage_point b on b.usage_point_id = h.behind_usage_point_id
where h.usage_point_id = any(%(ids)s)
order by u.code, h.valid_from;

-- categories --
-- Every category of these usage points; null: since ever.
select c.category_id as row_id, u.code as usage_point, c.category, nullif(c.valid_from, '-infinity') as valid_from, c.valid_to
from usage_point_category c join usage_point u using (usage_point_id)
where c.usage_point_id = any(%(ids)s)
order by u.code, c.valid_from;

-- point --
-- One usage point by its code.
select usage_point_id, code, name, kind from usage_point where code = %(code)s;

-- put_installations --
-- A row by its own number where it had one; the schema's exclusion constraints have the last word.
insert into installation (installation_id, usage_point_id, meter_id, valid_from, valid_to, multiplier, sign, start_import_wh,
                          start_export_wh, end_import_wh, end_export_wh, seal)
overriding system value
select coalesce(%(row_id)s, nextval(pg_get_serial_sequence('installation', 'installation_id')))::integer, u.usage_point_id, m.meter_id,
       %(valid_from)s, %(valid_to)s, %(multiplier)s, %(sign)s, %(start_import_wh)s, %(start_export_wh)s, %(end_import_wh)s,
       %(end_export_wh)s, %(seal)s
from usage_point u, meter m
where u.code = %(usage_point)s and (m.manufacturer, m.serial) = (%(manufacturer)s, %(serial)s)
returning installation_id as row_id;

-- put_memberships --
-- The same for a membership.
insert into area_membership (membership_id, usage_point_id, area_id, behind_usage_point_id, valid_from, valid_to)
overriding system value
select coalesce(%(row_id)s, nextval(pg_get_serial_sequence('area_membership', 'membership_id')))::integer, u.usage_point_id, a.area_id,
       (select usage_point_id from usage_point where code = %(behind)s::text), %(valid_from)s, %(valid_to)s
from usage_point u, area a
where u.code = %(usage_point)s and a.code = %(area)s
returning membership_id as row_id;

-- put_categories --
-- The same for a category.
insert into usage_point_category (category_id, usage_point_id, category, valid_from, valid_to)
overriding system value
select coalesce(%(row_id)s, nextval(pg_get_serial_sequence('usage_point_category', 'category_id')))::integer, u.usage_point_id,
       %(category)s, coalesce(%(valid_from)s::timestamptz, '-infinity'), %(valid_to)s
from usage_point u where u.code = %(usage_point)s
returning category_id as row_id;

-- change_installations --
-- Another meter too, where the wrong one was scanned.
update installation i
set meter_id = m.meter_id, valid_from = %(valid_from)s, valid_to = %(valid_to)s, multiplier = %(multiplier)s, sign = %(sign)s,
    start_import_wh = %(start_import_wh)s, start_export_wh = %(start_export_wh)s, end_import_wh = %(end_import_wh)s,
    end_export_wh = %(end_export_wh)s, seal = %(seal)s
from meter m
where i.installation_id = %(row_id)s and (m.manufacturer, m.serial) = (%(manufacturer)s, %(serial)s);

-- change_memberships --
-- Another place or another span.
update area_membership h
set area_id = a.area_id, behind_usage_point_id = (select usage_point_id from usage_point where code = %(behind)s::text),
    valid_from = %(valid_from)s, valid_to = %(valid_to)s
from area a
where h.membership_id = %(row_id)s and a.code = %(area)s;

-- change_categories --
-- Another category or another span.
update usage_point_category
set category = %(category)s, valid_from = coalesce(%(valid_from)s::timestamptz, '-infinity'), valid_to = %(valid_to)s
where category_id = %(row_id)s;

-- change_meters --
-- What the device is, whenever it served.
update meter set phases = %(phases)s, digits = %(digits)s, resolution_wh = %(resolution_wh)s where meter_id = %(row_id)s;

-- drop_installations --
-- It never was so; the version stays in installation_past.
delete from installation where installation_id = %(row_id)s;

-- drop_memberships --
-- It never was so.
delete from area_membership where membership_id = %(row_id)s;

-- drop_categories --
-- It never was so.
delete from usage_point_category where category_id = %(row_id)s;

-- category_now --
-- usage_point.category is the one that holds now: of these usage points, or of all whose category began since an instant.
update usage_point u set category = c.category
from usage_point_category c
where c.usage_point_id = u.usage_point_id and c.valid_from <= %(now)s and (c.valid_to is null or c.valid_to > %(now)s)
  and u.category <> c.category
  and (u.code = any(%(usage_points)s) or (c.valid_from > '-infinity' and c.valid_from > %(since)s));

-- first_days --
-- The first day of each area that anybody has seen: days without a single reading need no settlement.
select a.area_id, a.code,
       least((select min(b.day) from balance_day b where b.area_id = a.area_id),
             (select min(d.day) from dirty_day d where d.area_id = a.area_id)) as first_day
from area a where a.code = any(%(areas)s) order by a.area_id;

-- first_reading --
-- The same of meters that nothing was settled of yet.
select min(r.ts) as ts
from unnest(%(meters)s::integer[]) as w (meter_id)
cross join lateral (select ts from register_reading where meter_id = w.meter_id order by ts limit 1) r;

-- billed --
-- What billing was told of days that may come out otherwise.
select count(distinct (d.usage_point_id, d.day)) as days, coalesce(sum(d.energy_wh), 0)::bigint as energy_wh
from unnest(%(usage_points)s::text[], %(first)s::date[], %(last)s::date[]) as w (code, first_day, last_day)
join usage_point u using (code)
join determinant d on d.usage_point_id = u.usage_point_id and d.day between w.first_day and w.last_day;

-- forget_strays --
-- Settled days of usage points that, as it is known now, hung nowhere on them: no area settles them any more.
delete from interval_day i
using unnest(%(usage_points)s::text[], %(first)s::date[], %(last)s::date[]) as w (code, first_day, last_day), usage_point u
where u.code = w.code and i.usage_point_id = u.usage_point_id and i.day between w.first_day and w.last_day
  and not exists (select from area_membership m where m.usage_point_id = i.usage_point_id
                  and tstzrange(m.valid_from, m.valid_to) && tstzrange(i.day::timestamp at time zone %(zone)s,
                                                                       (i.day + 1)::timestamp at time zone %(zone)s));

-- registers_around --
-- What was read of a meter around an installation: last before it, first and last in it, last after it.
select w.n::integer as n, before.ts as before_ts, first.ts as first_ts, first.import_wh as first_import_wh,
       last.ts as last_ts, last.import_wh as last_import_wh, after.ts as after_ts
from unnest(%(manufacturer)s::text[], %(serial)s::text[], %(valid_from)s::timestamptz[], %(valid_to)s::timestamptz[])
     with ordinality as w (manufacturer, serial, valid_from, valid_to, n)
join meter m on (m.manufacturer, m.serial) = (w.manufacturer, w.serial)
left join lateral (select ts from register_reading where meter_id = m.meter_id and ts > w.valid_to order by ts desc limit 1) after on true
left join lateral (select ts from register_reading where meter_id = m.meter_id and ts < w.valid_from order by ts desc limit 1) before on true
left join lateral (select ts, import_wh from register_reading where meter_id = m.meter_id and import_wh is not null
                   and ts >= w.valid_from and ts <= coalesce(w.valid_to, 'infinity') order by ts limit 1) first on true
left join lateral (select ts, import_wh from register_reading where meter_id = m.meter_id and import_wh is not null
                   and ts >= w.valid_from and ts <= coalesce(w.valid_to, 'infinity') order by ts desc limit 1) last on true
order by w.n;

-- subjects --
-- Numbers of whom a change is about.
select array(select usage_point_id from usage_point where code = any(%(usage_points)s) order by 1) as usage_points,
       array(select m.meter_id from meter m join unnest(%(manufacturer)s::text[], %(serial)s::text[]) w (manufacturer, serial)
             on (m.manufacturer, m.serial) = (w.manufacturer, w.serial) order by 1) as meters,
       array(select area_id from area where code = any(%(areas)s) order by 1) as areas;

-- note --
-- Kept for good.
insert into topology_change (change_id, kind, effective_at, by, reason, noted_at, asked, before, after, usage_points, meters, areas,
                             first_day, last_day, area_days, undoes)
values (%(change_id)s, %(kind)s, %(effective_at)s, %(by)s, %(reason)s, %(now)s, %(asked)s, %(before)s, %(after)s, %(usage_points)s,
        %(meters)s, %(areas)s, %(first_day)s, %(last_day)s, %(area_days)s, %(undoes)s);

-- areas --
-- To choose from.
select code, name from area order by code limit %(most)s;

-- shared_points --
-- Those on the areas where a usage point hangs or hung come first.
select s.code, s.name, a.code as area
from usage_point s
join area_membership h on h.usage_point_id = s.usage_point_id and h.valid_to is null
join area a using (area_id)
where s.kind = 'shared'
order by not exists (select from area_membership m join usage_point u using (usage_point_id)
                     where u.code = %(usage_point)s and m.area_id = h.area_id), s.code
limit %(most)s;

-- stock --
-- Meters without an installation that holds or will.
select m.manufacturer, m.serial, m.model from meter m
where not exists (select from installation i where i.meter_id = m.meter_id and i.valid_to is null)
order by m.meter_id desc limit %(most)s;
