-- of_meter --
-- Newest noted first. A batch notes many at one instant, and of one instant of the meter several may have come: the digest of what came
-- tells these apart, as the unique index does, so that a page ends at exactly one of them.
select ts, noted_at, kept_import_wh, kept_export_wh, kept_voltage_dv, kept_phases, kept_source,
       other_import_wh, other_export_wh, other_voltage_dv, other_phases, other_source, rule, digest
from (
    select *, md5(row(other_source, other_import_wh, other_export_wh, other_voltage_dv, other_phases)::text)::uuid as digest
    from reading_revision where meter_id = %(meter_id)s) r
where %(before_noted_at)s::timestamptz is null
   or (noted_at, ts, digest) < (%(before_noted_at)s::timestamptz, %(before_ts)s::timestamptz, %(before_digest)s::uuid)
order by noted_at desc, ts desc, digest desc
limit %(limit)s;
