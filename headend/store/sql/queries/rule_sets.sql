-- find --
-- The number under which a document is kept.
select rule_set_id from validation_rule_set where digest = %(digest)s

-- add --
-- Several processes may begin with the same new settings: the first one's number is everybody's.
insert into validation_rule_set (digest, rules, first_used_at) values (%(digest)s, %(rules)s::jsonb, %(now)s)
on conflict (digest) do nothing

-- get --
-- Documents by number.
select rule_set_id, rules, first_used_at from validation_rule_set where rule_set_id = any(%(numbers)s) order by rule_set_id
