-- Interval energy, area balances, technical-loss models and findings: one row a usage point (area) and local day, with the day's vectors.

create table interval_day (
    usage_point_id   integer not null references usage_point,
    day              date not null,
    starts_at        timestamptz not null,             -- UTC start of the first interval
    interval_s       integer not null,
    import_wh        bigint[] not null,                -- null element: absent
    export_wh        bigint[] not null,
    voltage_dv       smallint[],
    quality          smallint[] not null,              -- headend.domain.quality.Quality
    flags            integer[] not null,               -- headend.domain.quality.ValidationFlag
    start_import_wh  bigint,                           -- raw register at the day's first and last grid instant, null: no reading there
    end_import_wh    bigint,
    start_export_wh  bigint,
    end_export_wh    bigint,
    meters           integer[] not null,               -- meter_ids in the order in which they served
    multiplier       numeric(12, 4),
    measured         smallint not null,                -- intervals with quality measured or interpolated
    estimated        smallint not null,
    rules            smallint not null,                -- version of the validation and estimation rules
    start_mark       bigint not null,                  -- which readings decide the register at the day's first and last instant:
    end_mark         bigint not null,                  -- neighbouring days that disagree on their common midnight are settled again
    settled_at       timestamptz not null,             -- when the row last changed
    primary key (usage_point_id, day)
);
create index interval_day_estimated on interval_day (usage_point_id, day) where estimated > 0;

create table balance_day (
    area_id              integer not null references area,
    day                  date not null,
    state                text not null check (state in ('normal', 'high', 'negative', 'not_computable')),
    reason               text,                          -- why not computable
    starts_at            timestamptz not null,
    interval_s           integer not null,
    supplied_wh          bigint,                        -- over aligned and complete intervals only
    delivered_wh         bigint,
    loss_wh              bigint,
    technical_wh         bigint,
    unexplained_wh       bigint,
    gross_wh             bigint,                        -- area import + household export: the loss rate's denominator
    loss_rate            double precision,
    uncertainty_wh       bigint,                        -- one standard deviation of loss_wh
    intervals            smallint not null,             -- on this local day
    intervals_complete   smallint not null,             -- of them aligned and complete
    households           integer not null,              -- usage points of kind customer on the area that day
    households_measured  integer not null,              -- of them read by a meter of their own
    coverage_households  double precision,
    coverage_intervals   double precision,              -- share of (counted usage point x interval) that is measured
    estimated_share      double precision,              -- of delivered energy
    supplied_interval_wh   bigint[] not null,           -- null element: not aligned or not complete
    delivered_interval_wh  bigint[] not null,
    technical_interval_wh  bigint[] not null,
    final                boolean not null default false,  -- complete, or past the grace: billing may take it
    settled_at           timestamptz not null,
    changed_at           timestamptz not null,          -- when the balance or an interval under it last changed
    primary key (area_id, day)
);

create index balance_day_open on balance_day (area_id, day) where not final;

create table technical_model (
    area_id           integer primary key references area,
    constant_wh       double precision not null,        -- per interval of interval_s
    quadratic_per_wh  double precision not null,        -- loss = constant_wh + quadratic_per_wh * supplied_wh^2
    interval_s        integer not null,
    fitted_at         timestamptz not null,
    window_from       date not null,
    window_to         date not null
);

create table area_report (
    area_id            integer primary key references area,
    window_from        date not null,
    window_to          date not null,
    anomaly_score      double precision not null,
    alarm              boolean not null,
    cause              text not null,
    technical_loss_wh  double precision,
    reason             text,
    marker             text not null,                   -- digest of what the report was made from: an equal one need not be made again
    reported_at        timestamptz not null
);

create table finding (
    finding_id      bigint generated always as identity primary key,
    area_id         integer not null references area,
    meter_id        integer references meter,
    kind            text not null,                      -- reconciliation.FindingKind
    correct_area_id integer references area,
    state           text not null default 'open' check (state in ('open', 'assigned', 'inspected', 'confirmed', 'rejected', 'closed')),
    confidence      double precision not null check (confidence between 0 and 1),
    energy_wh       double precision not null,
    energy_low_wh   double precision not null,
    energy_high_wh  double precision not null,
    onset_at        timestamptz,
    window_from     date not null,
    window_to       date not null,
    evidence        jsonb not null,
    opened_at       timestamptz not null,
    seen_at         timestamptz not null,               -- last run that still found it
    closed_at       timestamptz
);
create unique index finding_one_open on finding (area_id, kind, coalesce(meter_id, 0)) where state not in ('rejected', 'closed');
