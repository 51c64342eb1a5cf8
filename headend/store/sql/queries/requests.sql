-- submit --
-- Somebody wants a meter, or its clock, read now.
insert into device_request (request_id, meter_id, kind, requested_at, expires_at)
values (%(request_id)s, %(meter_id)s, %(kind)s, %(now)s, %(expires_at)s);

-- find --
-- How a request stands.
select request_id, meter_id, kind, requested_at, expires_at, state, answer, error, done_at
from device_request where request_id = %(request_id)s;

-- expire --
-- Nobody waits for these any more; one that is being executed keeps its lease.
update device_request
set state = 'expired', done_at = %(now)s, error = 'nobody could read the meter in time'
where state in ('queued', 'taken') and expires_at <= %(now)s and (state = 'queued' or taken_until <= %(now)s);

-- take --
-- Several pollers never take the same one; what a dead one took is free again when its lease is over.
update device_request r
set state = 'taken', taken_until = %(taken_until)s
from (
    select request_id from device_request
    where state in ('queued', 'taken') and expires_at > %(now)s and (state = 'queued' or taken_until <= %(now)s)
    order by requested_at
    limit %(most)s
    for update skip locked
) due
where r.request_id = due.request_id
returning r.request_id, r.meter_id, r.kind, r.expires_at, r.taken_until;

-- finish --
-- Only whoever holds the lease answers.
update device_request
set state = %(state)s, answer = %(answer)s::jsonb, error = %(error)s, done_at = %(now)s
where request_id = %(request_id)s and state = 'taken' and taken_until = %(taken_until)s;

-- release --
-- Taken and not executed: the next one may.
update device_request set state = 'queued', taken_until = null
where request_id = %(request_id)s and state = 'taken' and taken_until = %(taken_until)s;
