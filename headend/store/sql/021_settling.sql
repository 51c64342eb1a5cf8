-- A mark says since when it waits, however often readings renew it: what nobody settles is noticed, busy days among it.

alter table dirty_day add column since timestamptz;
comment on column dirty_day.since is 'when a renewed mark was made first; null: marked_at';

-- The running days of all areas are found without reading a year of history.
create index dirty_day_by_day on dirty_day (day, area_id);

-- Which days have a long gap in them whose shape was taken from reference days: these days are settled again when a reference day changes.
create table shaped_day (
    usage_point_id  integer not null,
    day             date not null,
    gap_day         date not null,                     -- of the reading before the gap, the earliest one where there are several
    primary key (usage_point_id, day)
);
comment on table shaped_day is 'settled days with energy that has the shape of reference days: of days in the four weeks before gap_day';

-- Of days settled before this was kept the gap is not known: they count as part of one that may be as long as any.
insert into shaped_day (usage_point_id, day, gap_day)
select usage_point_id, day, day - 400 from interval_day where estimated > 0 order by usage_point_id, day;
drop index if exists interval_day_estimated;
