-- lock_area --
-- One at a time decides what becomes of an area's cases: the engine's night, or a person. Waited for, until the end of the transaction.
select pg_advisory_xact_lock(1212498246, %(area_id)s::integer)

-- known --
-- Of each state the latest case about the same concern of the same meter, or of the area as a whole.
select distinct on (state) finding_id, state, kind, confidence, energy_low_wh, energy_high_wh, window_to, verdict, repaired_on
from finding
where area_id = %(area_id)s and concern = %(concern)s and coalesce(meter_id, 0) = coalesce(%(meter_id)s::integer, 0)
order by state, finding_id desc

-- open --
-- A new case.
insert into finding (area_id, meter_id, kind, correct_area_id, confidence, energy_wh, energy_low_wh, energy_high_wh, onset_at,
                     window_from, window_to, evidence, opened_at, seen_at, follows)
select %(area_id)s, %(meter_id)s, %(kind)s, (select area_id from area where code = %(correct_area)s), %(confidence)s, %(energy_wh)s,
       %(energy_low_wh)s, %(energy_high_wh)s, %(onset_at)s, %(first)s, %(last)s, %(evidence)s, %(now)s, %(now)s, %(follows)s
returning finding_id

-- see --
-- A case is seen again, with what is known now; what a person has confirmed keeps its kind, and the evidence for that kind.
update finding set
    evidence = case when state = 'confirmed' and kind <> %(kind)s then evidence else %(evidence)s end,
    kind = case when state = 'confirmed' then kind else %(kind)s end,
    correct_area_id = (select area_id from area where code = %(correct_area)s), confidence = %(confidence)s, energy_wh = %(energy_wh)s,
    energy_low_wh = %(energy_low_wh)s, energy_high_wh = %(energy_high_wh)s, onset_at = %(onset_at)s,
    window_from = %(first)s, window_to = %(last)s, seen_at = %(now)s
where finding_id = %(finding_id)s

-- revive --
-- What was closed, and is seen again, is with whom it was with.
update finding set state = case when assigned_to is null then 'open' else 'assigned' end, closed_at = null
where finding_id = %(finding_id)s returning state

-- seen_in --
-- How strong the last run on a window found a case.
insert into finding_run as r (finding_id, window_to, window_from, ran_at, seen, kind, confidence, energy_wh, energy_low_wh, energy_high_wh)
values (%(finding_id)s, %(last)s, %(first)s, %(now)s, true, %(kind)s, %(confidence)s, %(energy_wh)s, %(energy_low_wh)s, %(energy_high_wh)s)
on conflict (finding_id, window_to) do update set
    window_from = excluded.window_from, ran_at = excluded.ran_at, seen = true, kind = excluded.kind, confidence = excluded.confidence,
    energy_wh = excluded.energy_wh, energy_low_wh = excluded.energy_low_wh, energy_high_wh = excluded.energy_high_wh

-- looked_for --
-- An area's cases that a run looked for and did not see: live ones, and those that would come back if it had (the latest of their concern,
-- in days that are still looked at).
select finding_id, state, kind, confidence, energy_low_wh, energy_high_wh, window_to, verdict, repaired_on
from finding f
where area_id = %(area_id)s and not (finding_id = any(%(seen)s::bigint[]))
  and (%(kinds)s::text[] is null or kind = any(%(kinds)s::text[]))
  and (state not in ('rejected', 'closed')
       or window_to >= %(first)s and not exists (
           select from finding o
           where o.area_id = f.area_id and o.concern = f.concern and coalesce(o.meter_id, 0) = coalesce(f.meter_id, 0)
             and (o.finding_id > f.finding_id or o.state not in ('rejected', 'closed')) and o.finding_id <> f.finding_id))
order by finding_id

-- not_seen_in --
-- The last run on a window did not see these cases.
insert into finding_run as r (finding_id, window_to, window_from, ran_at, seen)
select f, %(last)s, %(first)s, %(now)s, false from unnest(%(findings)s::bigint[]) f
on conflict (finding_id, window_to) do update set
    window_from = excluded.window_from, ran_at = excluded.ran_at, seen = false, kind = null, confidence = null,
    energy_wh = null, energy_low_wh = null, energy_high_wh = null

-- close --
-- No run sees it any more, or what was repaired is over.
update finding set state = 'closed', closed_at = %(now)s where finding_id = %(finding_id)s

-- note --
-- A step in the life of a case; one that was sent before stays as it is.
insert into finding_event (event_id, finding_id, made_at, move, from_state, to_state, made_by, note, assigned_to, saw, repaired_on, detail)
values (coalesce(%(event_id)s::uuid, gen_random_uuid()), %(finding_id)s, %(made_at)s, %(move)s, %(from_state)s, %(to_state)s, %(made_by)s,
        %(note)s, %(assigned_to)s, %(saw)s, %(repaired_on)s, %(detail)s)
