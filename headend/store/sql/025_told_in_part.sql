-- Meters that tell one of their registers more rarely than the other (export once a day, import every quarter of an hour): on a day without the
-- one it is looked for further out, so that a day alone comes out as it does together with others.

create table told_in_part (
    meter_id  integer primary key references meter
);
comment on table told_in_part is 'meters of which some readings lack a register that others have, noted when these were settled: of the others none has to be looked for';
