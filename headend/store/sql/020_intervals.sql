-- A settled day in fewer bytes, told from another by its digest, and read by people through a view.
-- import_wh has one element an interval; the other vectors have one element for the whole day where all of them are the same (export without
-- a generator, quality and flags of an ordinary day). Energy in 32 bits: 2.1 GWh in one interval is beyond any low-voltage network, and
-- settlement gives no number for it.
-- interval_day is read once and rewritten once, under a lock that lets nobody else read it: about 35 s a million rows (2 cores, 1.3 GB to 0.9).

create function day_vector(vector anyarray, intervals integer) returns anyarray
    language sql immutable parallel safe
as $$ select case when cardinality(vector) = 1 and intervals > 1 then array_fill(vector[1], array[intervals]) else vector end $$;
comment on function day_vector is 'a vector of interval_day with one element an interval: day_vector(quality, cardinality(import_wh))';

update interval_day
set import_wh = array(select case when abs(x) < 2147483648 then x end from unnest(import_wh) with ordinality t (x, n) order by n),
    export_wh = array(select case when abs(x) < 2147483648 then x end from unnest(export_wh) with ordinality t (x, n) order by n),
    quality = array(select case when abs(i) >= 2147483648 then 0 else q end::smallint
                    from unnest(import_wh, quality) with ordinality t (i, q, n) order by n),
    flags = array(select case when abs(i) >= 2147483648 or abs(e) >= 2147483648 then f | 8 else f end
                  from unnest(import_wh, export_wh, flags) with ordinality t (i, e, f, n) order by n)
where 2147483648 <= any (import_wh) or -2147483648 >= any (import_wh) or 2147483648 <= any (export_wh) or -2147483648 >= any (export_wh);

alter table interval_day
    alter column import_wh type integer[] using import_wh::integer[],
    alter column export_wh type integer[] using
        case when export_wh = array_fill(export_wh[1], array[cardinality(export_wh)]) then export_wh[1:1] else export_wh end::integer[],
    alter column voltage_dv type smallint[] using
        case when voltage_dv = array_fill(voltage_dv[1], array[cardinality(voltage_dv)]) then voltage_dv[1:1] else voltage_dv end,
    alter column quality type smallint[] using
        case when quality = array_fill(quality[1], array[cardinality(quality)]) then quality[1:1] else quality end,
    alter column flags type integer[] using
        case when flags = array_fill(flags[1], array[cardinality(flags)]) then flags[1:1] else flags end,
    add column digest bigint;
comment on column interval_day.digest is 'of everything that the row says; equal digests are equal rows, null: not known';

do $$
begin
    -- Rows of quarter-hours stay whole below PostgreSQL's 2 kB; longer ones are compressed, in a third of the time where the server has LZ4.
    alter table interval_day alter column import_wh set compression lz4, alter column export_wh set compression lz4,
        alter column voltage_dv set compression lz4, alter column flags set compression lz4, alter column quality set compression lz4;
exception when feature_not_supported or invalid_parameter_value then
    null;                                                            -- a server built without it keeps its own method
end $$;

-- Settling an area asks for the meters of its usage points; the range indexes of the exclusion constraints do not answer that.
create index installation_usage_point on installation (usage_point_id, valid_from);

create function validation_flag_words(flags integer) returns text[] language sql immutable parallel safe
as $$
    select case when flags = 0 then '{}'::text[] else array(
        select word from unnest(array[
            'register_decreased', 'rollover', 'reset', 'above_capacity', 'missing', 'duplicate_other_value', 'in_future', 'before_installation',
            'voltage_band', 'meter_swap', 'spike', 'zero_days', 'constant', 'clock_drift', 'phase_missing', 'reversed_flow', 'tariff_sum',
            'edit_refused', 'by_line', 'by_reference_days', 'evenly', 'set_aside']) with ordinality w (word, n)
        where flags & (1 << (n - 1)::integer) <> 0 order by n) end
$$;
comment on function validation_flag_words is 'bits of interval_day.flags as words (headend.domain.quality.ValidationFlag)';

create view interval_energy as
select u.code as usage_point, d.day,
       d.starts_at + (i.n - 1) * d.interval_s * interval '1 second' as starts_at,
       d.starts_at + i.n * d.interval_s * interval '1 second' as ends_at,
       i.import_wh, i.export_wh, round(i.voltage_dv / 10.0, 1) as voltage_v,
       case i.quality when 0 then 'absent' when 1 then 'measured' when 2 then 'interpolated' when 3 then 'estimated' when 4 then 'edited'
                      when 5 then 'zero_by_event' end as quality,
       validation_flag_words(i.flags) as flags,
       serving.meters
from interval_day d
join usage_point u using (usage_point_id)
cross join lateral (
    select array_agg(m.manufacturer || '/' || m.serial order by o.n) as meters
    from unnest(d.meters) with ordinality o (meter_id, n) join meter m using (meter_id)
    offset 0) serving                                                -- once a day, not once an interval
cross join lateral unnest(d.import_wh, day_vector(d.export_wh, cardinality(d.import_wh)), day_vector(d.voltage_dv, cardinality(d.import_wh)),
                          day_vector(d.quality, cardinality(d.import_wh)), day_vector(d.flags, cardinality(d.import_wh)))
    with ordinality i (import_wh, export_wh, voltage_dv, quality, flags, n);
comment on view interval_energy is 'settled energy, one row a usage point and interval; null: absent. Name usage points and days, so that only those are read';
comment on column interval_energy.day is 'local day; a condition on it is answered from the key';
comment on column interval_energy.meters is 'meters that served on that day, in order of time';

create function interval_energy_of(usage_point text, since timestamptz, until timestamptz) returns setof interval_energy
    language sql stable parallel safe
as $$
    -- A local day begins within 26 hours of its UTC date.
    select e.* from interval_energy e
    where e.usage_point = $1 and e.day between (since at time zone 'UTC')::date - 2 and (until at time zone 'UTC')::date + 1
      and e.starts_at >= since and e.starts_at < until
$$;
comment on function interval_energy_of is 'interval_energy of one usage point from an instant to before an instant, read from those days only';
