-- Balances that say what they rest on; known loads without a meter; feeders between areas and stations.

alter table balance_day
    add column unmetered_wh      bigint,                  -- of delivered_wh: loads without a meter, by schedule; null: settled before there were any
    add column measured_wh       bigint,                  -- household import + export in complete intervals: of what was measured,
    add column estimated_wh      bigint,                  -- of what was estimated,
    add column edited_wh         bigint,                  -- and of what a person set
    add column systematic_wh     bigint,                  -- of uncertainty_wh (squares add up): the same error every day,
    add column start_wh          bigint,                  -- registers at the day's first instant,
    add column end_wh            bigint,                  -- registers at its last instant, shared with the next day,
    add column inner_wh          bigint,                  -- and what is independent from day to day
    add column coarse_wh         bigint,                  -- of uncertainty_wh: registers that are read more coarsely than they count
    add column technical_source  text check (technical_source in ('report', 'model'));
comment on column balance_day.delivered_wh is 'through household meters (import - export) and by unmetered loads';
comment on column balance_day.technical_source is 'report: of the engine''s window with this day in it; model: what its last report taught';

alter table meter add column accuracy_class numeric(4, 2) check (accuracy_class > 0 and accuracy_class <= 10);
comment on column meter.accuracy_class is 'limit of its error [%]; null: the default of its kind in the settings';
select keep_history('meter');

create type text_span as range (subtype = text, collation = "C");

create table unmetered_load (
    unmetered_load_id  integer generated always as identity primary key,
    code           text not null,
    area_id        integer not null references area,
    kind           text not null check (kind in ('street_light', 'traffic_light', 'cabinet', 'cctv', 'telecom', 'advertising', 'other')),
    name           text not null default '',
    power_w        integer not null check (power_w > 0),
    tolerance      double precision not null default 0.1 check (tolerance between 0 and 1),   -- limit of its error, as share of the power
    schedule       text not null,                         -- headend.domain.unmetered: 24/7, sunset-sunrise, Jan-Mar 18:10-06:20; ...
    latitude_deg   double precision check (latitude_deg between -90 and 90),
    longitude_deg  double precision check (longitude_deg between -180 and 180),
    valid_from     timestamptz not null,
    valid_to       timestamptz check (valid_to > valid_from),
    noted_by       text not null,
    withdrawn_by   text,                                  -- it never held: who says so
    exclude using gist (text_span(code, code, '[]') with &&, tstzrange(valid_from, valid_to) with &&) where (withdrawn_by is null)
);
comment on table unmetered_load is 'a known load without a meter; what it takes is delivered energy by schedule';
create index unmetered_load_area on unmetered_load (area_id, valid_from);
select keep_history('unmetered_load');

create table feeder (
    feeder_id   integer generated always as identity primary key,
    code        text not null unique,
    station_id  integer not null references station,
    name        text not null
);
comment on table feeder is 'a medium-voltage line that transformer areas hang on';
select keep_history('feeder');

create table area_feeder (
    area_feeder_id  integer generated always as identity primary key,
    area_id         integer not null references area,
    feeder_id       integer not null references feeder,
    valid_from      timestamptz not null,
    valid_to        timestamptz check (valid_to > valid_from),
    exclude using gist (int4range(area_id, area_id, '[]') with &&, tstzrange(valid_from, valid_to) with &&)
);
create index area_feeder_feeder on area_feeder (feeder_id, valid_from);
select keep_history('area_feeder');

create index balance_day_day on balance_day (day, area_id);
