-- insert --
-- The caller's id decides: a row that is there already stays as it is.
insert into device_command (command_id, meter_id, kind, wanted, across_intervals, requested_by, reason, note, automatic,
                            requested_at, expires_at)
values (%(command_id)s, %(meter_id)s, %(kind)s, %(wanted)s, %(across_intervals)s, %(requested_by)s, %(reason)s, %(note)s,
        %(automatic)s, %(now)s, %(expires_at)s)
on conflict (command_id) do nothing;

-- find --
-- One command as it stands.
select command_id, meter_id, kind, wanted, across_intervals, requested_by, reason, note, automatic, requested_at, expires_at,
       state, not_before, tries, sent_at, done_at, before_state, after_state, detail
from device_command where command_id = %(command_id)s;

-- of_meter --
-- The commands of one meter, newest first.
select command_id, meter_id, kind, wanted, across_intervals, requested_by, reason, note, automatic, requested_at, expires_at,
       state, not_before, tries, sent_at, done_at, before_state, after_state, detail
from device_command
where meter_id = %(meter_id)s
  and (%(before_at)s::timestamptz is null or (requested_at, command_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid))
order by requested_at desc, command_id desc
limit %(limit)s;

-- steps --
-- The lives of several commands, each in its order.
select command_id, at, step, state, words, detail
from device_command_step where command_id = any(%(commands)s::uuid[])
order by command_id, step_id;

-- note --
-- One step of a command's life.
insert into device_command_step (command_id, at, step, state, words, detail)
values (%(command_id)s, %(at)s, %(step)s, %(state)s, %(words)s, %(detail)s);

-- expire --
-- Never sent and out of time, or overtaken: the last word on a relay or a tariff counts, and an earlier one that waited for
-- its meter must not undo it. One that is being executed keeps its lease.
with over as (
    update device_command c
    set state = 'expired', done_at = %(now)s, taken_until = null,
        detail = 'never sent: ' || case when c.expires_at > %(now)s then 'a later one of its kind was first; ' else '' end
                 || case when c.detail = '' then 'nobody took it in time' else c.detail end
    where (c.state in ('queued', 'taken') and c.expires_at <= %(now)s and (c.state = 'queued' or c.taken_until <= %(now)s))
       or (c.state = 'queued' and c.kind <> 'clock' and exists (
           select from device_command later
           where later.meter_id = c.meter_id and later.kind = c.kind
             and (later.requested_at, later.command_id) > (c.requested_at, c.command_id)
             and (later.sent_at is not null or later.state = 'confirmed')))
    returning c.command_id, c.kind, c.detail
), noted as (
    insert into device_command_step (command_id, at, step, detail)
    select command_id, %(now)s, 'expired', detail from over
)
select command_id, kind from over;

-- take --
-- The oldest of each meter that has none under way (one that waits for its moment lets others pass, and is overtaken by a
-- later one of its kind); of a dead holder, whatever it held: a sent one for reading back only, its time over or not.
update device_command c
set state = case when c.state = 'sent' then 'sent' else 'taken' end, taken_until = %(taken_until)s, tries = c.tries + 1
from (
    select d.command_id from device_command d
    where (d.state = 'queued' and d.expires_at > %(now)s and (d.not_before is null or d.not_before <= %(now)s)
           and not exists (select from device_command o
                           where o.meter_id = d.meter_id and o.command_id <> d.command_id
                             and (o.state in ('taken', 'sent')
                                  or (o.state = 'queued' and (o.not_before is null or o.not_before <= %(now)s)
                                      and (o.requested_at, o.command_id) < (d.requested_at, d.command_id))
                                  or (o.kind = d.kind and d.kind <> 'clock' and (o.sent_at is not null or o.state = 'confirmed')
                                      and (o.requested_at, o.command_id) > (d.requested_at, d.command_id)))))
       or (d.state = 'taken' and d.expires_at > %(now)s and d.taken_until <= %(now)s)
       or (d.state = 'sent' and d.taken_until <= %(now)s)
    order by d.requested_at
    limit %(most)s
    for update skip locked
) due
where c.command_id = due.command_id
returning c.command_id, c.meter_id, c.kind, c.wanted, c.across_intervals, c.requested_at, c.expires_at, c.state, c.tries,
          c.sent_at, c.before_state, c.taken_until;

-- release --
-- Not sent, and not now: the next one may, from `not_before` on.
update device_command
set state = 'queued', taken_until = null, not_before = %(not_before)s, detail = %(detail)s
where command_id = %(command_id)s and state = 'taken' and taken_until = %(taken_until)s;

-- let_go --
-- Held and sent: whoever comes next reads back at once.
update device_command set taken_until = %(now)s
where command_id = %(command_id)s and state = 'sent' and taken_until = %(taken_until)s;

-- mark_sent --
-- Only whoever holds the lease, only once, only in time.
update device_command
set state = 'sent', sent_at = %(now)s, taken_until = %(until)s, before_state = %(before_state)s, detail = ''
where command_id = %(command_id)s and state = 'taken' and taken_until = %(taken_until)s and expires_at > %(now)s;

-- conclude --
-- Only whoever holds the lease says how it ended.
update device_command
set state = %(state)s, done_at = %(now)s, taken_until = null, detail = %(detail)s,
    before_state = coalesce(%(before_state)s, before_state), after_state = %(after_state)s
where command_id = %(command_id)s and state in ('taken', 'sent') and taken_until = %(taken_until)s;

-- under_way --
-- Whether a meter has a command of this kind that is not done.
select exists (select from device_command where meter_id = %(meter_id)s and kind = %(kind)s and done_at is null) as under_way;
