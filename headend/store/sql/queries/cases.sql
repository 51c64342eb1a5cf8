-- area_of --
-- On which area a case is: what has to be locked before it is looked at.
select area_id from finding where finding_id = %(finding_id)s

-- case --
-- How a case stands, and from which local day on runs saw it.
select finding_id, area_id, meter_id, kind, concern, state, assigned_to, verdict, verdict_at, repaired_on, follows, closed_at,
       least(window_from, (select min(r.window_from) from finding_run r where r.finding_id = f.finding_id and r.seen)) as seen_from
from finding f where finding_id = %(finding_id)s

-- move --
-- What a person did to a case; a verdict has the instant at which it was passed.
update finding set state = %(state)s, assigned_to = %(assigned_to)s, verdict = %(verdict)s,
    verdict_at = case when %(verdict)s::text is null then null when verdict is null then %(now)s::timestamptz else verdict_at end,
    repaired_on = %(repaired_on)s,
    closed_at = case when %(state)s::text in ('rejected', 'closed') then %(now)s::timestamptz end
where finding_id = %(finding_id)s

-- live_like --
-- Another live case about the same as one.
select o.finding_id from finding f
join finding o on o.area_id = f.area_id and o.concern = f.concern and coalesce(o.meter_id, 0) = coalesce(f.meter_id, 0)
where f.finding_id = %(finding_id)s and o.finding_id <> f.finding_id and o.state not in ('rejected', 'closed')

-- event --
-- A step by its id.
select * from finding_event where event_id = %(event_id)s

-- events --
-- The life of a case, oldest first.
select event_id, number, finding_id, made_at, move, from_state, to_state, made_by, note, assigned_to, saw, repaired_on, detail
from finding_event where finding_id = %(finding_id)s order by number

-- runs --
-- What the runs said of a case, one row a window, oldest first.
select window_from, window_to, ran_at, seen, kind, confidence, energy_wh, energy_low_wh, energy_high_wh
from finding_run where finding_id = %(finding_id)s order by window_to

-- follower --
-- The case that came after one about the same.
select finding_id from finding where follows = %(finding_id)s order by finding_id limit 1

-- holders --
-- To whom live cases are assigned.
select distinct assigned_to from finding
where assigned_to is not null and state not in ('rejected', 'closed') order by 1

-- precision --
-- Verdicts by the kind that was claimed and the local month in which they were passed.
select kind, date_trunc('month', verdict_at at time zone %(zone)s)::date as month,
       count(*) filter (where verdict = 'confirmed') as confirmed, count(*) filter (where verdict = 'rejected') as rejected
from finding where verdict is not null group by 1, 2 order by 1, 2

-- verdicts --
-- Confirmed and rejected cases of each kind between two instants: what priors are learnt from. Nothing of who or where.
select kind, count(*) filter (where verdict = 'confirmed') as confirmed, count(*) filter (where verdict = 'rejected') as rejected
from finding where verdict_at > %(since)s and verdict_at <= %(until)s group by 1 order by 1

-- priors --
-- What the last report took for granted of each kind before its own evidence.
select priors from area_report where priors <> '{}' order by reported_at desc limit 1
