-- known --
-- Of some meters those whose readings are known to lack a register now and then.
select meter_id from told_in_part where meter_id = any(%(meters)s)

-- note --
-- Nearly always it is known already.
insert into told_in_part (meter_id)
select n.meter_id from unnest(%(meters)s::integer[]) as n (meter_id)
where not exists (select from told_in_part t where t.meter_id = n.meter_id)
order by 1
on conflict do nothing
