-- put --
-- A finding that is open already is seen again with what is known now; one that a crew rejected stays closed while its window is still looked at.
insert into finding as f (area_id, meter_id, kind, correct_area_id, confidence, energy_wh, energy_low_wh, energy_high_wh, onset_at,
                          window_from, window_to, evidence, opened_at, seen_at)
select %(area_id)s, %(meter_id)s, %(kind)s, (select area_id from area where code = %(correct_area)s), %(confidence)s, %(energy_wh)s,
       %(energy_low_wh)s, %(energy_high_wh)s, %(onset_at)s, %(first)s, %(last)s, %(evidence)s, %(now)s, %(now)s
where not exists (
    select from finding r where r.area_id = %(area_id)s and r.kind = %(kind)s and r.meter_id is not distinct from %(meter_id)s
      and r.state = 'rejected' and r.window_to >= %(first)s)
on conflict (area_id, kind, coalesce(meter_id, 0)) where state not in ('rejected', 'closed') do update set
    correct_area_id = excluded.correct_area_id, confidence = excluded.confidence, energy_wh = excluded.energy_wh,
    energy_low_wh = excluded.energy_low_wh, energy_high_wh = excluded.energy_high_wh, onset_at = excluded.onset_at,
    window_from = excluded.window_from, window_to = excluded.window_to, evidence = excluded.evidence, seen_at = excluded.seen_at
returning finding_id, opened_at = seen_at as opened

-- close_unseen --
-- What the last run no longer found is closed, unless a crew has been there: then a person decides.
update finding set state = 'closed', closed_at = %(now)s
where area_id = %(area_id)s and state in ('open', 'assigned') and not (finding_id = any(%(seen)s))
  and (%(kinds)s::text[] is null or kind = any(%(kinds)s::text[]))
returning finding_id
