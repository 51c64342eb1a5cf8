-- expire_commands --
-- What was waiting when the backup was made was carried out since, or overtaken: it is never sent. A sent one is only read back.
with over as (
    update device_command
    set state = 'expired', done_at = %(now)s, taken_until = null, detail = %(detail)s
    where state in ('queued', 'taken')
    returning command_id
)
insert into device_command_step (command_id, at, step, detail)
select command_id, %(now)s, 'expired', %(detail)s from over

-- expire_requests --
-- Nobody waits any more for a live read of before the backup.
update device_request set state = 'expired', taken_until = null, done_at = %(now)s where state in ('queued', 'taken')

-- newest_batch --
-- The highest number of a batch, and how many have no answer of billing's.
select coalesce(max(number), 0) as number, count(*) filter (where state = 'created') as unanswered from billing_batch

-- usage_points --
-- Numbers of usage points by their codes.
select usage_point_id, code from usage_point where code = any (%(codes)s)
