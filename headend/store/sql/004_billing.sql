-- What billing was told: immutable numbered batches of daily determinants, pushed until acknowledged, then locked.

create table billing_batch (
    number            bigint primary key,               -- without gaps
    idempotency_key   uuid not null unique,
    created_at        timestamptz not null,
    period_from       date not null,
    period_to         date not null,
    determinants      integer not null check (determinants > 0),
    energy_wh         bigint not null,
    checksum          text not null,                    -- sha256:<hex> over the canonical determinants
    state             text not null default 'created' check (state in ('created', 'acknowledged', 'rejected')),
    attempts          integer not null default 0,
    last_error        text,
    acknowledged_at   timestamptz,
    receipt           jsonb,
    check ((state = 'acknowledged') = (acknowledged_at is not null))
);
create index billing_batch_waiting on billing_batch (number) where state = 'created';

create table determinant (
    batch_number       bigint not null references billing_batch,
    usage_point_id     integer not null references usage_point,
    day                date not null,
    direction          text not null check (direction in ('import', 'export')),
    tariff_band        text not null default 'total',
    revision           smallint not null default 0,       -- 0: original; n: the n-th adjustment
    category           text not null,
    energy_wh          bigint not null,                   -- an adjustment holds the difference
    estimated_wh       bigint not null,
    start_register_wh  bigint,                            -- raw, as the meter shows it; null: nothing was read there
    start_ts           timestamptz not null,
    end_register_wh    bigint,
    end_ts             timestamptz not null,
    multiplier         numeric(12, 4),
    meters             text[] not null,                   -- manufacturer/serial, in the order in which they served
    reason             text check (revision = 0 or reason is not null),
    primary key (usage_point_id, day, direction, tariff_band, revision)
);
create index determinant_batch on determinant (batch_number);

create table billing_exception (
    exception_id    bigint generated always as identity primary key,
    batch_number    bigint references billing_batch,    -- null: found before a batch was made
    usage_point_id  integer references usage_point,
    day             date,
    reason          text not null,
    noted_at        timestamptz not null,
    worked_off_at   timestamptz
);
comment on table billing_exception is 'what could not be billed, or what billing would not take: somebody works it off';
create unique index billing_exception_once on billing_exception (coalesce(batch_number, 0), coalesce(usage_point_id, 0), coalesce(day, 'epoch'), reason);

create function determinant_is_immutable() returns trigger language plpgsql as $$
begin
    raise exception 'what billing was told is never changed (% of a determinant): make an adjustment', lower(tg_op);
end $$;
create trigger determinant_immutable before update or delete on determinant
    for each row execute function determinant_is_immutable();

create function batch_is_immutable() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE'
       or (old.number, old.idempotency_key, old.created_at, old.period_from, old.period_to, old.determinants, old.energy_wh, old.checksum)
          is distinct from
          (new.number, new.idempotency_key, new.created_at, new.period_from, new.period_to, new.determinants, new.energy_wh, new.checksum)
       or old.state = 'acknowledged' then
        raise exception 'billing batch % is never changed', old.number;
    end if;
    return new;
end $$;
create trigger billing_batch_immutable before update or delete on billing_batch
    for each row execute function batch_is_immutable();
