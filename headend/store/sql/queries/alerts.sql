-- raise --
-- One of a kind and subject stands at a time; whether it is new.
insert into alert as a (kind, subject, area_id, severity, raised_at, renewed_at, value, detail)
values (%(kind)s, %(subject)s, %(area_id)s, %(severity)s, %(now)s, %(now)s, %(value)s, %(detail)s)
on conflict (kind, subject) where cleared_at is null
do update set renewed_at = greatest(a.renewed_at, excluded.renewed_at), value = excluded.value, detail = excluded.detail,
              severity = excluded.severity
returning xmax = 0

-- clear --
-- Never before it was raised, whatever the clocks of two hosts say.
update alert set cleared_at = greatest(raised_at, %(now)s)
where kind = %(kind)s and subject = any (%(subjects)s) and cleared_at is null

-- standing --
-- What is to be seen to: alerts before warnings.
select t.alert_id, t.kind, t.severity, t.subject, a.code as area, t.raised_at, t.renewed_at, t.value, t.detail
from alert t left join area a using (area_id)
where t.cleared_at is null order by t.severity, t.raised_at desc, t.alert_id desc

-- list --
-- Newest first; `before_*` is where the page before ended.
select t.alert_id, t.kind, t.severity, t.subject, a.code as area, t.raised_at, t.renewed_at, t.cleared_at, t.value, t.detail
from alert t left join area a using (area_id)
where (%(kind)s::text is null or t.kind = %(kind)s::text)
  and (%(area)s::text is null or a.code = %(area)s::text)
  and (not %(standing)s::boolean or t.cleared_at is null)
  and (%(before_at)s::timestamptz is null or (t.raised_at, t.alert_id) < (%(before_at)s::timestamptz, %(before_id)s::bigint))
order by t.raised_at desc, t.alert_id desc limit %(limit)s
