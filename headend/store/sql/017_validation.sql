-- Which rules judged a settled day: every validation rule and way of estimating with its version and thresholds, as one document.

create table validation_rule_set (
    rule_set_id    smallint generated always as identity primary key,
    digest         bytea not null unique check (length(digest) = 32),     -- SHA-256 of the document written canonically
    rules          jsonb not null,
    first_used_at  timestamptz                             -- null: before it was kept
);
comment on table validation_rule_set is 'rules, versions and thresholds that judged settled days; interval_day.rules names one; never rewritten';
create trigger validation_rule_set_kept before update or delete on validation_rule_set
    for each row execute function refuse_rewriting();

-- Days settled so far carry 1.
insert into validation_rule_set (rule_set_id, digest, rules) overriding system value
values (1, sha256('before rule sets were kept'), '{"note": "before rule sets were kept"}');
select setval(pg_get_serial_sequence('validation_rule_set', 'rule_set_id'), 1);
comment on column interval_day.rules is 'validation_rule_set: the rules that judged and estimated this day';

-- Clocks that are off are few among all that were read.
create index clock_reading_off on clock_reading (meter_id, at) where offset_ms is null or abs(offset_ms) > 1000;
create view as_known.clock_reading as select * from clock_reading where at <= known_at();
