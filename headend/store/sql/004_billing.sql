-- What billing was told: immutable numbered batches of daily determinants, pushed until acknowledged, then locked.

create table billing_batch (
    number            bigint primary key,               -- without gaps
    idempotency_key   uuid not null unique,
    created_at        timestamptz not null,
    period_from       date not null,
    period_to         date not null,
    determinants      integer not null,
    energy_wh         bigint not null,
    checksum          text not null,                    -- sha256:<hex> over the canonical determinants
    state             text not null default 'created' check (state in ('created', 'acknowledged', 'rejected')),
    attempts          integer not null default 0,
    last_error        text,
    acknowledged_at   timestamptz,
    receipt           jsonb
);

create table determinant (
    batch_number     bigint not null references billing_batch,
    usage_point_id   integer not null references usage_point,
    day              date not null,
    direction        text not null check (direction in ('import', 'export')),
    tariff_band      text not null default 'total',
    revision         smallint not null default 0,       -- 0: original; n: the n-th adjustment
    category         text not null,
    energy_wh        bigint not null,                   -- an adjustment holds the difference
    estimated_wh     bigint not null,
    start_import_wh  bigint, start_ts timestamptz not null,
    end_import_wh    bigint, end_ts   timestamptz not null,
    multiplier       numeric(12, 4),
    meters           text[] not null,                   -- manufacturer/serial
    reason           text,
    primary key (usage_point_id, day, direction, tariff_band, revision)
);
create index determinant_batch on determinant (batch_number);

create table billing_exception (
    exception_id    bigint generated always as identity primary key,
    batch_number    bigint not null references billing_batch,
    usage_point_id  integer references usage_point,
    day             date,
    reason          text not null,
    noted_at        timestamptz not null,
    worked_off_at   timestamptz
);

create function billing_is_immutable() returns trigger language plpgsql as $$
begin
    raise exception 'what billing was told is never changed: % of %', lower(tg_op), tg_table_name;
end $$;
create trigger determinant_immutable before update or delete on determinant for each row execute function billing_is_immutable();
